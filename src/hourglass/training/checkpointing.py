"""Activation checkpointing: an hourglass is computed twice, so that its insides need not be kept."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def hourglasses_of(network: nn.Module) -> list[nn.Module]:
    """The hourglasses of a network, in order; empty where it has none."""
    several = getattr(network, "hourglasses", None)
    if isinstance(several, nn.ModuleList):
        return list(several)
    one = getattr(network, "hourglass", None)
    return [one] if isinstance(one, nn.Module) else []


def checkpoint_hourglasses(network: nn.Module) -> None:
    """Let every hourglass keep only its input in training, and compute the rest again when gradients need it.

    Losses, gradients, batch-norm statistics and the names of the weights stay what they are. In evaluation
    nothing changes. Raises ValueError for a network without hourglasses.
    """
    found = hourglasses_of(network)
    if not found:
        raise ValueError(f"{type(network).__name__} has no hourglasses to compute twice")
    for hourglass in found:
        # On the instance, so that no module is added and no weight gets another name.
        hourglass.forward = _twice(hourglass, hourglass.forward)


def _twice(hourglass: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    norms = [m for m in hourglass.modules() if isinstance(m, _BatchNorm)]

    @contextmanager
    def statistics_stand_still() -> Iterator[None]:
        # The first pass has counted this batch already. With a momentum of 0 and a counter that nobody reads
        # the second one computes the very same and leaves no trace.
        before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm, _, counter in before:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if counter is None else counter.clone()
        try:
            yield
        finally:
            for norm, momentum, counter in before:
                norm.momentum, norm.num_batches_tracked = momentum, counter

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_stand_still()

    def run(*inputs: Any) -> Any:
        if not hourglass.training:
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)

    return run
