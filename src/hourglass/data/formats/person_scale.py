"""A person's square crop, around the joints or by the size that limbs tell; joints too far outside to count.

A limb in a picture is as long as it really is or foreshortened, so a person's size shows in the longer ones.
MPII tells everybody's scale, in units of 200 px. Over its 22,246 train people (`isValidation` 0 in
`mpii_annotations.json`) the 0.75 quantile of a limb's length over the raw scale is

| limb | upper arm | lower arm | thigh | shank | torso side | neck to head top |
|---|---|---|---|---|---|---|
| px | 36.5 | 30.8 | 52.4 | 50.6 | 65.9 | 33.3 |
| of | 44,137 | 43,858 | 36,881 | 31,172 | 43,304 | 22,099 limbs |

with left and right taken together. A person's scale is the 0.75 quantile of length over reference, over the
limbs with both ends labelled. That a quantile of the longer ones is taken is a known rule for LSP
(bearpaw/pytorch-pose, gen_lsp.m, there against medians); to measure the references by the same quantile is
ours, as against medians the answer is 1.11 times too large.

Answer over truth for the 2,958 validation people: median 0.985, half of them 0.90 to 1.05, 90 % 0.74 to 1.22;
within 10 % for 60 % and within 20 % for 85 %. MPII's heads have the length that its scale says, so this
flatters: without them the median is 0.96, half 0.86 to 1.06, within 20 % for 78 %. The box around the joints,
with its margin, has a median of 0.79 of the true crop, half 0.58 to 0.96: it shrinks with whoever sits or is
cut off.

Side by limbs over side of the box: on LSP's 2,000 people median 1.06, 90 % 0.92 to 1.52, correlation 0.91,
and 0.007 % of the joints fall outside the crop. On 9,000 of LSPET's, whose pictures were scaled so that
everybody is about 150 px long however they bend, median 1.37, 90 % 0.95 to 2.22, correlation 0.17, 0.03 %.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED
from hourglass.data.formats.annotations import Annotations

BOX_MARGIN = 1.25
"""Side of a person's crop over the longer side of the box around the person."""

MIN_SIDE_PX = 8.0
"""No crop is smaller, not even around two joints in one place."""

OUTSIDE_SHARE = 0.05
"""How far outside the picture a joint may lie, as a share of its longer side, and still count as labelled."""


def crop_of_box(
    center: npt.NDArray[np.floating], longer_side_px: float
) -> tuple[npt.NDArray[np.float32], float]:
    """Centre (2,) and side of the square crop of a person whose box is known."""
    return center.astype(np.float32), max(longer_side_px * BOX_MARGIN, MIN_SIDE_PX)


