"""A network whose heatmaps are known: they are the crop's own colours, one channel for each joint."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import Skeleton
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts

SIDE = 64
STRIDE = 4
SIGMA_HM = 1.5
THREE = Skeleton("three", ("left_eye", "right_eye", "nose"), (("left_eye", "right_eye"),))
FACTS = WeightFacts(
    "eyes",
    NetworkRecipe(stacks=2),
    THREE,
    SIDE,
    (0.0,) * 3,
    (1.0,) * 3,
    sigma_hm=SIGMA_HM,
    licence="CC0-1.0",
    data="nothing",
    source="drawn",
)


class Eyes(nn.Module):
    """Crops (B, 3, 64, 64) uint8 to two stages (B, 3, 16, 16): a faint first one, then the colours."""

    output = "heatmap"

    def forward(self, image: Tensor) -> list[Tensor]:
        colours = nn.functional.avg_pool2d(image.float() / 255, STRIDE)
        return [colours / 2, colours]


def drawn(joints: npt.NDArray[np.float64]) -> Tensor:
    """Crops (B, 3, 64, 64) uint8 with a Gaussian around each of B x 3 joints, in pixels of the crop."""
    cells = torch.from_numpy((joints + 0.5) / STRIDE - 0.5).float()
    places = torch.arange(SIDE // STRIDE).float()
    x = torch.exp(-((places - cells[..., :1]) ** 2) / (2 * SIGMA_HM**2))
    y = torch.exp(-((places - cells[..., 1:]) ** 2) / (2 * SIGMA_HM**2))
    maps = y.unsqueeze(-1) * x.unsqueeze(-2)
    return (maps * 255).round().to(torch.uint8).repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3)
