"""Building blocks that several networks share."""

import math

from torch import Tensor, nn


class PreActResidual(nn.Module):
    """Pre-activation bottleneck ``(B, in_features, H, W) -> (B, out_features, H, W)``.

    BN-ReLU-1x1, BN-ReLU-3x3, BN-ReLU-1x1 at half the output width, plus the raw input, which
    passes a bare 1x1 convolution where the width changes. Nothing follows the sum.

    Source: ECCV 2016, section 3.1, in the layer order of the authors' training code.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        mid = out_features // 2
        self.bn1 = nn.BatchNorm2d(in_features)
        self.conv1 = nn.Conv2d(in_features, mid, 1)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, out_features, 1)
        # In place is safe: a batch-norm's output is read by nobody else, and its input is untouched.
        self.relu = nn.ReLU(inplace=True)
        self.skip: nn.Module = (
            nn.Identity() if in_features == out_features else nn.Conv2d(in_features, out_features, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(self.relu(self.bn1(x)))
        y = self.conv2(self.relu(self.bn2(y)))
        y = self.conv3(self.relu(self.bn3(y)))
        skip: Tensor = self.skip(x)
        return y + skip


class PostActResidual(nn.Module):
    """Post-activation bottleneck ``(B, in_features, H, W) -> (B, out_features, H, W)``.

    1x1-BN-ReLU, 3x3-BN-ReLU, 1x1-BN at half the output width, plus the input, which passes
    1x1-BN where the width changes. No ReLU follows the sum.

    Source: the residual of the released two-stack workshop network.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        mid = out_features // 2
        self.body = nn.Sequential(
            nn.Conv2d(in_features, mid, 1),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, mid, 3, padding=1),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, out_features, 1),
            nn.BatchNorm2d(out_features),
        )
        self.skip: nn.Module = (
            nn.Identity()
            if in_features == out_features
            else nn.Sequential(nn.Conv2d(in_features, out_features, 1), nn.BatchNorm2d(out_features))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        skip: Tensor = self.skip(x)
        return y + skip


def conv_bn_relu(in_features: int, out_features: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution with bias, batch-norm, ReLU; padded so that stride 1 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(in_features, out_features, kernel, stride, kernel // 2),
        nn.BatchNorm2d(out_features),
        nn.ReLU(inplace=True),
    )


GROUPS = 32
"""Of every layer of 64 features and more, as Wu and He 2018 have it; fewer where there are fewer features."""


def groups_of(features: int) -> int:
    """How many groups a layer's features are split into: up to 32, of two features or more each."""
    return math.gcd(GROUPS, features // 2) if features % 2 == 0 else 1


def with_group_norms(network: nn.Module) -> nn.Module:
    """The network with a group-norm in the place of each batch-norm; no statistics are kept.

    Source: Wu and He 2018 (arXiv 1803.08494), and `hourglass_gn` of bearpaw/pytorch-pose, which has 32 groups
    in the same places; its layers have 64 features and more, where this is the same.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(groups_of(child.num_features), child.num_features))
    return network


DEPTHS: dict[int, tuple[int, ...]] = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks in each of the four stages; 34 has two-convolution blocks, the deeper ones bottlenecks."""
STRIDE = 32
"""Input pixels per cell of the features."""


def _conv_bn(in_features: int, out_features: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_features, out_features, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_features),
    )


class _Block(nn.Module):
    """Post-activation residual: `body` plus the input (1x1 and BN where shapes differ), then ReLU."""

    def __init__(self, in_features: int, features: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out_features = 4 * features if bottleneck else features
        relu = nn.ReLU(inplace=True)
        if bottleneck:
            self.body = nn.Sequential(
                _conv_bn(in_features, features, 1),
                relu,
                _conv_bn(features, features, 3, stride),
                relu,
                _conv_bn(features, out_features, 1),
            )
        else:
            self.body = nn.Sequential(
                _conv_bn(in_features, features, 3, stride), relu, _conv_bn(features, out_features, 3)
            )
        same = in_features == out_features and stride == 1
        self.skip: nn.Module = nn.Identity() if same else _conv_bn(in_features, out_features, 1, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.body(x) + self.skip(x))
        return y


class ResNetEncoder(nn.Module):
    """Images ``(B, 3, H, W)``, already normalised, to features ``(B, out_features, H / 32, W / 32)``.

    Args:
        depth: 34, 50 or 101 layers, the published classifier's name.
        width: features of the first stage; 64 as published, later stages double it. `out_features` is
            8 x width for 34 layers and 32 x width for the deeper ones.

    Raises ValueError for another depth or a width below 1. Source: He et al. 2016, table 1, with the
    stride of a bottleneck in its 3x3 convolution.
    """

    def __init__(self, depth: int = 34, width: int = 64) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"a residual encoder has {', '.join(map(str, DEPTHS))} layers, not {depth}")
        if width < 1:
            raise ValueError(f"the encoder's width must be at least 1, not {width}")
        bottleneck = depth > 34
        growth = 4 if bottleneck else 1
        layers: list[nn.Module] = [_conv_bn(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        reached = width
        for stage, count in enumerate(DEPTHS[depth]):
            features = width * 2**stage
            for i in range(count):
                layers.append(_Block(reached, features, 2 if stage and not i else 1, bottleneck))
                reached = features * growth
        self.layers = nn.Sequential(*layers)
        self.out_features = reached

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y
