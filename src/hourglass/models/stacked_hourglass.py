"""The stacked hourglass networks of Newell, Yang and Deng: the ECCV 2016 build and the workshop build.

Every network here takes images ``(B, 3, H, W)`` and returns one heatmap tensor
``(B, J, H / 4, W / 4)`` per supervised stage; the last one is the answer. uint8 images are in
0..255, floating ones in 0..1, both RGB; mean and standard deviation are buffers, so they travel with
the weights.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.layers import PostActResidual, PreActResidual, conv_bn_relu

STRIDE = 4
"""Input pixels per heatmap cell, set by the stem."""


class Normalise(nn.Module):
    """RGB ``(B, 3, H, W)``, uint8 in 0..255 or float in 0..1, to ``(x - mean) / std`` in float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
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


def _check_numbers(features: int, **at_least_one: int) -> None:
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if features < 4 or features % 4:
        raise ValueError(f"features must be a positive multiple of 4, not {features}")


def _residuals(count: int, features: int) -> nn.Sequential:
    return nn.Sequential(*(PreActResidual(features, features) for _ in range(count)))


class Hourglass(nn.Module):
    """One hourglass ``(B, C, H, W) -> (B, C, H, W)`` that pools `depth` times (ECCV 2016, figure 3).

    At each level a skip branch keeps the resolution while the other is pooled, processed, and brought
    back by nearest-neighbour upsampling; the two are added.
    """

    def __init__(self, depth: int, features: int, blocks: int) -> None:
        super().__init__()
        self.up = _residuals(blocks, features)
        self.before = _residuals(blocks, features)
        self.inner: nn.Module = (
            Hourglass(depth - 1, features, blocks) if depth > 1 else _residuals(blocks, features)
        )
        self.after = _residuals(blocks, features)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


class StackedHourglass(nn.Module):
    """The ECCV 2016 network: stem, then `stacks` hourglasses, each with its own heatmaps.

    Args:
        joints: heatmaps per stage, J.
        stacks: hourglasses, 1 or more; each is supervised.
        features: width of everything after the stem; even.
        depth: poolings in one hourglass; 4 takes 64 cells to 4.
        blocks: residuals at each position of an hourglass.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError for numbers that make no network, and in `forward` for sizes that don't divide.
    Source: ECCV 2016 with the layer list of the authors' `hg.lua`; trainable parameters for 16 joints
    and 256 features: 3.426 M, 6.570 M, 12.858 M, 25.434 M with 1, 2, 4, 8 stacks.
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
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        _check_numbers(features, joints=joints, stacks=stacks, depth=depth, blocks=blocks)
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = nn.Sequential(
            conv_bn_relu(3, features // 4, kernel=7, stride=2),
            PreActResidual(features // 4, features // 2),
            nn.MaxPool2d(2),
            PreActResidual(features // 2, features // 2),
            PreActResidual(features // 2, features),
        )
        self.hourglasses = nn.ModuleList(Hourglass(depth, features, blocks) for _ in range(stacks))
        self.necks = nn.ModuleList(
            nn.Sequential(_residuals(blocks, features), conv_bn_relu(features, features))
            for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(features, joints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(stacks - 1))
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(joints, features, 1) for _ in range(stacks - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        x = self.stem(self.normalise(image))
        heatmaps: list[Tensor] = []
        for i, hourglass in enumerate(self.hourglasses):
            y = self.necks[i](hourglass(x))
            heatmaps.append(self.heads[i](y))
            if i < len(self.merge_features):
                x = x + self.merge_features[i](y) + self.merge_heatmaps[i](heatmaps[-1])
        return heatmaps


class WorkshopHourglass(nn.Module):
    """One hourglass of the workshop build ``(B, in, H, W) -> (B, 512, H, W)`` at the default width.

    Residuals carry `features`; the one right before an upsampling, and the skip it meets, carry twice
    as many.
    """

    def __init__(
        self, depth: int, in_features: int, features: int, residual: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        wide = 2 * features
        self.up = nn.Sequential(
            residual(in_features, features), residual(features, features), residual(features, wide)
        )
        self.before = nn.Sequential(
            residual(in_features, features), residual(features, features), residual(features, features)
        )
        self.inner = (
            WorkshopHourglass(depth - 1, features, features, residual)
            if depth > 1
            else residual(features, wide)
        )
        self.after = residual(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


class WorkshopStackedHourglass(nn.Module):
    """The two-stack network of the workshop paper: wider hourglasses, merged by concatenation.

    After the first hourglass three 1x1 convolutions give heatmaps; its features are concatenated with
    the stem's pooled output, the heatmaps are added through a 1x1 convolution, and the second
    hourglass looks again. `stacks=1` is the network that the paper ran on FLIC.

    Args:
        joints: heatmaps per stage, J.
        stacks: 1 or 2.
        features: width of the residuals, twice that before an upsampling; even.
        depth: poolings in one hourglass.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Source: the workshop paper's figure 1, in the layer order of the released network; 26.371 M
    trainable parameters with two stacks, 13.265 M with one, for 16 joints.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        stacks: int = 2,
        features: int = 256,
        depth: int = 4,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        if stacks not in (1, 2):
            raise ValueError(f"the workshop build has 1 or 2 stacks, not {stacks}")
        _check_numbers(features, joints=joints, depth=depth)
        half, wide, residual = features // 2, 2 * features, PostActResidual
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = nn.Sequential(
            conv_bn_relu(3, features // 4, kernel=7, stride=2), residual(features // 4, half), nn.MaxPool2d(2)
        )
        self.widen = nn.Sequential(residual(half, half), residual(half, half), residual(half, features))
        self.hourglasses = nn.ModuleList([WorkshopHourglass(depth, features, features, residual)])
        last = features if stacks == 2 else wide
        self.necks = nn.ModuleList([nn.Sequential(conv_bn_relu(wide, wide), conv_bn_relu(wide, last))])
        self.heads = nn.ModuleList([nn.Conv2d(last, joints, 1)])
        if stacks == 2:
            merged = features + half
            self.merge_features = nn.Conv2d(merged, merged, 1)
            self.merge_heatmaps = nn.Conv2d(joints, merged, 1)
            self.hourglasses.append(WorkshopHourglass(depth, merged, features, residual))
            self.necks.append(nn.Sequential(conv_bn_relu(wide, wide), conv_bn_relu(wide, wide)))
            self.heads.append(nn.Conv2d(wide, joints, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        pooled = self.stem(self.normalise(image))
        y = self.necks[0](self.hourglasses[0](self.widen(pooled)))
        heatmaps: list[Tensor] = [self.heads[0](y)]
        if len(self.hourglasses) == 2:
            x = self.merge_features(torch.cat([y, pooled], 1)) + self.merge_heatmaps(heatmaps[0])
            heatmaps.append(self.heads[1](self.necks[1](self.hourglasses[1](x))))
        return heatmaps
