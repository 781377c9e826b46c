"""The square crop of a person, and joints too far outside the picture to count."""

import numpy as np
import numpy.typing as npt

from hourglass.core.geometry import box_around
from hourglass.core.structs import NOT_LABELLED

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


def crop_of_joints(keypoints: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float32], float]:
    """Centre (2,) and side of the square crop around labelled joints (N, 2)."""
    return crop_of_box(*box_around(keypoints))


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
