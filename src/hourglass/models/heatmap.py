"""Heatmap targets and their decoding, side by side, because each is the other's inverse.

Coordinates are heatmap cells: 0-based, an integer is the centre of a cell.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.core.structs import DECODINGS, Decoding

_TINY = 1e-10


def encode(keypoints_hm: Tensor, height: int, width: int, sigma_hm: float) -> Tensor:
    """Gaussian targets (B, J, height, width) float32, peak 1 at the exact sub-cell position.

    Args:
        keypoints_hm: (B, J, 2) heatmap cells; a joint may lie outside, its map then holds the tail.
        sigma_hm: standard deviation in cells. The papers say 1; their code draws 1.75.
    """
    keypoints_hm = keypoints_hm.float()
    x, y = keypoints_hm[..., 0:1], keypoints_hm[..., 1:2]
    columns = torch.arange(width, device=x.device, dtype=torch.float32)
    rows = torch.arange(height, device=x.device, dtype=torch.float32)
    denominator = 2 * sigma_hm**2
    across = torch.exp(-((columns - x) ** 2) / denominator)
    down = torch.exp(-((rows - y) ** 2) / denominator)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def decode(heatmaps: Tensor, method: Decoding = "dark", sigma_hm: float = 1.0) -> tuple[Tensor, Tensor]:
    """Positions (B, J, 2) in heatmap cells and scores (B, J), the peak values, both float32.

    Args:
        heatmaps: (B, J, h, w), any float dtype.
        method: `argmax` takes the highest cell; `quarter` moves it 0.25 towards the higher neighbour on
            each axis (ECCV 2016); `dark` smooths and takes one Newton step on the logarithm (Zhang et
            al. 2020); `soft` takes the centre of mass of the 3 sigma window around the highest cell.
        sigma_hm: the targets' standard deviation, for `dark` and `soft`.
    """
    maps = heatmaps.float()
    if method == "dark":
        return _dark(maps, sigma_hm)
    cell, score = _argmax(maps)
    if method == "argmax":
        return cell.float(), score
    if method == "quarter":
        left, right, up, down = (_take(maps, cell, dx, dy) for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)))
        offset = torch.stack([torch.sign(right - left), torch.sign(down - up)], -1)
        return cell + 0.25 * offset * _interior(maps, cell, 1), score
    if method == "soft":
        return _soft(maps, cell, sigma_hm), score
    raise ValueError(f"unknown decoding {method!r}; known are {', '.join(DECODINGS)}")


def spread(heatmaps: Tensor, xy: Tensor, sigma_hm: float = 1.0) -> Tensor:
    """How far and in which direction each map spreads around its joint: (B, J, 2, 2) float32, cells squared.

    The second moments, about the decoded position, of what is positive in the 3 sigma window around the
    position's cell: symmetric and positive semidefinite. A target of `encode` gives about sigma^2 in every
    direction, so that is what a sure answer gives too; a map without anything positive there gives the
    spread of the window itself.

    About the position rather than about the mean: a target that the border cuts off keeps most of its
    spread, and mass on one side of the joint counts as the doubt that it is. Source of the measure: ours.

    Args:
        heatmaps: (B, J, h, w), any float dtype; of weights with negative Gaussians what `unsigned` gives.
        xy: (B, J, 2) positions in cells, as `decode` gives them; one outside counts from the nearest cell.
        sigma_hm: the targets' standard deviation.
    """
    height, width = heatmaps.shape[-2:]
    reach = max(1, round(3 * sigma_hm))
    steps = torch.arange(-reach, reach + 1, device=heatmaps.device)
    xy = xy.float()
    size = torch.tensor([width, height], device=heatmaps.device)
    cell = torch.minimum(xy.round().long().clamp_min(0), size - 1)
    # Only the window's cells are looked at: (B, J, rows, columns).
    columns = (cell[..., 0:1] + steps).unsqueeze(-2)
    rows = (cell[..., 1:2] + steps).unsqueeze(-1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    at = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    values = heatmaps.flatten(2).gather(-1, at.flatten(2)).view(at.shape).float()
    # Not by adding: ONNX's optimiser takes so small a summand for nothing.
    mass = values.clamp_min(_TINY) * inside
    dx, dy = columns - xy[..., 0, None, None], rows - xy[..., 1, None, None]
    across, down = mass.sum(-2), mass.sum(-1)
    total = mass.sum((-1, -2))
    xx = (across * dx.squeeze(-2) ** 2).sum(-1) / total
    yy = (down * dy.squeeze(-1) ** 2).sum(-1) / total
    # Rounding could take it beyond what Cauchy and Schwarz allow.
    bound = (xx * yy).sqrt() * (1 - 1e-6)
    both = ((mass * dx * dy).sum((-1, -2)) / total).clamp(-bound, bound)
    return torch.stack([xx, both, both, yy], -1).view(*both.shape, 2, 2)


def unsigned(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, J, h, w) in which an occluded joint is a negative Gaussian, as ordinary ones, and (B, J) bool.

    A map whose strongest cell is negative is turned over, and its joint is said to be occluded. Ordinary
    decoding alone could never find such a joint. Source: MSSH, equation 1; the decoding is ours.
    """
    flat = heatmaps.flatten(2)
    strongest = flat.gather(-1, flat.abs().argmax(-1, keepdim=True))
    occluded = strongest < 0
    return torch.where(occluded.unsqueeze(-1), -heatmaps, heatmaps), occluded.squeeze(-1)


