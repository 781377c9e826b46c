"""How well people are found: recall and false boxes a photo over the threshold, by size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import find_photos
from hourglass.data.formats.coco import CocoFile
from hourglass.data.loading.ahead import ahead
from hourglass.data.loading.images import read_image
from hourglass.evaluation.evaluate import Predictions, rows_of
from hourglass.evaluation.evaluate_coco import Results
from hourglass.inference.detection.boxes import Detector
from hourglass.inference.detection.suppress import distinct
from hourglass.inference.people import look
from hourglass.inference.poses.pose import Pose

MATCH_IOU = 0.5
"""A box finds a person whom it overlaps by so much (intersection over union)."""
SIZES = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}
"""COCO's: the root of the box's area in the picture's pixels, above the first and up to the second number."""

_Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FindingCurve:
    """Recall and false boxes at every threshold, the highest first.

    Args:
        thresholds: (T,) scores; a box counts from its score on.
        recall: per word of `SIZES` and for "all": (T,) share of the people who are found; NaN without any.
        false_per_photo: (T,) boxes that find nobody, over the number of photos.
        photos: how many.
        people: per word of `SIZES` and for "all", how many.
    """

    thresholds: _Float
    recall: dict[str, _Float]
    false_per_photo: _Float
    photos: int
    people: dict[str, int]

    def at_false(self, most: float, size: str = "large") -> tuple[float, float]:
        """The highest recall with at most so many false boxes a photo, and its threshold; 0 and 1 if none."""
        fine = np.flatnonzero(self.false_per_photo <= most)
        if not len(fine):
            return 0.0, 1.0
        return float(self.recall[size][fine[-1]]), float(self.thresholds[fine[-1]])

    def at_threshold(self, threshold: float) -> tuple[dict[str, float], float]:
        """Recall by size, and false boxes a photo, of boxes that score `threshold` or more."""
        rows = int((self.thresholds >= threshold).sum()) - 1
        if rows < 0:
            return dict.fromkeys(self.recall, 0.0), 0.0
        return {size: float(r[rows]) for size, r in self.recall.items()}, float(self.false_per_photo[rows])


class Boxed(Protocol):
    """A photo whose people are boxed: corners (N, 4) of those who are there, (M, 4) of where it is unsure."""

    @property
    def people(self) -> npt.NDArray[np.floating]: ...

    @property
    def unsure(self) -> npt.NDArray[np.floating]: ...


def curve_of(found: Sequence[tuple[_Float, _Float]], photos: Sequence[Boxed]) -> FindingCurve:
    """`finding_curve` of corners and scores for each photo."""
    return finding_curve(
        [corners for corners, _ in found],
        [scores for _, scores in found],
        [np.asarray(photo.people, np.float64) for photo in photos],
        [np.asarray(photo.unsure, np.float64) for photo in photos],
    )


