"""The stacked hourglass network of Newell, Yang and Deng (ECCV 2016), with a function per published size.

Every network of this family takes images ``(B, 3, H, W)`` and returns one heatmap tensor
``(B, J, H / 4, W / 4)`` per supervised stage; the last one is the answer. uint8 images are in
0..255, floating ones in 0..1, both RGB; mean and standard deviation are buffers, so they travel with
the weights. Multiply-adds (GMAC) are counted for one picture of 256 x 256.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import PreActResidual, conv_bn_relu

STRIDE = 4
"""Input pixels per heatmap cell, set by the stem."""

STEMS = ("eccv", "wide")
"""The paper's stem, or the one that later PyTorch ports widened by one residual."""

RGB: TypeAlias = Sequence[float]
"""One number for each of red, green and blue."""

Stages: TypeAlias = Generator[Tensor, Tensor | None, None]
"""Heatmaps of one stage after the other, each computed when it is asked for: who stops early saves the rest.

Row numbers (K,) that are sent in say which crops go on; None is all of them.
"""

NO_MEAN: RGB = (0.0, 0.0, 0.0)
UNIT_STD: RGB = (1.0, 1.0, 1.0)


def remaining_rows(x: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of ``(B, ...)`` that go on to the next stage."""
    return x if rows is None else x[rows]


class Normalise(nn.Module):
    """RGB ``(B, 3, H, W)``, uint8 in 0..255 or float in 0..1, to ``(x - mean) / std`` in float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: RGB, std: RGB) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f"mean and std are three numbers each, of R, G and B, and std is above 0: not {mean}, {std}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = image.float() / 255 if image.dtype == torch.uint8 else image
        return (x - self.mean) / self.std


def check_input_size(height: int, width: int, depth: int) -> None:
    """Raise ValueError, with the numbers, when an hourglass of this depth can't halve the input."""
    multiple = STRIDE * 2**depth
    if height % multiple or width % multiple or not height or not width:
        raise ValueError(
            f"an input of {height} x {width} px does not fit {depth} poolings after a stride of {STRIDE}: "
            f"both sides must be multiples of {multiple}"
        )


