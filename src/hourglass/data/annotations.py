"""What the annotation readers share: crop boxes, joints far outside the picture, missing photos."""

import logging
from collections.abc import Sequence
from pathlib import Path

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

log = logging.getLogger(__name__)


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


def check_photos(missing: Sequence[str], wanted: int, folder: Path, what: str) -> None:
    """Raise FileNotFoundError with the number of missing photos and the first, if there are any."""
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {wanted} photos of {what} are missing in {folder}, "
            f"the first is {missing[0]}; add them, or take annotations whose photos are there"
        )


def log_left_out(file: Path, counts: dict[str, int]) -> None:
    """One log line for everything that a reader left out of a file, if anything."""
    parts = [f"{what}: {count}" for what, count in counts.items() if count]
    if parts:
        log.info("left out of %s: %s", file, "; ".join(parts))
