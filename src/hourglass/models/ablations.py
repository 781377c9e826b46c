"""The five designs that the workshop paper compares in its figure 4.

Two questions make them: one hourglass or two in a row, and a loss on the answer alone or on earlier
heatmaps too. All take images ``(B, 3, H, W)`` as `stacked_hourglass` does and return a list of the
supervised heatmaps; the last entry is the answer, ``(B, J, H / 4, W / 4)``.

`compare_designs` counts their layers and parameters, since the comparison is fair only where they agree.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import PostActResidual, conv_bn_relu
from hourglass.models.stacked_hourglass import (
    NO_MEAN,
    RGB,
    STRIDE,
    UNIT_STD,
    Normalise,
    check_input_size,
    check_numbers,
)
from hourglass.models.workshop import (
    WorkshopHourglass,
    WorkshopStackedHourglass,
    workshop_neck,
    workshop_stem,
    workshop_widen,
)

# Residuals at each position of the single hourglass (ours). Skips, ways down and bottom have twice what one
# workshop hourglass has, but the way up has three in place of one: with two, the design would have 9
# convolutions and 13 % of the parameters less than two hourglasses; so it has 3 more and 0.4 % less.
SKIP, BEFORE, BOTTOM, AFTER = 6, 6, 2, 3


def _chain(count: int, in_features: int, features: int, out_features: int) -> nn.Sequential:
    widths = [in_features, *[features] * (count - 1), out_features]
    return nn.Sequential(*(PostActResidual(i, o) for i, o in pairwise(widths)))


class DeepHourglass(nn.Module):
    """One hourglass with as many layers as two workshop hourglasses have.

    ``(B, features, H, W)`` in; a list of the outputs of all its levels, each after upsampling and
    adding, lowest resolution first: the last one is ``(B, 2 features, H, W)``.
    """

    def __init__(self, depth: int, features: int) -> None:
        super().__init__()
        wide = 2 * features
        self.up = nn.ModuleList(_chain(SKIP, features, features, wide) for _ in range(depth))
        self.before = nn.ModuleList(_chain(BEFORE, features, features, features) for _ in range(depth))
        self.bottom = _chain(BOTTOM, features, wide, wide)
        self.after = nn.ModuleList(_chain(AFTER, wide, wide, wide) for _ in range(depth))

    def forward(self, x: Tensor) -> list[Tensor]:
        skips: list[Tensor] = []
        for up, before in zip(self.up, self.before, strict=True):
            skips.append(up(x))
            x = before(F.max_pool2d(x, 2))
        x = self.bottom(x)
        outputs: list[Tensor] = []
        for after, skip in zip(self.after, reversed(skips), strict=True):
            x = skip + F.interpolate(after(x), scale_factor=2.0, mode="nearest")
            outputs.append(x)
        return outputs


class SingleHourglass(nn.Module):
    """HG and HG-Int: one deep hourglass, supervised at its end, or at three resolutions on the way.

    Args:
        joints: heatmaps per stage, J.
        features: width of the residuals, twice that before an upsampling; a multiple of 4.
        depth: poolings; at least 3 with `intermediate`, so that there are levels to supervise.
        intermediate: also heatmaps after the upsampling to a quarter and a half of the answer's size;
            `forward` then returns ``[(B, J, H / 16, W / 16), (B, J, H / 8, W / 8), (B, J, H / 4, W / 4)]``.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError for numbers that make no network, and in `forward` for sizes that don't divide.
    Source: the workshop paper, section 3; where the extra losses lie is told by ECCV 2016, ablations.
    The paper gives no layer list: the counts of residuals and the widths of the heads are ours.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        features: int = 256,
        depth: int = 4,
        intermediate: bool = False,
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
    ) -> None:
        super().__init__()
        check_numbers(features, {"joints": joints, "depth": depth})
        if intermediate and depth < 3:
            raise ValueError(f"depth must be at least 3 for losses at three resolutions, not {depth}")
        wide = 2 * features
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = workshop_stem(features)
        self.widen = workshop_widen(features)
        self.hourglass = DeepHourglass(depth, features)
        self.neck = workshop_neck(wide, wide)
        self.head = nn.Conv2d(wide, joints, 1)
        # Narrow, as the first heatmaps of the stacked design are, and so closest to its parameter count.
        self.inner_heads = nn.ModuleList(
            nn.Sequential(conv_bn_relu(wide, features), nn.Conv2d(features, joints, 1))
            for _ in range(2 if intermediate else 0)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        outputs = self.hourglass(self.widen(self.stem(self.normalise(image))))
        # Without inner heads this loop is empty.
        heatmaps: list[Tensor] = [h(y) for h, y in zip(self.inner_heads, outputs[-3:-1], strict=False)]
        heatmaps.append(self.head(self.neck(outputs[-1])))
        return heatmaps


class FinalLossHourglasses(nn.Module):
    """HG-Stacked: two workshop hourglasses with heatmaps at the end only.

    The second hourglass gets the first one's features and the stem's pooled output side by side, with
    no convolution between. Arguments, shapes and errors are those of `WorkshopStackedHourglass`, and so
    are the weights' names, as far as the two have the same layers.

    Source: the workshop paper, section 3, in the layer order of the authors' training code.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        features: int = 256,
        depth: int = 4,
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
    ) -> None:
        super().__init__()
        check_numbers(features, {"joints": joints, "depth": depth})
        wide, merged = 2 * features, features + features // 2
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = workshop_stem(features)
        self.widen = workshop_widen(features)
        self.hourglasses = nn.ModuleList(WorkshopHourglass(depth, i, features) for i in (features, merged))
        self.necks = nn.ModuleList(workshop_neck(wide, last) for last in (features, wide))
        self.head = nn.Conv2d(wide, joints, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        pooled = self.stem(self.normalise(image))
        y = self.necks[0](self.hourglasses[0](self.widen(pooled)))
        y = self.necks[1](self.hourglasses[1](torch.cat([y, pooled], 1)))
        return [self.head(y)]


class SummedHourglasses(WorkshopStackedHourglass):
    """HG-Stacked-Add: the two-stack workshop network, whose only answer is the sum of both its heatmaps.

    Its weights are those of `WorkshopStackedHourglass` by name and shape. Source: the workshop paper,
    section 3; that the sum is the answer, too, and not the last heatmaps alone, is our reading.
    """

    def forward(self, image: Tensor) -> list[Tensor]:
        first, second = super().forward(image)
        return [first + second]


def hg(
    joints: int = 16, features: int = 256, depth: int = 4, mean: RGB = NO_MEAN, std: RGB = UNIT_STD
) -> SingleHourglass:
    """HG: one deep hourglass, one loss. 26.109 M parameters, 209 convolutions, 20.68 GMAC at the defaults.

    The paper shows the five designs as curves (figure 4) and prints no score of them.
    """
    return SingleHourglass(joints, features, depth, False, mean, std)


def hg_int(
    joints: int = 16, features: int = 256, depth: int = 4, mean: RGB = NO_MEAN, std: RGB = UNIT_STD
) -> SingleHourglass:
    """HG-Int: HG with losses at a quarter, a half and the whole of the answer's resolution, in this order.

    26.381 M parameters, 213 convolutions, 20.85 GMAC at the defaults.
    """
    return SingleHourglass(joints, features, depth, True, mean, std)


def hg_stacked(
    joints: int = 16, features: int = 256, depth: int = 4, mean: RGB = NO_MEAN, std: RGB = UNIT_STD
) -> FinalLossHourglasses:
    """HG-Stacked: two hourglasses, one loss. 26.212 M parameters, 206 convolutions, 25.55 GMAC."""
    return FinalLossHourglasses(joints, features, depth, mean, std)


def hg_stacked_int(
    joints: int = 16, features: int = 256, depth: int = 4, mean: RGB = NO_MEAN, std: RGB = UNIT_STD
) -> WorkshopStackedHourglass:
    """HG-Stacked-Int: the workshop paper's network, a loss on each hourglass.

    26.371 M parameters, 209 convolutions, 26.20 GMAC at the defaults; its scores are at `hg2_workshop`.
    """
    return WorkshopStackedHourglass(joints, 2, features, depth, mean, std)


def hg_stacked_add(
    joints: int = 16, features: int = 256, depth: int = 4, mean: RGB = NO_MEAN, std: RGB = UNIT_STD
) -> SummedHourglasses:
    """HG-Stacked-Add: HG-Stacked-Int with one loss, on the sum of its two heatmaps; the same size."""
    return SummedHourglasses(joints, 2, features, depth, mean, std)


@dataclass(frozen=True)
class DesignRow:
    """One design beside the stacked one that it is compared with."""

    name: str
    """As the paper prints it."""
    convolutions: int
    parameters: int
    """Trainable ones."""
    counterpart: str
    """Name of the stacked design with the same supervision; a stacked design's own name is its own."""
    convolution_ratio: float
    """Convolutions over the counterpart's."""
    parameter_ratio: float
    """Parameters over the counterpart's."""


def compare_designs() -> list[DesignRow]:
    """The five designs at their published size (16 joints, 256 features), counted without making weights."""
    with torch.device("meta"):
        designs: dict[str, tuple[nn.Module, str]] = {
            "HG": (hg(), "HG-Stacked"),
            "HG-Int": (hg_int(), "HG-Stacked-Int"),
            "HG-Stacked": (hg_stacked(), "HG-Stacked"),
            "HG-Stacked-Int": (hg_stacked_int(), "HG-Stacked-Int"),
            "HG-Stacked-Add": (hg_stacked_add(), "HG-Stacked-Int"),
        }
    sizes = {
        name: (
            sum(isinstance(module, nn.Conv2d) for module in network.modules()),
            sum(p.numel() for p in network.parameters()),
        )
        for name, (network, _) in designs.items()
    }
    return [
        DesignRow(
            name,
            *sizes[name],
            counterpart,
            sizes[name][0] / sizes[counterpart][0],
            sizes[name][1] / sizes[counterpart][1],
        )
        for name, (_, counterpart) in designs.items()
    ]