def check_numbers(features: int, counts: Mapping[str, int]) -> None:
    """Raise ValueError, naming the option, unless every count is 1 or more and 4 divides `features`."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if features < 4 or features % 4:
        raise ValueError(f"features must be a positive multiple of 4, not {features}")


def residual_chain(count: int, features: int) -> nn.Sequential:
    """`count` pre-activation residuals in a row, all of one width; keeps the shape."""
    return nn.Sequential(*(PreActResidual(features, features) for _ in range(count)))


def pre_activation_stem(features: int, kind: str = "eccv") -> nn.Sequential:
    """Normalised picture ``(B, 3, H, W) -> (B, features, H / 4, W / 4)``.

    "eccv" is the paper's. "wide" widens at its second residual instead of its third, as later PyTorch
    ports do: 0.16 M parameters more at 256 features. ValueError for another word.
    """
    if kind not in STEMS:
        raise ValueError(f"stem must be one of {', '.join(STEMS)}, not {kind!r}")
    quarter, half = features // 4, features // 2
    second = half if kind == "eccv" else features
    return nn.Sequential(
        conv_bn_relu(3, quarter, kernel=7, stride=2),
        PreActResidual(quarter, half),
        nn.MaxPool2d(2),
        PreActResidual(half, second),
        PreActResidual(second, features),
    )


class Hourglass(nn.Module):
    """One hourglass ``(B, C, H, W) -> (B, C, H, W)`` that pools `depth` times (ECCV 2016, figure 3).

    At each level a skip branch keeps the resolution while the other is pooled, processed, and brought
    back by nearest-neighbour upsampling; the two are added.
    """

    def __init__(self, depth: int, features: int, blocks: int) -> None:
        super().__init__()
        self.up = residual_chain(blocks, features)
        self.before = residual_chain(blocks, features)
        self.inner: nn.Module = (
            Hourglass(depth - 1, features, blocks) if depth > 1 else residual_chain(blocks, features)
        )
        self.after = residual_chain(blocks, features)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


class StackedHourglass(nn.Module):
    """The ECCV 2016 network: stem, then `stacks` hourglasses, each with its own heatmaps.

    Args:
        joints: heatmaps per stage, J.
        stacks: hourglasses, 1 or more; each is supervised.
        features: width of everything after the stem; a multiple of 4.
        depth: poolings in one hourglass; 4 takes 64 cells to 4.
        blocks: residuals at each position of an hourglass.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.
        stem: "eccv", the paper's, or "wide", the later ports'; see `pre_activation_stem`.

    Raises ValueError for numbers that make no network, and in `forward` for sizes that don't divide.
    Source: ECCV 2016 with the layer list of the authors' `hg.lua`.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        stacks: int = 2,
        features: int = 256,
        depth: int = 4,
        blocks: int = 1,
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
        stem: str = "eccv",
    ) -> None:
        super().__init__()
        check_numbers(features, {"joints": joints, "stacks": stacks, "depth": depth, "blocks": blocks})
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = pre_activation_stem(features, stem)
        self.hourglasses = nn.ModuleList(Hourglass(depth, features, blocks) for _ in range(stacks))
        self.necks = nn.ModuleList(
            nn.Sequential(residual_chain(blocks, features), conv_bn_relu(features, features))
            for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(features, joints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(stacks - 1))
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(joints, features, 1) for _ in range(stacks - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.stages(image))

    def stages(self, image: Tensor) -> Stages:
        """Each stage's heatmaps in turn, see `Stages`."""
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        x = self.stem(self.normalise(image))
        for i, hourglass in enumerate(self.hourglasses):
            y = self.necks[i](hourglass(x))
            heatmaps = self.heads[i](y)
            rows = yield heatmaps
            if i < len(self.merge_features):
                x = remaining_rows(x + self.merge_features[i](y) + self.merge_heatmaps[i](heatmaps), rows)


# The published sizes. Parameters and GMAC are those of the default number of joints; scores are of weights
# that the named authors trained.


def hg1(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016, 1 stack: 3.426 M parameters, 5.15 GMAC. No published score is known to us."""
    return StackedHourglass(joints, stacks=1, mean=mean, std=std)


def hg2(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016, 2 stacks: 6.570 M parameters, 8.33 GMAC.

    PCKh@0.5 88.3 on MPII val, pooled over all 16 joints, in the authors' later PyTorch release.
    """
    return StackedHourglass(joints, stacks=2, mean=mean, std=std)


def hg4(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016, 4 stacks: 12.858 M parameters, 14.70 GMAC. No published score is known to us."""
    return StackedHourglass(joints, stacks=4, mean=mean, std=std)


def hg8(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016, the paper's 8 stacks: 25.434 M parameters, 27.44 GMAC.

    PCKh@0.5 88.1 on MPII val, 90.9 on MPII test.
    """
    return StackedHourglass(joints, stacks=8, mean=mean, std=std)


def hg_4x2(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016's ablations, 4 stacks of 2 residuals a position: 24.872 M parameters, 25.16 GMAC.

    PCKh@0.5 87.8 on MPII val.
    """
    return StackedHourglass(joints, stacks=4, blocks=2, mean=mean, std=std)


def hg_2x4(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016's ablations, 2 stacks of 4 residuals a position: 24.591 M parameters, 24.02 GMAC.

    PCKh@0.5 87.4 on MPII val.
    """
    return StackedHourglass(joints, stacks=2, blocks=4, mean=mean, std=std)


def hg_1x8(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """ECCV 2016's ablations, 1 stack of 8 residuals a position: 24.450 M parameters, 23.45 GMAC.

    The paper shows it as a curve, without a number.
    """
    return StackedHourglass(joints, stacks=1, blocks=8, mean=mean, std=std)


def hg_slides(joints: int = 17, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """The baseline of the Residual Stacked Hourglass slides (2019): 2 stacks of 2 residuals a position.

    12.578 M parameters for 17 joints (the slides: 12.6 M), 13.57 GMAC. Printed: PCK 84.7 on COCO.
    """
    return StackedHourglass(joints, stacks=2, blocks=2, mean=mean, std=std)


def hg1_wide(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """1 stack with the later ports' stem: 3.587 M parameters, 5.80 GMAC."""
    return StackedHourglass(joints, stacks=1, mean=mean, std=std, stem="wide")


def hg2_wide(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """2 stacks with the later ports' stem: 6.731 M parameters, 8.99 GMAC.

    PCKh@0.5 86.95 on MPII val, mean of 14 joints, as `hg_s2_b1` of bearpaw/pytorch-pose.
    """
    return StackedHourglass(joints, stacks=2, mean=mean, std=std, stem="wide")


def hg4_wide(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """4 stacks with the later ports' stem: 13.019 M parameters, 15.36 GMAC."""
    return StackedHourglass(joints, stacks=4, mean=mean, std=std, stem="wide")


def hg8_wide(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> StackedHourglass:
    """8 stacks with the later ports' stem: 25.595 M parameters, 28.09 GMAC.

    PCKh@0.5 88.78 on MPII val, mean of 14 joints, as `hg_s8_b1` of bearpaw/pytorch-pose.
    """
    return StackedHourglass(joints, stacks=8, mean=mean, std=std, stem="wide")
