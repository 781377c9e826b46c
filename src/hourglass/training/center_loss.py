"""Targets and loss of a people finder: where centres are, and how large the people around them.

The loss of the centres is the penalty-reduced focal loss of CornerNet and Objects as Points (Zhou et al.
2019, equation 1, alpha 2 and beta 4). Sizes are learnt, by absolute error, in all cells near a centre, as in
TTFNet (Liu et al. 2019), whose widths of the Gaussians are used too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.inference.detection.centers import SIZE_PX

SIGMA = 0.09
"""Standard deviation of a centre's Gaussian on each axis, as a share of the box's side."""
LEAST_SIGMA = 0.6
"""in cells, however small the box."""
NEAR = 0.3
"""Cells whose Gaussian is higher than this learn the box."""


@dataclass(frozen=True, eq=False)
class CenterTargets:
    """What the maps of one view should be.

    Args:
        centre: (B, h, w) float32, Gaussians that are 1 in the cells of centres.
        peak: (B, h, w) bool, those cells.
        box: (B, 4, h, w) float32, the maps "right", "down", "log width", "log height" of the nearest person.
        box_weight: (B, h, w) float32, how much each cell's box counts; one person's cells add up to 1.
    """

    centre: Tensor
    peak: Tensor
    box: Tensor
    box_weight: Tensor


def center_targets(people: Tensor, present: Tensor, height: int, width: int, stride: float) -> CenterTargets:
    """Targets of B views.

    Args:
        people: (B, N, 4) corners in input pixels from the view's edges.
        present: (B, N) bool, False in rows that only fill up.
        height, width: of the maps in cells.
        stride: input pixels per cell.
    """
    people = people.float()
    size = (people[..., 2:] - people[..., :2]).clamp_min(1e-3)
    middle = (people[..., :2] + people[..., 2:]) / 2
    limit = torch.tensor([width, height], device=people.device) - 1
    cell = torch.minimum((middle / stride).floor().clamp_min(0), limit)
    sigma = (SIGMA * size / stride).clamp_min(LEAST_SIGMA)
    x = torch.arange(width, device=people.device, dtype=torch.float32)
    y = torch.arange(height, device=people.device, dtype=torch.float32)
    across = torch.exp(-((x - cell[..., 0:1]) ** 2) / (2 * sigma[..., 0:1] ** 2))
    down = torch.exp(-((y - cell[..., 1:2]) ** 2) / (2 * sigma[..., 1:2] ** 2))
    each = down.unsqueeze(-1) * across.unsqueeze(-2) * present[..., None, None]  # (B, N, h, w)
    at = (x == cell[..., 0:1]).unsqueeze(-2) & (y == cell[..., 1:2]).unsqueeze(-1)
    peak = (at & present[..., None, None]).any(1)
    centre, owner = each.max(1)
    near = torch.where(each > NEAR, each, 0.0) * F.one_hot(owner, each.shape[1]).permute(0, 3, 1, 2)
    share = near / near.sum((2, 3), keepdim=True).clamp_min(1e-6)
    # What its owner says of each cell.
    flat = owner.flatten(1).unsqueeze(-1)
    owned = torch.cat([middle, size], -1).gather(1, flat.expand(-1, -1, 4)).view(-1, height, width, 4)
    cells_px = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) * stride + stride / 2
    way = (owned[..., :2] - cells_px) / owned[..., 2:]
    logs = torch.log(owned[..., 2:] / SIZE_PX)
    return CenterTargets(centre, peak, torch.cat([way, logs], -1).permute(0, 3, 1, 2), share.sum(1))


def center_loss(
    stages: Sequence[Tensor], people: Tensor, present: Tensor, background: Tensor, stride: float
) -> Tensor:
    """Loss (S,) float32 of every stage: of centres plus that of boxes, each over the number of people.

    Args:
        stages: S tensors (B, 5, h, w), see `models.people_finder.MAPS`.
        people, present, stride: see `center_targets`.
        background: (B, h, w) bool, False where a cell that is no centre must not be taken for empty: somebody
            who isn't boxed may be there.
    """
    height, width = stages[-1].shape[-2:]
    target = center_targets(people, present, height, width, stride)
    count = present.sum().clamp_min(1)
    # Beside a labelled person cells are less empty the nearer they are; elsewhere they are so by annotation.
    emptiness = (1 - target.centre) ** 4 * background * ~target.peak
    terms = []
    for stage in stages:
        logit = stage[:, 0].float()
        probability = torch.sigmoid(logit)
        found = (1 - probability) ** 2 * -F.logsigmoid(logit) * target.peak
        false = probability**2 * -F.logsigmoid(-logit) * emptiness
        far = (stage[:, 1:].float() - target.box).abs().sum(1) * target.box_weight
        terms.append((found.sum() + false.sum() + far.sum()) / count)
    return torch.stack(terms)
