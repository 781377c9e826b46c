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
