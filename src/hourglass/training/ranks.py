"""What the processes of one run must agree on, and what one says that has lost another."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from hourglass.core.structs import PersonRecord
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, recipe_to_yaml
from hourglass.training.setup import TrainingError

T = TypeVar("T")

# Where data lies, and how it gets into a machine, may differ from machine to machine.
_OWN = ("data.root", "data.annotations", "data.workers", "data.cache_gb")

# What gloo, NCCL and torch's store say when another process is gone.
_LOST = re.compile(
    r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|closed by peer|reset by peer|"
    r"remote process|process group|tcpstore|socket|distributed",
    re.IGNORECASE,
)


def gather(fabric: Fabric, value: T) -> list[T]:
    """Every process's value, in their order; it must be something that pickle knows."""
    if fabric.world_size == 1:
        return [value]
    found: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(found, value)
    return found


def true_on_every_rank(fabric: Fabric, here: bool) -> bool:
    """Whether something holds on every process."""
    return all(gather(fabric, here))


def on_every_rank(fabric: Fabric, make: Callable[[], T]) -> T:
    """`make()`; where it fails on one process with ValueError or OSError, every process raises.

    The one where it failed raises its own error, the others a ValueError that names it.
    """
    error: ValueError | OSError | None = None
    made: T | None = None
    try:
        made = make()
    except (ValueError, OSError) as failed:
        error = failed
    reasons = gather(fabric, None if error is None else str(error))
    if error is not None:
        raise error
    for rank, reason in enumerate(reasons):
        if reason is not None:
            raise ValueError(f"process {rank}: {reason}")
    return made  # type: ignore[return-value]  # None only where T is


def recipe_facts(recipe: Recipe, precision: torch.dtype) -> dict[str, Any]:
    """What must be the same on every process before data is read: recipe keys and the precision in use."""
    from omegaconf import OmegaConf

    sections: Any = OmegaConf.to_container(OmegaConf.create(recipe_to_yaml(recipe)))
    keys = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    facts = {key: value for key, value in keys.items() if key not in _OWN}
    # Hardware decides too: see setup.precision_of.
    return {**facts, "the precision in use": str(precision).removeprefix("torch.")}


def data_facts(train: Sequence[PersonRecord], val: Sequence[PersonRecord]) -> dict[str, Any]:
    """What must be the same on every process of the people that it has read."""
    facts: dict[str, Any] = {}
    for what, records in (("training", train), ("validation", val)):
        names = hashlib.sha256()
        for record in records:
            names.update(f"{record.image_id}\n{record.person_id}\n".encode())
            names.update(record.keypoints.tobytes() + record.visibility.tobytes())
        facts[f"{what} people"] = len(records)
        facts[f"the digest of the {what} people"] = names.hexdigest()[:12]
    return facts


def check_same_facts(fabric: Fabric, facts: Mapping[str, Any]) -> None:
    """Raise RecipeError, the same on every process, naming the first fact in which two of them differ."""
    first, *others = gather(fabric, dict(facts))
    for rank, other in enumerate(others, 1):
        for key, value in first.items():
            if other.get(key) != value:
                raise RecipeError(
                    f"process {rank} has {key}={other.get(key)} and process 0 has {key}={value}: "
                    "start every process with the same recipe, data and run folder"
                )


def share_buffers(fabric: Fabric, network: nn.Module) -> None:
    """Give every process the first one's batch-norm statistics and other buffers."""
    if fabric.world_size > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def sum_over_ranks(fabric: Fabric, values: Tensor) -> Tensor:
    """The sum of every process's CPU tensor, on the CPU again."""
    total = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.cpu()


def local_ranks(fabric: Fabric) -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", fabric.world_size))


@contextmanager
def explain_lost_rank(fabric: Fabric, checkpoint: Path) -> Iterator[None]:
    """Turn the error of a collective operation whose partner is gone into a TrainingError that helps."""
    try:
        yield
    except TrainingError:
        raise
    except RuntimeError as error:
        if fabric.world_size == 1 or not _LOST.search(str(error)):
            raise
        goes_on = f"which goes on from {checkpoint}" if checkpoint.exists() else "which starts afresh"
        raise TrainingError(
            f"process {fabric.global_rank} of {fabric.world_size} has lost another one and can't go on: "
            f"start the run again with --resume, {goes_on}, on as many processes as you like"
        ) from error


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch-norm replaced by one over all processes; parameters and keys stay.

    On CUDA it is torch's `SyncBatchNorm`, elsewhere `RankBatchNorm2d`. It must come before the optimiser is
    made of the parameters, and before the network is wrapped.
    """
    if device.type == "cuda":
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return cast(nn.Module, converted)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, RankBatchNorm2d.like(child))
    return network


class RankBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose batch is that of all processes; with one process, or in evaluation, as usual."""

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> "RankBatchNorm2d":
        """One that takes over the parameters and statistics of `norm`.

        Raises ValueError where it keeps no statistics, has no parameters, or averages over all batches.
        """
        if not norm.affine or not norm.track_running_stats or norm.momentum is None:
            raise ValueError("only batch-norms with parameters, statistics and a momentum are synchronised")
        new = cls(norm.num_features, norm.eps, norm.momentum)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        return new.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not distributed.is_initialized() or distributed.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        answer, mean, var, count = _Synchronised.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        result: Tensor = answer
        return result


class _Synchronised(torch.autograd.Function):
    """(B, C, H, W) normalised by mean and variance (C,) over all processes; and those, and their count ()."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        var, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
        # In double precision, so that squares of large means leave the variance what it is.
        count = torch.tensor([x.numel() // channels], dtype=torch.float64, device=x.device)
        mean, var = mean.double(), var.double()
        together = torch.cat([count, count * mean, count * (var + mean**2)])
        distributed.all_reduce(together)
        count, sums, squares = together[:1], together[1 : channels + 1], together[channels + 1 :]
        mean = sums / count
        var = (squares / count - mean**2).clamp_min(0)
        mean32, var32, count32 = (t.to(weight.dtype) for t in (mean, var, count))
        ctx.save_for_backward(x, weight, mean32, (var + eps).rsqrt().to(weight.dtype), count)
        ctx.mark_non_differentiable(mean32, var32, count32)
        return F.batch_norm(x, mean32, var32, weight, bias, eps=eps), mean32, var32, count32

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape = (1, -1, 1, 1)
        upstream = _wide(grad)
        normal = (_wide(x) - mean.view(shape)) * inverse.view(shape)
        own_bias = upstream.sum((0, 2, 3))
        own_weight = (upstream * normal).sum((0, 2, 3))
        # What moves the shared mean and variance moves every process's answers.
        together = torch.cat([own_bias, own_weight]).double()
        distributed.all_reduce(together)
        every_bias, every_weight = (together / count).to(weight.dtype).chunk(2)
        inner = upstream - every_bias.view(shape) - normal * every_weight.view(shape)
        own = inner * (weight * inverse).view(shape)
        return own.to(x.dtype), own_weight.to(weight.dtype), own_bias.to(weight.dtype), None


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
