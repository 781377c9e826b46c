"""The square crop of a person, and joints too far outside the picture to count."""

import numpy as np
import numpy.typing as npt

from hourglass.geometry import box_around
from hourglass.structs import NOT_LABELLED

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
