"""Fewer stacks than a network has: every stage is supervised, so every stage has an answer."""

from itertools import islice
from typing import TypeAlias

from torch import Tensor, nn

from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass

Staged: TypeAlias = (
    StackedHourglass | WorkshopStackedHourglass | MultiScaleStackedHourglass | CornerNetStackedHourglass
)
"""Networks with `stages`, which gives one stage's heatmaps after the other."""


def staged(network: nn.Module) -> Staged:
    """The same network, known to answer in stages; raises ValueError when it doesn't in two or more."""
    ours = Staged.__args__
    # A subclass with a `forward` of its own answers with something else than its last stage.
    plain = any(type(network).forward is kind.forward for kind in ours)
    if not plain or len(network.hourglasses) < 2:  # type: ignore[arg-type]
        raise ValueError(f"{type(network).__name__} has one answer: it can't stop after some of its stacks")
    return network  # type: ignore[return-value]


def stacks_of(network: nn.Module) -> int:
    """How many stacks a network answers from; raises ValueError as `staged` does."""
    return len(staged(network).hourglasses)


class FirstStacks(nn.Module):
    """The first `count` stacks of a trained network: what they answer, at their cost.

    Raises ValueError when the network has fewer, or doesn't answer in stages.
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network: nn.Module = staged(network)
        have = stacks_of(network)
        if not 1 <= count <= have:
            raise ValueError(f"stacks={count} is not possible: this network has {have}, so give 1 to {have}")
        self.count = count
        self.output = network.output
        strides = getattr(network, "strides", None)
        self.stride = strides[count - 1] if strides else network.stride

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(islice(staged(self.network).stages(image), self.count))
