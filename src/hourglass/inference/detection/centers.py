"""From the maps of a people finder to boxes: numpy alone, whatever ran the network."""

import numpy as np
import numpy.typing as npt

from hourglass.core import geometry
from hourglass.core.arrays import RGB
from hourglass.inference.detection.boxes import overlaps
from hourglass.inference.detection.suppress import surest

SIZE_PX = 32.0
"""Input pixels that the maps' sides are logarithms over."""
OVERLAP = 0.6
"""Boxes whose overlap (intersection over union) exceeds this are one."""
LEAST_SCORE = 0.01
CANDIDATES = 200
"""Only so many cells, the best, are looked at."""

_LONGEST = 8.0
"""A side's logarithm is cut off here: e^8 times 32 px is beyond any picture."""

_Float = npt.NDArray[np.float64]


def photo_matrix(width: int, height: int, input_px: int) -> _Float:
    """(3, 3) from a picture's pixels to the square that is searched: as large as goes, in the middle."""
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    return geometry.crop_matrix(center, max(width, height), input_px)


def whole_view(image: RGB, input_px: int) -> tuple[npt.NDArray[np.uint8], _Float]:
    """A picture as the finder takes it, (S, S, 3) uint8, black beside it; and the matrix that made it."""
    matrix = photo_matrix(image.shape[1], image.shape[0], input_px)
    return geometry.warp(image, matrix, input_px), matrix


def boxes_of(
    maps: npt.NDArray[np.floating], stride: float, least_score: float = LEAST_SCORE, overlap: float = OVERLAP
) -> tuple[_Float, _Float]:
    """People in one view: corners (N, 4) in input pixels from its edges, and scores (N,), best first.

    A cell counts that is the highest among its eight neighbours; of boxes that overlap by more than `overlap`
    the best one stays.

    Args:
        maps: (5, h, w), see `models.people_finder.MAPS`.
        stride: input pixels per cell.
        least_score: 0 to 1; cells below it are not looked at.
    """
    logits = np.asarray(maps[0], np.float64)
    scores = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    padded = np.pad(logits, 1, constant_values=-np.inf)
    height, width = logits.shape
    around = np.max([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)
    y, x = np.nonzero((logits >= around) & (scores >= least_score))
    best = np.argsort(-scores[y, x], kind="stable")[:CANDIDATES]
    y, x = y[best], x[best]
    right, down, wide, high = np.asarray(maps[1:, y, x], np.float64)
    size = np.exp(np.minimum(np.stack([wide, high], 1), _LONGEST)) * SIZE_PX
    middle = (np.stack([x, y], 1) + 0.5) * stride + np.stack([right, down], 1) * size
    corners = np.concatenate([middle - size / 2, middle + size / 2], 1)
    stay = surest(overlaps(corners), scores[y, x], overlap)
    return corners[stay], scores[y, x][stay]


def in_picture(corners: _Float, matrix: _Float, width: int, height: int) -> _Float:
    """Corners (N, 4) of the view as those of the picture, cut off at its edges."""
    points = geometry.apply(np.linalg.inv(matrix), corners.reshape(-1, 2, 2) - 0.5) + 0.5
    return np.clip(points.reshape(-1, 4), 0, np.array([width, height] * 2))
