"""The multi-scale paper's two inception-resnet units, which stand where Newell's residual stands.

Both take the arguments of `layers.PreActResidual` and keep its shapes, so a network can be built of
any of the three. A and B hold the same parameters under the same names: they differ only in the
resolution at which the second branch works.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _bn_relu_conv(in_features: int, out_features: int, kernel: int = 1) -> nn.Sequential:
    """Batch-norm, ReLU, convolution with bias; keeps the size."""
    return nn.Sequential(
        nn.BatchNorm2d(in_features),
        # In place is safe: a batch-norm's output is read by nobody else, and its input is untouched.
        nn.ReLU(inplace=True),
        nn.Conv2d(in_features, out_features, kernel, padding=kernel // 2),
    )


class InceptionResidualA(nn.Module):
    """Two branches, joined, on top of the input: ``(B, in_features, H, W) -> (B, out_features, H, W)``.

    With o = `out_features`, and each step a BN-ReLU-convolution with a batch-norm of its own::

        wide   1x1 -> o/2
        deep   1x1 -> o/4, 3x3 -> o/4, 3x3 -> o/2
        y    = skip(x) + 1x1(concat[wide(x), deep(x)])

    `skip` is the raw input, through a bare 1x1 convolution where the width changes; the joining
    convolution is bare too, and nothing follows the sum.

    Raises ValueError when `out_features` is no positive multiple of 4.
    Source: MSSH (ICLR 2019 submission), figure 4(a). Its text gives no widths; those here are ours.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if out_features < 4 or out_features % 4:
            raise ValueError(f"out_features must be a positive multiple of 4, not {out_features}")
        half, quarter = out_features // 2, out_features // 4
        self.wide = _bn_relu_conv(in_features, half)
        self.deep = nn.Sequential(
            _bn_relu_conv(in_features, quarter),
            _bn_relu_conv(quarter, quarter, 3),
            _bn_relu_conv(quarter, half, 3),
        )
        self.join = nn.Conv2d(out_features, out_features, 1)
        self.skip: nn.Module = (
            nn.Identity() if in_features == out_features else nn.Conv2d(in_features, out_features, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.join(torch.cat([self.wide(x), self._second_branch(x)], 1))
        skip: Tensor = self.skip(x)
        return y + skip

    def _second_branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.deep(x)
        return y


class InceptionResidualB(InceptionResidualA):
    """`InceptionResidualA` whose second branch works at half the resolution, as in figure 4(b).

    2x2 max-pooling comes before the branch and nearest-neighbour upsampling after it. Any map will do
    (ours): windows over an odd map's last row and column hold what is there, and the upsampled map is
    cut back to the input's size. A 1x1 map is therefore its own pooled map, and B equals A on it.
    """

    def _second_branch(self, x: Tensor) -> Tensor:
        low: Tensor = self.deep(F.max_pool2d(x, 2, ceil_mode=True))
        y = F.interpolate(low, scale_factor=2.0, mode="nearest")
        return y[..., : x.shape[-2], : x.shape[-1]]
