"""One small network with weights like trained ones, and crops for it."""

import pytest
import torch
from torch import Tensor

from hourglass.core.skeleton import LSP14
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts
from plain_layers import live_statistics

SIDE = 64


@pytest.fixture(scope="session")
def network() -> StackedHourglass:
    torch.manual_seed(5)
    made = StackedHourglass(14, 2, 16, 2, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)).eval()
    live_statistics(made)
    return made.requires_grad_(False)


@pytest.fixture(scope="session")
def facts() -> WeightFacts:
    recipe = NetworkRecipe(stacks=2, features=16, depth=2)
    return WeightFacts("small", recipe, LSP14, SIDE, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), licence="Apache-2.0")


@pytest.fixture(scope="session")
def crops() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(21, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def apart(ours: list[Tensor], plain: list[Tensor]) -> float:
    """Largest relative difference of a stage: the norm of the difference over the norm."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, plain, strict=True))


@pytest.fixture(scope="session")
def relative() -> object:
    return apart
