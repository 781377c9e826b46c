"""A residual network without its classifier: the encoder of DeepPose's variant and of Chained Prediction."""

from torch import Tensor, nn

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