def crops_of_joints(
    keypoints: npt.NDArray[np.floating], labelled: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres (N, 2) and sides (N,) of the square crops around N people's labelled joints.

    NaN for who has fewer than two of them: a point tells no size.

    Args:
        keypoints: (N, J, 2); what is not labelled may be anything.
        labelled: (N, J).
    """
    center, side_px = np.full((len(keypoints), 2), np.nan), np.full(len(keypoints), np.nan)
    known = labelled.sum(axis=1) > 1
    points, there = keypoints[known], labelled[known, :, None]
    low = np.where(there, points, np.inf).min(axis=1)
    high = np.where(there, points, -np.inf).max(axis=1)
    center[known] = (low + high) / 2
    longer_side_px = (high - low).max(axis=1).astype(np.float64)
    side_px[known] = np.maximum(longer_side_px * BOX_MARGIN, MIN_SIDE_PX)
    return center, side_px


def without_far_outside(
    keypoints: npt.NDArray[np.floating], visibility: npt.NDArray[np.uint8], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """The visibility (J,) with 0 where a labelled joint lies far outside the picture.

    A slip of a few pixels over the border is still the right place to learn; a joint beyond
    `OUTSIDE_SHARE` of the picture's longer side is a mistake, and would spoil the person's box too.
    """
    slack = OUTSIDE_SHARE * max(width, height)
    low, high = -0.5 - slack, np.array([width, height]) - 0.5 + slack
    far = ((keypoints < low) | (keypoints > high)).any(axis=1)
    return np.where(far, NOT_LABELLED, visibility).astype(np.uint8)


def made_crops(
    keypoints: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_], box: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres (N, 2) and sides (N,) of square crops; NaN for who has neither a box nor two labelled joints.

    Args:
        keypoints: (N, J, 2), which count where `labelled` (N, J) and `box` is empty or NaN.
        box: (N, 4) x, y, width, height.
    """
    center, side_px = np.full((len(box), 2), np.nan), np.full(len(box), np.nan)
    boxed = (box[:, 2:] > 0).all(axis=1)
    center[boxed], longer = box[boxed, :2] + (box[boxed, 2:] - 1) / 2, box[boxed, 2:].max(axis=1)
    side_px[boxed] = np.maximum(longer * BOX_MARGIN, MIN_SIDE_PX)
    rows = ~boxed & (labelled.sum(axis=1) >= 2)
    seen, points = labelled[rows][..., None], keypoints[rows].astype(np.float32)
    low = np.where(seen, points, np.float32(np.inf)).min(axis=1)
    high = np.where(seen, points, np.float32(-np.inf)).max(axis=1)
    center[rows] = (low + high) / 2
    side_px[rows] = np.maximum((high - low).max(axis=1).astype(np.float64) * BOX_MARGIN, MIN_SIDE_PX)
    return center, side_px


CROPS = ("box", "limbs")
"""The words of `data.crop`."""

QUANTILE = 0.75

SIDE_PX = 250.0
"""Of the crop at a scale of 1, as for MPII: 200 x 1.25."""

_PAIRED = {
    ("shoulder", "elbow"): 36.5,
    ("elbow", "wrist"): 30.8,
    ("hip", "knee"): 52.4,
    ("knee", "ankle"): 50.6,
    ("shoulder", "hip"): 65.9,
}

LIMBS = {
    **{(f"{s}_{a}", f"{s}_{b}"): px for (a, b), px in _PAIRED.items() for s in ("left", "right")},
    ("neck", "head_top"): 33.3,
}
"""The ends of each limb, and its length in pixels at a scale of 1."""


def limb_scale(people: Annotations) -> Float64Array:
    """(N,) scale in MPII's units of 200 px, NaN for who has no limb with both ends labelled.

    Raises ValueError when the skeleton has none of `LIMBS`.
    """
    labelled, limbs = people.labelled, _limbs_of(people.skeleton)
    ratios = np.full((len(people), len(limbs)), np.nan)
    for column, ((i, j), reference_px) in enumerate(limbs.items()):
        known = labelled[:, i] & labelled[:, j]
        along = people.keypoints[known, i] - people.keypoints[known, j]
        ratios[known, column] = np.hypot(along[:, 0], along[:, 1]) / reference_px
    return row_quantile(ratios, QUANTILE)


def limb_side_px(people: Annotations) -> Float64Array:
    """(N,) side of the crop by limbs, and that of the box for who has none with both ends labelled.

    Raises ValueError when the skeleton has none of `LIMBS`.
    """
    side_px = np.maximum(SIDE_PX * limb_scale(people), MIN_SIDE_PX)
    # Who has no box has no middle for a crop either.
    without = np.isnan(side_px) | np.isnan(people.side_px)
    return np.where(without, people.side_px, side_px)


def with_crop(people: Annotations, crop: str) -> Annotations:
    """The people with the crop that `data.crop` asks for; its middle stays that of the box.

    Raises ValueError naming the option.
    """
    if crop not in CROPS:
        raise ValueError(f"data.crop: {crop!r} is not one of {', '.join(CROPS)}")
    return people if crop == "box" else replace(people, side_px=limb_side_px(people))


def _limbs_of(skeleton: Skeleton) -> dict[tuple[int, int], float]:
    """Rows of the ends of each limb that the skeleton has, and the limb's length at a scale of 1."""
    found = {
        (skeleton.index(a), skeleton.index(b)): px
        for (a, b), px in LIMBS.items()
        if {a, b} <= set(skeleton.joints)
    }
    if not found:
        raise ValueError(
            f"data.crop: skeleton {skeleton.name!r} has none of the limbs that tell a person's size, such as "
            "left_hip to left_knee; use box"
        )
    return found


def row_quantile(values: Float64Array, share: float) -> Float64Array:
    """(N,) quantile of each row of (N, K), straight lines between its numbers and NaN left aside.

    NaN for rows of nothing else.
    """
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN goes last
    last = np.maximum((~np.isnan(ordered)).sum(axis=1) - 1, 0)
    place = share * last
    low = np.floor(place).astype(np.int64)
    rows = np.arange(len(values))
    below: Float64Array = ordered[rows, low]
    above: Float64Array = ordered[rows, np.minimum(low + 1, last)]
    answer: Float64Array = below + (place - low) * (above - below)
    return answer
