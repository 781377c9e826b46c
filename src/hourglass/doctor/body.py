"""How long people's limbs are, and what they should be: a person's size that one bad joint doesn't move.

A limb is foreshortened more often than not, so a person's size is told by the longer limbs: the 75 % quantile
of length over usual length. That is how the LSP converter of bearpaw/pytorch-pose takes a scale from limbs
(gen_lsp.m); here usual lengths are the data set's own medians.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.data.formats.person_scale import row_quantile
from hourglass.doctor.people import People

LONG_SHARE = 0.75

_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Body:
    """Limbs of N people.

    Args:
        limbs: (L,) pairs of joint numbers.
        length_px: (N, L), NaN where an end is not labelled.
        usual: (L,) median of length over body, NaN of a limb that nobody has.
        body_px: (N,) size of each person, about the longer side of an upright one; NaN without a limb.
    """

    limbs: tuple[tuple[int, int], ...]
    length_px: Float64Array
    usual: Float64Array
    body_px: Float64Array


def measure(people: People) -> Body:
    """The limbs of everybody; without limbs the box around the joints tells the size."""
    points, limbs = people.keypoints, people.skeleton.limb_indices
    body_px = box_side_px(people)
    if not limbs:
        return Body((), np.zeros((len(points), 0)), np.zeros(0), body_px)
    ends = np.array(limbs)
    gap = points[:, ends[:, 0]] - points[:, ends[:, 1]]
    length_px = np.hypot(gap[..., 0], gap[..., 1])
    usual = _usual(length_px, body_px)
    for _ in range(_ROUNDS):
        body_px = _positive(row_quantile(length_px / _positive(usual), LONG_SHARE))
        usual = _usual(length_px, body_px)
    return Body(limbs, length_px, usual, body_px)


def relative(body: Body) -> Float64Array:
    """(N, L) how many times longer a limb is than the person's other limbs let expect; NaN where unknown."""
    ratio = body.length_px / _positive(body.usual)
    out = np.full(ratio.shape, np.nan)
    for limb in range(ratio.shape[1]):
        others = np.delete(ratio, limb, axis=1)
        out[:, limb] = ratio[:, limb] / _positive(row_quantile(others, LONG_SHARE))
        out[np.isfinite(others).sum(axis=1) < 2, limb] = np.nan
    return out


def box_side_px(people: People) -> Float64Array:
    """(N,) longer side of the box around the labelled joints; NaN for fewer than two, or all in one place."""
    known = people.labelled[..., None]
    low = np.where(known, people.keypoints, np.inf).min(axis=1)
    high = np.where(known, people.keypoints, -np.inf).max(axis=1)
    two = people.labelled.sum(axis=1) >= 2
    side = np.full(len(people), np.nan)
    side[two] = (high - low)[two].max(axis=1)
    return _positive(side)


def robust_z(values: Float64Array, known: BoolArray, least_spread: float) -> Float64Array:
    """(N,) distances from the median in standard deviations, told by the median deviation; NaN if unknown."""
    sample = np.where(known & np.isfinite(values), values, np.nan)
    middle = row_quantile(sample[None], 0.5)[0]
    spread = 1.4826 * row_quantile(np.abs(sample - middle)[None], 0.5)[0]
    z: Float64Array = (sample - middle) / max(float(np.nan_to_num(spread)), least_spread)
    return z


def _usual(length_px: Float64Array, body_px: Float64Array) -> Float64Array:
    return row_quantile((length_px / body_px[:, None]).T, 0.5)


def _positive(values: npt.NDArray[np.float64]) -> Float64Array:
    """NaN instead of 0, so that nothing is divided by it."""
    return np.where(values > 0, values, np.nan)
