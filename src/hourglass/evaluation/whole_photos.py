"""Whole photos from end to end: a detector's boxes in every photo of a COCO file, and each person once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import find_photos
from hourglass.data.formats.coco import CocoFile
from hourglass.data.loading.images import read_image
from hourglass.data.loading.loader import ahead
from hourglass.evaluation.evaluate import Predictions, rows_of
from hourglass.evaluation.evaluate_coco import Results
from hourglass.inference.detection.boxes import Detector
from hourglass.inference.detection.suppress import distinct
from hourglass.inference.people import look
from hourglass.inference.poses.pose import Pose


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
