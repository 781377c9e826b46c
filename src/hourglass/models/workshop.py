"""The two-stack network of the workshop paper (Newell, Yang, Deng: two hourglasses, wider than ECCV's).

Images ``(B, 3, H, W)`` in, one heatmap tensor ``(B, J, H / 4, W / 4)`` per stack out; the pictures'
values are those of `stacked_hourglass`. The ablations of the same paper are in `ablations`.
"""

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
    Stages,
    check_input_size,
    check_numbers,
    remaining_rows,
)


def workshop_stem(features: int) -> nn.Sequential:
    """Normalised picture ``(B, 3, H, W) -> (B, features / 2, H / 4, W / 4)``, the pooled output."""
    return nn.Sequential(
        conv_bn_relu(3, features // 4, kernel=7, stride=2),
        PostActResidual(features // 4, features // 2),
        nn.MaxPool2d(2),
    )


def workshop_widen(features: int) -> nn.Sequential:
    """The pooled output of the stem to the first hourglass's input ``(B, features, H / 4, W / 4)``."""
    half = features // 2
    return nn.Sequential(
        PostActResidual(half, half), PostActResidual(half, half), PostActResidual(half, features)
    )


def workshop_neck(in_features: int, out_features: int) -> nn.Sequential:
    """The first two of the paper's three 1x1 convolutions after an hourglass; a head is the third."""
    return nn.Sequential(conv_bn_relu(in_features, in_features), conv_bn_relu(in_features, out_features))


class WorkshopHourglass(nn.Module):
    """One hourglass of the workshop build ``(B, in, H, W) -> (B, 512, H, W)`` at the default width.

    Residuals carry `features`; the one right before an upsampling, and the skip it meets, carry twice
    as many.
    """

    def __init__(self, depth: int, in_features: int, features: int) -> None:
        super().__init__()
        wide, residual = 2 * features, PostActResidual
        self.up = nn.Sequential(
            residual(in_features, features), residual(features, features), residual(features, wide)
        )
        self.before = nn.Sequential(
            residual(in_features, features), residual(features, features), residual(features, features)
        )
        self.inner: nn.Module = (
            WorkshopHourglass(depth - 1, features, features) if depth > 1 else residual(features, wide)
        )
        self.after = residual(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


class WorkshopStackedHourglass(nn.Module):
    """The network of the workshop paper: wide hourglasses, merged by concatenation.

    After the first hourglass three 1x1 convolutions give heatmaps; its features are concatenated with
    the stem's pooled output, the heatmaps are added through a 1x1 convolution, and the second
    hourglass looks again. `stacks=1` is the network that the paper ran on FLIC.

    Args:
        joints: heatmaps per stage, J.
        stacks: 1 or 2.
        features: width of the residuals, twice that before an upsampling; a multiple of 4.
        depth: poolings in one hourglass.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError for numbers that make no network, and in `forward` for sizes that don't divide.
    Source: the workshop paper's figure 1, in the layer order of the released network.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        stacks: int = 2,
        features: int = 256,
        depth: int = 4,
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
    ) -> None:
        super().__init__()
        if stacks not in (1, 2):
            raise ValueError(f"the workshop build has 1 or 2 stacks, not {stacks}")
        check_numbers(features, {"joints": joints, "depth": depth})
        wide = 2 * features
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = workshop_stem(features)
        self.widen = workshop_widen(features)
        self.hourglasses = nn.ModuleList([WorkshopHourglass(depth, features, features)])
        last = features if stacks == 2 else wide
        self.necks = nn.ModuleList([workshop_neck(wide, last)])
        self.heads = nn.ModuleList([nn.Conv2d(last, joints, 1)])
        if stacks == 2:
            merged = features + features // 2
            self.merge_features = nn.Conv2d(merged, merged, 1)
            self.merge_heatmaps = nn.Conv2d(joints, merged, 1)
            self.hourglasses.append(WorkshopHourglass(depth, merged, features))
            self.necks.append(workshop_neck(wide, wide))
            self.heads.append(nn.Conv2d(wide, joints, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.stages(image))

    def stages(self, image: Tensor) -> Stages:
        """Each stage's heatmaps in turn, see `Stages`."""
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        pooled = self.stem(self.normalise(image))
        y = self.necks[0](self.hourglasses[0](self.widen(pooled)))
        heatmaps = self.heads[0](y)
        rows = yield heatmaps
        if len(self.hourglasses) == 2:
            x = self.merge_features(torch.cat([y, pooled], 1)) + self.merge_heatmaps(heatmaps)
            yield self.heads[1](self.necks[1](self.hourglasses[1](remaining_rows(x, rows))))


def hg2_workshop(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> WorkshopStackedHourglass:
    """The workshop paper's network for MPII: 26.371 M parameters, 26.20 GMAC at 256 x 256.

    Published (figure 5, PCKh@0.5 on MPII's validation people), first heatmaps, then the answer: head
    96.7, 97.7; shoulder 92.9, 94.6; elbow 85.0, 88.5; wrist 79.8, 83.3; hip 83.7, 87.5; knee 78.6, 83.0;
    ankle 74.3, 79.0. On the test people elbow 90, wrist 85.2.
    """
    return WorkshopStackedHourglass(joints, stacks=2, mean=mean, std=std)


def hg1_flic(joints: int = 11, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> WorkshopStackedHourglass:
    """The workshop paper's single hourglass for FLIC, one loss: 13.262 M parameters, 14.0 GMAC at 256 x 256.

    Published: wrist 95.2 (PCK@0.2, observer-centric).
    """
    return WorkshopStackedHourglass(joints, stacks=1, mean=mean, std=std)