def flip_back(heatmaps: Tensor, permutation: Tensor, offset_hm: float = 0.0) -> Tensor:
    """Heatmaps (B, J, h, w) of mirrored images as those of the images themselves.

    Exact in this package's pixel-centre convention: no shift is needed. Weights of another convention answer
    `offset_hm` cells beside ours in both pictures, so the mirrored maps come back twice that beside the
    plain ones. They are moved by the nearest whole number of cells, repeating the border, as HRNet and MMPose
    do with their own.
    """
    flipped = heatmaps.flip(-1)[:, permutation]
    cells = round(-2 * offset_hm)
    if not cells:
        return flipped
    width = heatmaps.shape[-1]
    return flipped[..., (torch.arange(width, device=heatmaps.device) - cells).clamp(0, width - 1)]


def _argmax(maps: Tensor) -> tuple[Tensor, Tensor]:
    score, flat = maps.flatten(2).max(-1)
    width = maps.shape[-1]
    return torch.stack([flat % width, flat // width], -1), score


def _take(maps: Tensor, cell: Tensor, dx: int, dy: int) -> Tensor:
    """Values (B, J) beside a cell, the border's own value where that lies outside."""
    height, width = maps.shape[-2:]
    x = (cell[..., 0] + dx).clamp(0, width - 1)
    y = (cell[..., 1] + dy).clamp(0, height - 1)
    return maps.flatten(2).gather(-1, (y * width + x).unsqueeze(-1)).squeeze(-1)


def _interior(maps: Tensor, cell: Tensor, margin: int) -> Tensor:
    """(B, J, 2) float, 1 on an axis whose neighbours up to `margin` cells away exist."""
    size = torch.tensor([maps.shape[-1], maps.shape[-2]], device=maps.device)
    return ((cell >= margin) & (cell < size - margin)).float()


def _blur(maps: Tensor, sigma_hm: float) -> Tensor:
    """Separable Gaussian smoothing; beyond the border a map is zero."""
    radius = max(1, round(3 * sigma_hm))
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_hm**2))
    kernel = kernel / kernel.sum()
    batch, joints, height, width = maps.shape
    flat = maps.reshape(batch * joints, 1, height, width)
    flat = F.conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, radius))
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return flat.view(batch, joints, height, width)


def _dark(maps: Tensor, sigma_hm: float) -> tuple[Tensor, Tensor]:
    # From the map's own highest cell: near a border the smoothed one's lies further in.
    cell, score = _argmax(maps)
    smooth = _blur(maps, sigma_hm)

    def log_at(dx: int, dy: int) -> Tensor:
        return _take(smooth, cell, dx, dy).clamp_min(_TINY).log()

    centre = log_at(0, 0)
    right, left, below, above = log_at(1, 0), log_at(-1, 0), log_at(0, 1), log_at(0, -1)
    gx, gy = (right - left) / 2, (below - above) / 2
    hxx, hyy = right - 2 * centre + left, below - 2 * centre + above
    hxy = (log_at(1, 1) - log_at(1, -1) - log_at(-1, 1) + log_at(-1, -1)) / 4
    # An axis whose neighbour lies outside gets no step; nor does anything but a proper maximum.
    inside = _interior(maps, cell, 1)
    hxy = hxy * inside.prod(-1)
    determinant = hxx * hyy - hxy**2
    proper = (determinant > _TINY) & (hxx < 0)
    safe = torch.where(proper, determinant, torch.ones_like(determinant))
    step = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], -1) / safe.unsqueeze(-1)
    return cell + step.clamp(-1, 1) * inside * proper.unsqueeze(-1), score


def _soft(maps: Tensor, cell: Tensor, sigma_hm: float) -> Tensor:
    height, width = maps.shape[-2:]
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype)
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype)
    reach = 3 * sigma_hm
    near_x = ((columns - cell[..., 0:1]).abs() <= reach).unsqueeze(-2)
    near_y = ((rows - cell[..., 1:2]).abs() <= reach).unsqueeze(-1)
    mass = maps.clamp_min(0) * near_x * near_y
    total = mass.sum((-1, -2)).clamp_min(_TINY)
    x = (mass.sum(-2) * columns).sum(-1) / total
    y = (mass.sum(-1) * rows).sum(-1) / total
    return torch.where((total > _TINY).unsqueeze(-1), torch.stack([x, y], -1), cell.float())