def match(
    found: _Float, scores: _Float, people: _Float, unsure: _Float, iou: float = MATCH_IOU
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Whom each box of one photo finds, and which boxes are false.

    The best box chooses first, and takes the person whom it overlaps most among those not yet found. A box
    that finds nobody is false, unless it overlaps an unsure one by `iou`, or at least half of it lies in one.

    Args:
        found, scores: (N, 4) corners, (N,).
        people, unsure: (M, 4) and (K, 4) corners.

    Returns (N,) rows of `people`, -1 for nobody, and (N,) bool.
    """
    owner = np.full(len(found), -1, np.int64)
    shared, area, areas = _shared(found, people)
    overlap = shared / np.maximum(area[:, None] + areas[None] - shared, 1e-12)
    free = np.ones(len(people), bool)
    for row in np.argsort(-scores, kind="stable").tolist():
        candidates = np.where(free & (overlap[row] >= iou), overlap[row], -1.0)
        if len(candidates) and candidates.max() > 0:
            owner[row] = int(candidates.argmax())
            free[owner[row]] = False
    shared, area, areas = _shared(found, unsure)
    doubtful = (shared >= 0.5 * area[:, None]) | (
        shared >= iou * np.maximum(area[:, None] + areas[None] - shared, 1e-12)
    )
    return owner, (owner < 0) & ~doubtful.any(axis=1)


def finding_curve(
    found: Sequence[_Float], scores: Sequence[_Float], people: Sequence[_Float], unsure: Sequence[_Float]
) -> FindingCurve:
    """Recall and false boxes over the threshold.

    Args: one entry a photo, those of `match`.

    A higher threshold takes boxes away in the order in which they chose, so one matching serves them all.
    """
    photos = len(found)
    sizes = [np.sqrt((p[:, 2:] - p[:, :2]).prod(1)) for p in people]
    names = (*SIZES, "all")
    counts = {name: int(sum(_of_size(s, name).sum() for s in sizes)) for name in names}
    all_scores, hits, false = [], [], []
    for n in range(photos):
        owner, wrong = match(found[n], scores[n], people[n], unsure[n])
        all_scores.append(scores[n])
        false.append(wrong)
        rows = np.where(owner >= 0, owner, 0)
        right = owner >= 0
        hits.append(
            np.stack(
                [right & (_of_size(sizes[n], name)[rows] if len(sizes[n]) else right) for name in names], 1
            )
        )
    flat = np.concatenate(all_scores) if photos else np.empty(0)
    order = np.argsort(-flat, kind="stable")
    thresholds, last = np.unique(-flat[order], return_index=True)
    ends = np.append(last[1:], len(flat)) - 1
    hit = np.cumsum(np.concatenate(hits)[order], axis=0)[ends] if len(flat) else np.empty((0, len(names)))
    misses = np.cumsum(np.concatenate(false)[order])[ends] if len(flat) else np.empty(0)
    recall = {
        name: hit[:, k] / counts[name] if counts[name] else np.full(len(hit), np.nan)
        for k, name in enumerate(names)
    }
    return FindingCurve(-thresholds, recall, misses / max(photos, 1), photos, counts)


def _of_size(sizes: _Float, name: str) -> npt.NDArray[np.bool_]:
    if name == "all":
        return np.ones(len(sizes), bool)
    low, high = SIZES[name]
    return (sizes > low) & (sizes <= high)


def _shared(a: _Float, b: _Float) -> tuple[_Float, _Float, _Float]:
    """Areas (N, M) that boxes share, and each one's own (N,), (M,)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    return np.asarray(shared), (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)


def find_boxes(
    file: CocoFile,
    images: Path,
    detector: Detector,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Boxes of people in the photos of a file, or of the split that its people are of, as COCO results.

    A detector that gives no scores is sure of every box. Photos without anybody annotated are searched too,
    unless the annotations name a split: then nobody says of which one these are.

    Raises FileNotFoundError or ImageError, naming the photo, for one that can't be read.
    """
    split = any(file.people.splits)
    numbers = np.unique(file.image).tolist() if split else list(range(len(file.names)))
    places = find_photos(images, [file.names[n] for n in numbers], f"the annotations {file.people.file}")
    rows: list[dict[str, Any]] = []
    read = ahead(lambda n: read_image(places[file.names[n]], file.names[n]), numbers, workers=1)
    for done, (number, image) in enumerate(zip(numbers, read, strict=True), 1):
        found = look(detector, image, f"{file.names[number]}: ")
        scores = (1.0,) * len(found.boxes) if found.scores is None else found.scores
        rows += [
            {
                "image_id": file.ids[number],
                "category_id": file.category,
                "bbox": [round(v, 2) for v in box],
                "score": round(score, 5),
            }
            for box, score in zip(found.boxes.tolist(), scores, strict=True)
        ]
        progress(done, len(numbers))
    return rows


def without_doubles(
    results: Results,
    answer: Predictions,
    records: Sequence[PersonRecord],
    scores: Sequence[float],
    nms_oks: float,
) -> Results:
    """The results of people who are there once, in their order, chosen as by `suppress.distinct`.

    Args:
        results: of all `records`, in their order.
        scores: of the boxes.
        nms_oks: of two people of one picture who are more alike than this the surer one stays.
    """
    order = rows_of(answer, records)
    by_picture: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        by_picture.setdefault(record.image_id, []).append(row)
    kept: list[int] = []
    for rows in by_picture.values():
        poses = {}
        for row in rows:
            side_px = records[row].side_px
            corner = records[row].center - side_px / 2 + 0.5
            poses[row] = Pose(
                keypoints=answer.keypoints[order[row]],
                scores=answer.scores[order[row]],
                skeleton=answer.skeleton,
                box=np.array([*corner, side_px, side_px], np.float32),
                box_score=float(scores[row]),
            )
        stay = {id(pose) for pose in distinct(list(poses.values()), nms_oks)}
        kept += [row for row, pose in poses.items() if id(pose) in stay]
    return [results[row] for row in sorted(kept)]
