"""Boxes of people as a caller or a detector gives them, checked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB, Float64Array

Boxes = Sequence[Sequence[float]] | Sequence[float] | npt.NDArray[Any]
"""One box (x, y, w, h) or several, in pixels of the picture, from its edges; the whole is (0, 0, W, H)."""

Detector = Callable[[RGB], Any]
"""A picture (H, W, 3) uint8 RGB to people's boxes: (N, 4) x, y, w, h, or (N, 5) with a score last, or a pair
of boxes (N, 4) and scores (N,), or a `supervision.Detections`. Nobody is an empty answer. Pictures may
come from several threads at once.
"""


def from_detections(boxes: Any) -> tuple[Any, Any]:
    """Boxes and scores of a `supervision.Detections`, whose boxes are corners; else what came, and None."""
    corners = getattr(boxes, "xyxy", None)
    if corners is None:
        return boxes, None
    rows = np.asarray(corners, np.float64).reshape(-1, 4)
    return np.concatenate([rows[:, :2], rows[:, 2:] - rows[:, :2]], 1), getattr(boxes, "confidence", None)


def box_rows(boxes: Boxes, width: int, height: int, where: str = "") -> Float64Array:
    """Boxes as (N, 4) float64; no boxes at all, `[]`, are (0, 4).

    Raises ValueError, with `where` before it, for boxes that are no numbers, not (N, 4), not finite, without
    an area, or outside the picture of `width` x `height` pixels.
    """
    rows = _numbers(boxes, "boxes must be rows of four numbers, x, y, w, h", where)
    if rows.size == 0:
        return np.empty((0, 4))
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{where}boxes must have the shape (N, 4), not {np.shape(boxes)}")
    for row in rows:
        x, y, w, h = row
        text = ",".join(f"{v:g}" for v in row)
        if not np.isfinite(row).all() or w <= 0 or h <= 0:
            raise ValueError(f"{where}the box {text} is not finite with a positive width and height")
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise ValueError(f"{where}the box {text} lies outside the picture of {width} x {height} px")
    return rows


def score_row(scores: Any, count: int, where: str = "") -> tuple[float, ...]:
    """Scores of `count` boxes; raises ValueError, with `where` before it, for others."""
    row = _numbers(scores, "the boxes' scores must be numbers", where).reshape(-1)
    if len(row) != count:
        raise ValueError(f"{where}{count} boxes came with {len(row)} scores")
    if not np.isfinite(row).all():
        raise ValueError(f"{where}a box's score is not finite")
    return tuple(row.tolist())


def detect(detector: Detector, image: RGB, where: str = "") -> tuple[Float64Array, tuple[float, ...] | None]:
    """What a detector finds: boxes (N, 4), and their scores where it gives any.

    Raises ValueError, with `where` before it, for an answer that is none.
    """
    height, width = image.shape[:2]
    answer, where = detector(image), f"{where}from the detector: "
    if hasattr(answer, "xyxy"):
        rows, scores = from_detections(answer)
        found = box_rows(rows, width, height, where)
        return found, None if scores is None else score_row(scores, len(found), where)
    if answer is None:
        raise ValueError(f"{where}no boxes but None; for nobody it must give an empty list")
    rule = "boxes must be rows of four or five numbers, x, y, w, h, score"
    boxes, scores = answer, None
    if isinstance(answer, tuple) and len(answer) == 2:
        first = _numbers(answer[0], rule, where)
        # Two boxes may be a tuple, too, but then the first one is no list of boxes.
        if first.ndim == 2 or not first.size:
            boxes, scores = answer
    rows = _numbers(boxes, rule, where)
    rows = rows[None] if rows.ndim == 1 and rows.size else rows
    widths = (4, 5) if scores is None else (4,)
    if rows.size and (rows.ndim != 2 or rows.shape[1] not in widths):
        wanted = " or ".join(f"(N, {n})" for n in widths)
        raise ValueError(f"{where}boxes must have the shape {wanted}, not {rows.shape}")
    if rows.ndim == 2 and rows.shape[1] == 5:
        rows, scores = rows[:, :4], rows[:, 4]
    found = box_rows(rows, width, height, where)
    return found, None if scores is None else score_row(scores, len(found), where)


def overlaps(corners: Float64Array) -> Float64Array:
    """(N, N) intersection over union of boxes (N, 4), x and y of their upper left and lower right corners."""
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    area = (corners[:, 2:] - corners[:, :2]).prod(-1)
    return np.asarray(shared / np.maximum(area[:, None] + area[None] - shared, np.finfo(np.float64).tiny))


def _numbers(values: Any, rule: str, where: str) -> Float64Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # the last one is how torch refuses
        raise ValueError(f"{where}{rule}: {error}") from error
