"""Whole photos with the boxes of their people, out of COCO's JSON: what a people finder learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats.annotations import check_photos, find_photos, log_left_out
from hourglass.data.formats.coco import (
    CocoFile,
    Entry,
    crowds,
    id_of,
    numbers_of,
    objects,
    optional,
    picture_number,
    pictures,
)
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.read_files import (
    Where,
    check_file,
    check_finite,
    find_pictures,
    read_json,
    rows_of,
)

Corners = npt.NDArray[np.float32]
"""(N, 4): x and y of the upper left and of the lower right corner, in pixels from the picture's edges."""


@dataclass(frozen=True, eq=False)
class PhotoRecord:
    """One photo and who is in it.

    Args:
        image: its file.
        image_id: what to call it in messages.
        width, height: of the annotated picture, pixels.
        people: (N, 4) corners of people who are there, see `Corners`.
        unsure: (M, 4) corners where somebody may or may not be: crowds, and boxes of a machine that is in
            doubt. Nothing is learnt there, and a box found there is neither right nor wrong.
        partial: only some of the people are boxed, so that a person found elsewhere may well be one.
    """

    image: Path
    image_id: str
    width: int
    height: int
    people: Corners
    unsure: Corners
    partial: bool = False


def read_photos(
    annotations: Path,
    images: Path,
    split: str = "",
    sure_score: float = 0.0,
    sure_joints: float = 0.0,
    partial: bool = False,
) -> list[PhotoRecord]:
    """The photos of a COCO file, people or none in them, in the order of their ids.

    Args:
        annotations: COCO JSON with `bbox` per annotation.
        images: the folder that its `file_name`s start from.
        split: only pictures whose `split` says so, where any says it; empty takes all.
        sure_score: annotations with a `score` below it are unsure, see `PhotoRecord`.
        sure_joints: likewise of the mean over the better half of its `keypoint_scores`, where its `score` is
            below 1.
        partial: what to say of every photo.

    Raises ValueError or FileNotFoundError naming the file, the entry and the field.
    """
    check_file(annotations, "annotations")
    content = read_json(annotations)
    if not isinstance(content, dict):
        raise ValueError(f"{annotations} holds a JSON {type(content).__name__}, not COCO's object")
    entries, raw = objects(content, "images", annotations), objects(content, "annotations", annotations)
    keys, names, sizes = pictures(entries, annotations, named=True)
    number = {key: n for n, key in enumerate(keys)}
    told = any(entry.get("split") for entry in entries)
    wanted = {number[e["id"]] for e in entries if not told or not split or e.get("split") == split}
    if not wanted:
        raise ValueError(f"{annotations} has no picture of the split {split!r}")
    everywhere = rows_of(annotations)
    owners = [picture_number(entry, number, everywhere, row) for row, entry in enumerate(raw)]
    kept = [row for row, owner in enumerate(owners) if owner in wanted]
    people, owner = [raw[row] for row in kept], np.array([owners[row] for row in kept], np.int64)
    where = rows_of(annotations, first=kept)
    box = numbers_of(people, "bbox", (4,), where)
    check_finite(box[:, None], np.ones((len(box), 1), bool), ["its 'bbox'"], where)
    doubtful = crowds(people, where) | _doubtful(people, sure_score, sure_joints, where)
    flat = (box[:, 2:] <= 0).any(axis=1)
    corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1).astype(np.float32)
    chosen = sorted(wanted)
    files, missing = find_pictures(images, [names[n] for n in chosen])
    check_photos(missing, len(chosen), images, f"the photos of {annotations}")
    photos = []
    for n in chosen:
        size, mine = sizes[n], (owner == n) & ~flat
        if size is None:
            raise ValueError(f"{annotations}: picture {names[n]!r} has no 'width' and 'height' in pixels")
        sure, unsure = corners[mine & ~doubtful], corners[mine & doubtful]
        photos.append(PhotoRecord(files[names[n]], names[n], *size, sure, unsure, partial))
    return photos


def _doubtful(
    people: Sequence[Entry], sure_score: float, sure_joints: float, where: Where
) -> npt.NDArray[np.bool_]:
    """(N,) True where the score of a box, or those of its joints, are too low to believe it.

    A box with a score of 1 is a person's who was annotated by hand, whatever a machine says of the joints.
    """
    score, has_score = optional(people, "score", (), where)
    low = has_score & (score < sure_score)
    for row, entry in enumerate(people):
        joints = entry.get("keypoint_scores")
        if sure_joints and joints and has_score[row] and score[row] < 1:
            scores = np.sort(numbers_of([entry], "keypoint_scores", (len(joints),), where)[0])
            low[row] |= scores[len(joints) // 2 :].mean() < sure_joints
    return low


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
