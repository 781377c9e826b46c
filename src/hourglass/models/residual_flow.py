"""How far regressed coordinates are off, as a density: residual log-likelihood estimation (RLE).

A regressor says for each coordinate where it is and how wide its doubt is. The error in units of that width
has a density of which the Laplace distribution is the first guess and a small normalising flow the
correction, learnt with it. The flow is needed in training only. Source: Li et al., "Human Pose Regression
with Residual Log-likelihood Estimation", ICCV 2021 (arXiv 2107.11291).
"""

import math

import torch
from torch import Tensor, nn

_LAYERS, _HIDDEN = 6, 64


def _net(last: nn.Module | None = None) -> nn.Sequential:
    """From the half that is known to the scale or the shift of the other; starts close to zero."""
    layers = [nn.Linear(2, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU()]
    layers += [nn.Linear(_HIDDEN, 2), *([last] if last is not None else [])]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class ResidualFlow(nn.Module):
    """A density of points in the plane: six affine couplings of a standard normal (RealNVP).

    Source: Dinh et al. 2017 (arXiv 1605.08803), in the sizes of RLE's code; 53,784 parameters.
    """

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_net(nn.Tanh()) for _ in range(_LAYERS))
        self.shifts = nn.ModuleList(_net() for _ in range(_LAYERS))
        mask = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(_LAYERS // 2, 1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """Log-density (...,) of points (..., 2)."""
        z, change = points, torch.zeros_like(points[..., 0])
        for scale, shift, kept in zip(self.scales, self.shifts, self.mask, strict=True):
            known, other = z * kept, 1 - kept
            stretch = scale(known) * other
            z = known + other * (z - shift(known)) * torch.exp(-stretch)
            change = change - stretch.sum(-1)
        return change - (z**2).sum(-1) / 2 - math.log(2 * math.pi)


def surprise(predicted: Tensor, sigma: Tensor, truth: Tensor, flow: ResidualFlow) -> Tensor:
    """Negative log-likelihood (B, J) of the truth (B, J, 2), float32.

    With e = (truth - predicted) / sigma it is `sum log sigma - log Q(e) - log G(e)`, Q the Laplace density
    `exp(-|x| - |y|) / 4` and G the flow's: the paper's equation, whose constant log s is left out. The
    authors' code counts log sigma and log G twice.

    Args:
        predicted, sigma: (B, J, 2); sigma is positive.
    """
    predicted, sigma, truth = predicted.float(), sigma.float(), truth.float()
    error = (truth - predicted) / sigma
    laplace = -error.abs().sum(-1) - 2 * math.log(2)
    found: Tensor = sigma.log().sum(-1) - laplace - flow(error)
    return found
