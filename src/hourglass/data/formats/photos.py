"""Whole photos with the boxes of their people, out of COCO's JSON: what a people finder learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.data.formats.annotations import check_photos
from hourglass.data.formats.coco_fields import (
    Entry,
    crowds,
    numbers_of,
    objects,
    optional,
    picture_number,
    pictures,
)
from hourglass.data.formats.read_files import Where, check_file, check_finite, read_json, rows_of
from hourglass.data.formats.set_files import find_pictures

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
