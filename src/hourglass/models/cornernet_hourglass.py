"""The hourglass of CornerNet (Law and Deng 2018) as a pose network, which MMPose calls hourglass52 and 104.

It shares its name with the network of ECCV 2016 and little else: 3x3 basic blocks that end in a ReLU, strided
convolutions instead of pooling, five halvings, and wider levels further down. Images ``(B, 3, H, W)`` in, one
heatmap tensor ``(B, J, H / 4, W / 4)`` per stack out; the pictures' values are those of `stacked_hourglass`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

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


class BasicResidual(nn.Module):
    """Basic block ``(B, in_features, H, W) -> (B, out_features, H / stride, W / stride)``.

    3x3-BN-ReLU, 3x3-BN, plus the input, which passes 1x1-BN where shape changes; a ReLU follows the sum.
    Source: the basic block of ResNet, as MMPose's hourglass uses it.
    """

    def __init__(self, in_features: int, out_features: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_features, out_features, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_features)
        self.conv2 = nn.Conv2d(out_features, out_features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_features)
        self.relu = nn.ReLU(inplace=True)
        self.skip: nn.Module = (
            nn.Identity()
            if stride == 1 and in_features == out_features
            else nn.Sequential(
                nn.Conv2d(in_features, out_features, 1, stride, bias=False), nn.BatchNorm2d(out_features)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        total: Tensor = self.relu(y + self.skip(x))
        return total


def conv_bn(in_features: int, out_features: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution without bias and batch-norm; padded so that stride 1 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(in_features, out_features, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_features),
    )


def level_widths(depth: int, features: int) -> list[int]:
    """Widths of the `depth` + 1 levels, from the outside in: 1, 1, 1.5, 1.5 ..., and 2 times `features`.

    With depth 5 and 256 features they are CornerNet's 256, 256, 384, 384, 384, 512; other depths are ours.
    """
    middle = [features if level < 2 else features * 3 // 2 for level in range(depth)]
    return [*middle, 2 * features]


class CornerNetHourglass(nn.Module):
    """One hourglass ``(B, widths[0], H, W) -> (B, widths[0], H, W)`` that halves once for each further width.

    A level has 2 blocks at each position and the innermost one 4. Its first block of the way down halves the
    resolution and changes the width; on the way up the last block changes it back.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        outer, inner = widths[:2]
        block = BasicResidual
        self.up = nn.Sequential(block(outer, outer), block(outer, outer))
        self.before = nn.Sequential(block(outer, inner, stride=2), block(inner, inner))
        self.inner: nn.Module = (
            CornerNetHourglass(widths[1:])
            if len(widths) > 2
            else nn.Sequential(*(block(inner, inner) for _ in range(4)))
        )
        self.after = nn.Sequential(block(inner, inner), block(inner, outer))

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(x)))
        up: Tensor = self.up(x)
        return up + F.interpolate(low, scale_factor=2.0, mode="nearest")


class CornerNetStackedHourglass(nn.Module):
    """Stacked CornerNet hourglasses with a heatmap head each.

    Between two stacks the features that entered the hourglass and those that left it each pass a 1x1
    convolution; their sum passes a ReLU and one block. Heatmaps are not fed back.

    Args:
        joints: heatmaps per stage, J.
        stacks: hourglasses, each supervised; 1 is hourglass52, 2 is hourglass104.
        features: width of the outer levels; a multiple of 4.
        depth: halvings in one hourglass.
        mean, std: of RGB in 0..1, subtracted and divided inside `forward`.

    Raises ValueError for numbers that make no network, and in `forward` for sizes that don't divide.
    Source: MMPose's `hourglass.py` and `cpm_head.py`.
    """

    output = "heatmap"
    stride = STRIDE

    def __init__(
        self,
        joints: int,
        stacks: int = 1,
        features: int = 256,
        depth: int = 5,
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
    ) -> None:
        super().__init__()
        check_numbers(features, {"joints": joints, "stacks": stacks, "depth": depth})
        self.depth = depth
        self.normalise = Normalise(mean, std)
        self.stem = nn.Sequential(
            *conv_bn(3, features // 2, kernel=7, stride=2),
            nn.ReLU(inplace=True),
            BasicResidual(features // 2, features, stride=2),
        )
        widths = level_widths(depth, features)
        self.hourglasses = nn.ModuleList(CornerNetHourglass(widths) for _ in range(stacks))
        self.necks = nn.ModuleList(conv_bn(features, features, kernel=3) for _ in range(stacks))
        self.heads = nn.ModuleList(nn.Conv2d(features, joints, 1) for _ in range(stacks))
        self.merge_input = nn.ModuleList(conv_bn(features, features) for _ in range(stacks - 1))
        self.merge_features = nn.ModuleList(conv_bn(features, features) for _ in range(stacks - 1))
        self.after_merge = nn.ModuleList(BasicResidual(features, features) for _ in range(stacks - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.stages(image))

    def stages(self, image: Tensor) -> Stages:
        """Each stage's heatmaps in turn, see `Stages`."""
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        x = self.stem(self.normalise(image))
        for i, hourglass in enumerate(self.hourglasses):
            y = F.relu(self.necks[i](hourglass(x)))
            rows = yield self.heads[i](y)
            if i < len(self.after_merge):
                merged = F.relu(self.merge_input[i](x) + self.merge_features[i](y))
                x = self.after_merge[i](remaining_rows(merged, rows))


def hourglass52(joints: int = 16, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> CornerNetStackedHourglass:
    """MMPose's hourglass52: 93.667 M parameters, 28.62 GMAC at 256 x 256.

    Published by MMPose: PCKh@0.5 88.9 on MPII val at 256 px, 89.4 at 384 px; COCO val AP 72.6 and 74.6.
    """
    return CornerNetStackedHourglass(joints, mean=mean, std=std)
