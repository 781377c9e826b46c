"""People's boxes from a detector, in COCO's results form, as records to run a network on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats.annotations import find_photos, log_left_out
from hourglass.data.formats.coco import CocoFile
from hourglass.data.formats.coco_fields import id_of, numbers_of, picture_number
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.read_files import check_file, check_finite, read_json, rows_of


@dataclass(frozen=True, eq=False)
class DetectedBoxes:
    """N boxes of people, in their file's order.

    Args:
        records: nothing is labelled in them; `person_id` is the row in the file of boxes.
        scores: (N,) the detector's.
        image: (N,) int64, numbers of their pictures, as `CocoFile.image` counts them.
    """

    records: list[PersonRecord]
    scores: Float64Array
    image: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.records)


def detections_of(file: CocoFile, images: Path, boxes: Path, min_score: float = 0.0) -> DetectedBoxes:
    """The detected boxes in the pictures of annotations; a crop is made of a box as of an annotated one.

    Args:
        images: the folder that the annotations' `file_name`s start from.
        boxes: a JSON list of objects with `image_id` (id or file name), `bbox`, `score` and perhaps
            `category_id`.
        min_score: boxes that score less are left out, and so are those 0 px wide or high, with a line in the
            log.

    Raises ValueError or FileNotFoundError naming the file, the row and the field.
    """
    if not min_score >= 0:
        raise ValueError(f"the lowest score of a box is {min_score:g}; it must be 0 or more")
    check_file(boxes, "boxes")
    content = read_json(boxes)
    if not isinstance(content, list):
        raise ValueError(
            f"{boxes} holds a JSON {type(content).__name__}, not a list of boxes as COCO results are"
        )
    for row, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{boxes}: row {row} is no object, as COCO results have")
    rows = [n for n, e in enumerate(content) if id_of(e.get("category_id", file.category)) in file.categories]
    entries, where = [content[n] for n in rows], rows_of(boxes, first=rows)
    scores = numbers_of(entries, "score", (), where)
    box = numbers_of(entries, "bbox", (4,), where)
    everywhere = np.ones((len(entries), 1), bool)
    check_finite(scores[:, None], everywhere, ["its score"], where)
    check_finite(box[:, None], everywhere, ["its 'bbox'"], where)
    for row in np.flatnonzero((box[:, 2:] < 0).any(axis=1) | (scores < 0))[:1].tolist():
        problem = (
            f"the score is {scores[row]:g}; it can't"
            if scores[row] < 0
            else "its 'bbox' has a size that can't"
        )
        raise ValueError(f"{where(row)}: {problem} be negative")
    image = np.array([picture_number(e, file.keys, where, row) for row, e in enumerate(entries)], np.int64)
    flat, weak = (box[:, 2:] == 0).any(axis=1), scores < min_score
    log_left_out(
        boxes,
        {
            "boxes of other categories": len(content) - len(rows),
            "boxes without an area": int(flat.sum()),
            f"boxes that score below {min_score:g}": int((weak & ~flat).sum()),
        },
    )
    kept = np.flatnonzero(~flat & ~weak)
    if not len(kept):
        floor = f" that scores {min_score:g} or more" if min_score > 0 else ""
        raise ValueError(
            f"{boxes} has no box of category {file.category} ({file.people.skeleton.name}){floor}"
        )
    found = _records(file, images, np.array(rows)[kept], image[kept], box[kept])
    return DetectedBoxes(found, scores[kept], image[kept])


def _records(
    file: CocoFile, images: Path, rows: npt.NDArray[np.int64], image: npt.NDArray[np.int64], box: Float64Array
) -> list[PersonRecord]:
    skeleton, what = file.people.skeleton, f"the boxes in {file.people.file}"
    if not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}; it should hold the pictures of {what}")
    photos = find_photos(images, [file.names[number] for number in np.unique(image).tolist()], what)
    nothing = np.full((len(box), len(skeleton)), NOT_LABELLED, np.uint8)
    joints = np.zeros((len(box), len(skeleton), 2))
    center, side_px = made_crops(joints, nothing > NOT_LABELLED, box)
    return [
        PersonRecord(
            image=photos[file.names[number]],
            image_id=file.names[number],
            person_id=person,
            skeleton=skeleton,
            keypoints=joints[n].astype(np.float32),
            visibility=nothing[n],
            center=center[n].astype(np.float32),
            side_px=float(side_px[n]),
        )
        for n, (person, number) in enumerate(zip(rows.tolist(), image.tolist(), strict=True))
    ]
