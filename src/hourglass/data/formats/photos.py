"""Whole photos with the boxes of their people, out of COCO's JSON: what a people finder learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.coco_fields import Entry, crowds, numbers_of, objects, pictures
from hourglass.data.files import check_file, check_finite, read_json, rows_of

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
        unsure: (M, 4) corners where somebody may or may not be: crowds, and boxes of a machine that is in doubt.
            Nothing is learnt there, and a box found there is neither right nor wrong.
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
        images: the folder that its `file_name`s start from. A photo that isn't there under its name is looked
            for under the same stem with another ending.
        split: only pictures whose `split` says so; empty takes all.
        sure_score: annotations with a `score` below it are unsure, see `PhotoRecord`. One without counts as 1.
        sure_joints: likewise of the mean over the better half of its `keypoint_scores`.
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
    wanted = {e["id"] for e in entries if not split or e.get("split") == split}
    if not wanted:
        raise ValueError(f"{annotations} has no picture of the split {split!r}")
    strange = [e.get("image_id") for e in raw if e.get("image_id") not in number]
    if strange:
        raise ValueError(f"{annotations}: an annotation's 'image_id' {strange[0]!r} is not among its pictures")
    kept = [row for row, entry in enumerate(raw) if entry["image_id"] in wanted]
    people = [raw[row] for row in kept]
    where = rows_of(annotations, first=kept)
    box = numbers_of(people, "bbox", (4,), where)
    check_finite(box[:, None], np.ones((len(box), 1), bool), ["its 'bbox'"], where)
    doubtful = crowds(people, where) | _doubtful(people, sure_score, sure_joints)
    flat = (box[:, 2:] <= 0).any(axis=1)
    corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1).astype(np.float32)
    owner = np.array([number[entry["image_id"]] for entry in people], np.int64)
    photos = []
    missing = []
    for key in keys:
        if key not in wanted:
            continue
        n = number[key]
        size = sizes[n]
        if size is None:
            raise ValueError(f"{annotations}: picture {names[n]!r} has no 'width' and 'height' in pixels")
        path = _file_of(images / names[n])
        if path is None:
            missing.append(names[n])
            continue
        mine = (owner == n) & ~flat
        photos.append(
            PhotoRecord(
                path, names[n], *size, corners[mine & ~doubtful], corners[mine & doubtful], partial
            )
        )
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} photos of {annotations} are not in {images}, {missing[0]} first"
        )
    return photos


def _doubtful(people: Sequence[Entry], sure_score: float, sure_joints: float) -> npt.NDArray[np.bool_]:
    """(N,) True where a score of the box, or those of its joints, are too low to believe it."""
    low = np.zeros(len(people), bool)
    for row, entry in enumerate(people):
        score: Any = entry.get("score", 1.0)
        joints: Any = entry.get("keypoint_scores")
        by_hand = str(entry.get("box_from", "")).startswith("annotated")
        if by_hand:
            continue
        low[row] = score < sure_score
        if joints and sure_joints:
            best = np.sort(np.asarray(joints, np.float64))[len(joints) // 2 :]
            low[row] |= best.mean() < sure_joints
    return low


def _file_of(path: Path) -> Path | None:
    """The file, or one of the same stem with another ending."""
    if path.is_file():
        return path
    return next(
        (
            other
            for ending in (".jpg", ".jpeg", ".png", ".webp")
            if (other := path.with_suffix(ending)).is_file()
        ),
        None,
    )
