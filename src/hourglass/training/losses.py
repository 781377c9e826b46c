"""Losses. Targets are made here, on the device, at each stage's own resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.core.geometry import input_to_heatmap
from hourglass.inference.detection.centers import SIZE_PX
from hourglass.models import heatmap


def joint_losses(
    stages: Sequence[Tensor],
    keypoints_input: Tensor,
    weight: Tensor,
    stride: float,
    sigma_hm: float | Sequence[float],
    peak_weight: float = 0.0,
    sign: Tensor | None = None,
    cells: str = "mean",
) -> Tensor:
    """Squared error of every stage and joint against the truth: (S, J) float32.

    Each is the mean over the batch, and over the cells unless `cells` says "sum"; where a joint is not
    labelled it adds nothing.

    Args:
        stages: S heatmap tensors (B, J, h, w).
        keypoints_input: (B, J, 2) crop pixels.
        weight: (B, J), 0 where a joint is not labelled; such a map is not compared at all.
        stride: crop pixels per heatmap cell of the last stage; another resolution has its own.
        sigma_hm: standard deviation of the target in cells, so in pixels it follows a stage's scale; or one
            for each stage.
        peak_weight: each cell counts `1 + peak_weight * |target|` (ours; 0 is the papers' loss). It
            shortens the plateau on which the network answers zero everywhere.
        sign: (B, J), -1 where the target is a negative Gaussian (MSSH, equation 1), else 1.
        cells: "mean", or the "sum" of MSSH's equation 2, in which a map counts by its size: one of 128 cells
            sixteen times as much as one of 32.

    Raises ValueError for another word, or another number of widths than there are stages.
    """
    if cells not in ("mean", "sum"):
        raise ValueError(f"cells must be mean or sum, not {cells!r}")
    widths = list(sigma_hm) if isinstance(sigma_hm, Sequence) else [sigma_hm] * len(stages)
    if len(widths) != len(stages):
        raise ValueError(f"there are {len(widths)} target widths for {len(stages)} stages")
    # Made once for each resolution and shared by its stages; of a stage only the difference is kept.
    targets: dict[tuple[int, int, float], tuple[Tensor, Tensor | None]] = {}
    last_width = stages[-1].shape[-1]
    terms = []
    for stage, sigma in zip(stages, widths, strict=True):
        height, width = stage.shape[-2:]
        key = (height, width, sigma)
        if key not in targets:
            joints = input_to_heatmap(keypoints_input, stride * last_width / width)
            target = heatmap.encode(joints, height, width, sigma)
            if sign is not None:
                target = target * sign[..., None, None]
            targets[key] = target, 1 + peak_weight * target.abs() if peak_weight else None
        target, importance = targets[key]
        error = (stage.float() - target) ** 2
        if importance is not None:
            error = error * importance
        each = error.sum((2, 3)) if cells == "sum" else error.mean((2, 3))
        terms.append((each * weight).mean(0))
    return torch.stack(terms)


def heatmap_loss(
    stages: Sequence[Tensor],
    keypoints_input: Tensor,
    weight: Tensor,
    stride: float,
    sigma_hm: float | Sequence[float],
    peak_weight: float = 0.0,
    cells: str = "mean",
) -> Tensor:
    """Squared error of every stage against the same truth: (S,) float32, one term per stage.

    The papers sum the terms. Each is the mean of `joint_losses` over the joints, so that a network which
    answers zero everywhere scores about `pi sigma^2 / (h w)`. Arguments are those of `joint_losses`.
    """
    return joint_losses(stages, keypoints_input, weight, stride, sigma_hm, peak_weight, cells=cells).mean(1)


SMOOTH_BETA = 0.02
"""Where smooth L1 turns from a square to a line, in shares of the crop or of a joint's box (ours)."""


def coordinate_loss(predicted: Tensor, target: Tensor, weight: Tensor, distance: str = "l2") -> Tensor:
    """Mean over labelled joints, () float32, of how far an answer is off.

    Args:
        predicted, target: (B, J, 2) in the same unit.
        weight: (B, J), 0 where a joint is not labelled.
        distance: of one joint, summed over x and y: "l2", the square; "l1", the absolute value; or
            "smooth_l1", `e^2 / (2 beta)` up to `SMOOTH_BETA` and `|e| - beta / 2` beyond.

    Source: DeepPose's L2 loss with missing joints left out; the other two are of later codes. MMPose's smooth
    L1 has a beta of 1 crop, which is half of L2 for every error inside the crop.
    """
    error = predicted.float() - target
    if distance == "l2":
        each = error**2
    elif distance == "l1":
        each = error.abs()
    elif distance == "smooth_l1":
        each = F.smooth_l1_loss(predicted.float(), target.float(), reduction="none", beta=SMOOTH_BETA)
    else:
        raise ValueError(f"a distance of coordinates is l2, l1 or smooth_l1, not {distance!r}")
    return (each.sum(-1) * weight).sum() / weight.sum().clamp_min(1)


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


NORMALISERS = ("linear", "half_linear", "square", "exponential")
"""Ways from losses to 0..1; with r = loss / largest loss: r, r / 2, r^2 and 1 - exp(-r)."""

LITERAL = "literal"
"""In the place of a normaliser: losses as they are, in the paper's equations as they stand."""

STOP = 0.5 - 1e-3
"""From this mean of normalised losses on, a stage moves no weights."""

MIN_ALPHA = 1e-3
"""Bounds how much faster the hardest joint may grow than the easiest, from a stage to the next."""


def adaptive_weights(losses: Tensor, present: Tensor, normaliser: str = "half_linear") -> Tensor:
    """Weights of every joint's loss at every stage: (S, J) float32, detached; each row sums to one.

    The first row is 1 / J. From stage j to the next, with L the normalised losses of the joints that
    are present, and w their weights brought to a sum of one::

        mean  = sum_i w_i L_i          alpha = mean / (1 - mean), within 1e-3..1
        w'_i  proportional to w_i alpha^(1 - L_i)

    so that a joint with a larger loss gets a larger weight. Joints that are not present keep theirs,
    and the others share what they had. Where `mean` reaches 0.499, or no loss is above zero, the next
    stage has the same weights. A weight at most halves from a stage to the next, so none gets to zero.

    A NaN or infinite loss of a present joint moves nothing at its stage: weights are always finite, and
    the loss itself still shows in the sum that training checks. Only ratios within a stage matter, so
    sums and means of squares give the same.

    Nothing is read from the device. The same losses give the same weights, so ranks that first
    average theirs agree without sending the weights.

    Args:
        losses: (S, J), 0 or more: one term per stage, in the order of the stages, and joint.
        present: (S, J) or (J,) bool: was the joint labelled anywhere in the batch? What `losses`
            holds elsewhere is never looked at.
        normaliser: one of `NORMALISERS`, or `LITERAL`. "linear" seldom moves anything: the mean of real
            losses over their largest is above one half. "half_linear" (ours) stops only when almost all the
            weight is on joints with almost the largest loss; "square" and "exponential" are in between.
            `LITERAL` has no bounds and no stop: means over cells (about 1e-3) move nothing, a mean loss above
            one half turns to the easy joints, and from 1 on the equations have no real value and nothing is
            moved.

    Raises ValueError for an unknown normaliser or shapes that don't fit.
    Source: MSSH, section 4.2 and algorithm 1; AdaBoost.R2. The paper's sentence below equation 6 says
    the opposite of the equation and of its section 4; the equation is followed.
    """
    if normaliser not in (*NORMALISERS, LITERAL):
        words = ", ".join((*NORMALISERS, LITERAL))
        raise ValueError(f"normaliser must be one of {words}, not {normaliser!r}")
    if losses.ndim != 2 or not losses.numel():
        raise ValueError(f"losses must be (stages, joints), at least one of each, not {tuple(losses.shape)}")
    if present.dtype != torch.bool or present.shape not in (losses.shape, losses.shape[1:]):
        raise ValueError(
            f"present must be bool and {tuple(losses.shape)} or {tuple(losses.shape[1:])}, "
            f"not {present.dtype} and {tuple(present.shape)}"
        )
    here = present.expand_as(losses)
    known = torch.where(here, losses.detach().float(), 0.0)
    stages, joints = losses.shape
    rows = [torch.full((joints,), 1 / joints, dtype=torch.float32, device=losses.device)]
    for stage in range(stages - 1):
        if normaliser == LITERAL:
            rows.append(_literal(rows[-1], known[stage], here[stage]))
        else:
            rows.append(_next(rows[-1], known[stage], here[stage], normaliser))
    return torch.stack(rows)


def _next(weights: Tensor, losses: Tensor, present: Tensor, normaliser: str) -> Tensor:
    """One step of AdaBoost.R2, all (J,); `losses` are zero where not present."""
    largest = losses.amax()
    level = _normalise(losses / largest, normaliser)
    ours = torch.where(present, weights, 0.0)
    mass = ours.sum()
    mean = (ours * level).sum() / mass
    alpha = (mean / (1 - mean)).clamp(MIN_ALPHA, 1.0)
    # alpha^-L instead of alpha^(1 - L): their ratio is the same for all joints, and this one is never small.
    raised = ours * alpha ** (-level)
    moved = torch.where(present, raised / raised.sum() * mass, weights)
    # All losses zero, nobody present, a loss that is no number: all make the mean NaN, which compares false.
    return torch.where(mean < STOP, moved, weights)


def _literal(weights: Tensor, losses: Tensor, present: Tensor) -> Tensor:
    """Equations 3 to 6 for one step, all (J,), on the joints that are present."""
    ours = torch.where(present, weights, 0.0)
    mass = ours.sum()
    mean = (ours * losses).sum() / mass
    alpha = mean / (1 - mean)
    raised = torch.where(present, ours * alpha ** (1 - losses), 0.0)
    moved = torch.where(present, raised / raised.sum() * mass, weights)
    real = (mean > 0) & (mean < 1) & torch.isfinite(moved).all()
    return torch.where(real, moved, weights)


def _normalise(ratio: Tensor, normaliser: str) -> Tensor:
    """Loss over the largest loss, to 0..1."""
    if normaliser == "half_linear":
        return ratio / 2
    if normaliser == "square":
        return ratio**2
    if normaliser == "exponential":
        return 1 - torch.exp(-ratio)
    return ratio
