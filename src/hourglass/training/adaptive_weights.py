"""Loss weights that move from stage to stage towards the joints that are still wrong.

Equations 3 to 6 of the multi-scale paper (MSSH, ICLR 2019 submission) are AdaBoost.R2 (Drucker, 1997) with
joints in the place of samples and stages in the place of rounds, less two of its parts: losses in 0..1,
and a stop where a round is no better than chance. Without the first, sums of squares above 1 give a
negative base and so NaN, and means of squares (about 1e-3) move nothing. Without the second, weights
flow to the easy joints. Both parts are back here, but for "literal", which is the equations alone.
"""

import torch
from torch import Tensor

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
