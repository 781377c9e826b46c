"""Poses as COCO's files: annotations, which hold all of a pose, and results, which hold joints and scores.

Coordinates are as everywhere here, 0-based with an integer at a pixel's centre; `bbox` is an area that covers
whole pixels, x to x + width - 1 (see `data.formats.coco`).

| annotation | |
|---|---|
| `keypoints` | x, y, v of every joint; v is 2 where it reaches the threshold, else 1: none is dropped |
| `num_keypoints` | J |
| `bbox`, `area` | around the pixels of all joints, and its area |
| `score` | the mean of the joints' scores |
| `hourglass.columns` | `pose_scores`, `pose_box`, `pose_box_score`, `pose_confidences`, `pose_covariances` |

The rest of the file is what `data.writers.coco` makes of any people.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.files import write_text_atomically
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.coco import CocoFile, Key, numbers_of, parse
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.read_files import check_file, check_finite, read_json, rows_of
from hourglass.data.writers.coco import restored, to_coco
from hourglass.inference.poses.key_points import one_skeleton, square_around
from hourglass.inference.poses.pose import Pose

Size = tuple[int, int]
"""Width and height in pixels."""


def save_coco_annotations(
    poses: Sequence[Pose],
    path: str | Path,
    pictures: Mapping[str, Size | None] | None = None,
    skeleton: Skeleton | None = None,
    threshold: float | None = None,
    image_ids: Mapping[str, Key] | None = None,
) -> None:
    """Write `to_coco_annotations` as a file, atomically.

    Raises ValueError as that does, OSError naming the file when it can't be written.
    """
    content = to_coco_annotations(poses, pictures, skeleton, threshold, image_ids)
    write_text_atomically(Path(path), json.dumps(content, allow_nan=False) + "\n")


def to_coco_annotations(
    poses: Sequence[Pose],
    pictures: Mapping[str, Size | None] | None = None,
    skeleton: Skeleton | None = None,
    threshold: float | None = None,
    image_ids: Mapping[str, Key] | None = None,
) -> dict[str, Any]:
    """A whole COCO keypoints file as Python objects: images, annotations, one category.

    Args:
        poses: of one skeleton; each one's `image_id` is the `file_name` of its picture.
        pictures: by file name the sizes of pictures, None where one is not known; those without people too.
        skeleton: needed only where there are no poses.
        threshold: a joint's v is 2 where it is drawn full (`Pose.sure`).
        image_ids: numbers of pictures by file name; the others are counted on from 1 or the largest.

    Raises ValueError when the skeletons differ, or a pose doesn't say which picture it is in.
    """
    skeleton = one_skeleton(poses, skeleton)
    names = []
    for i, pose in enumerate(poses):
        if not pose.image_id:
            raise ValueError(f"pose {i} has no image_id, so its annotation can't name its picture")
        names.append(pose.image_id)
    ids = numbered(dict.fromkeys([*(pictures or {}), *names]), image_ids or {})
    sizes = {name: size for name, size in (pictures or {}).items() if size is not None}
    content = to_coco(_people(poses, names, skeleton, threshold), sizes, ids)
    content["info"] = {"description": "poses that a network found, by hourglass"}
    for entry, pose in zip(content["annotations"], poses, strict=True):
        entry["score"] = _rounded(np.array(pose.score)).item()
    return content


def numbered(names: Mapping[str, Any] | Sequence[str], known: Mapping[str, Key]) -> dict[str, Key]:
    """An id for every name: its own, or the next number that is free."""
    free = max((key for key in known.values() if isinstance(key, int)), default=0)
    ids: dict[str, Key] = {}
    for name in names:
        if name in known:
            ids[name] = known[name]
        else:
            free += 1
            ids[name] = free
    return ids


def load_coco_annotations(
    path: str | Path, category: str | None = None
) -> tuple[list[Pose], dict[str, Size | None]]:
    """Read a COCO annotation file, ours or anybody's: its poses, and its pictures with their sizes.

    Where the file tells no scores a labelled joint scores 1 and an unlabelled one 0, where the file puts it;
    where it tells no box to look at, the box is the crop that training would take. Crowds and people without
    a labelled joint are left out.

    Args:
        path: JSON, packed with gzip or not.
        category: its name; needed only where several have keypoints.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    path = Path(path)
    check_file(path, "annotations")
    return from_coco_annotations(read_json(path), category, path)


def from_coco_annotations(
    content: Any, category: str | None = None, file: Path = Path("annotations")
) -> tuple[list[Pose], dict[str, Size | None]]:
    """As `load_coco_annotations`, of content that is read already; `file` is for messages."""
    found = parse(content, file, category)
    whole = restored(found, content)
    people = found.people
    crowd = np.zeros(len(people), bool) if people.crowd is None else people.crowd
    bare = ~crowd & ~people.labelled.any(axis=1)
    log_left_out(file, {"crowds": int(crowd.sum()), "people without labelled joints": int(bare.sum())})
    rows = np.flatnonzero(~crowd & ~bare).tolist()
    poses = [_pose(found, whole, row) for row in rows]
    return poses, dict(zip(found.names, found.sizes, strict=True))


def load_coco(path: str | Path, skeleton: Skeleton, names: Mapping[Key, str] | None = None) -> list[Pose]:
    """Read COCO keypoint results, such as `save_coco` writes: x, y and score of each joint.

    A box is the square around the joints, since results have none; the `score` of a row follows from its
    joints and is left aside.

    Args:
        path: JSON, packed with gzip or not.
        skeleton: names the joints, which results don't.
        names: what the pictures of ids are called; an id that is not among them is taken as the name.

    Raises ValueError or FileNotFoundError naming the file, the row and the field.
    """
    path = Path(path)
    check_file(path, "results")
    return from_coco(read_json(path), skeleton, names, path)


def from_coco(
    rows: Any, skeleton: Skeleton, names: Mapping[Key, str] | None = None, file: Path = Path("results")
) -> list[Pose]:
    """As `load_coco`, of rows read already; the inverse of `Pose.to_coco`. `file` is for messages."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file} is not a list of objects, as COCO results are")
    where = rows_of(file)
    images = []
    for n, row in enumerate(rows):
        key = row.get("image_id")
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise ValueError(f"{where(n)}: 'image_id' is {short(key)}, not a number or a name")
        images.append((names or {}).get(key, str(key)))
    triples = numbers_of(rows, "keypoints", (3 * len(skeleton),), where).reshape(-1, len(skeleton), 3)
    every = np.ones(triples.shape[:2], bool)
    check_finite(triples[..., :2], every, skeleton.joints, where)
    check_finite(triples[..., 2], every, [f"the score of {name}" for name in skeleton.joints], where)
    points, scores = triples[..., :2].astype(np.float32), triples[..., 2].astype(np.float32)
    return [
        Pose(points[n], scores[n], skeleton, square_around(points[n]), image)
        for n, image in enumerate(images)
    ]


def _people(
    poses: Sequence[Pose], names: Sequence[str], skeleton: Skeleton, threshold: float | None
) -> Annotations:
    """Poses as annotated people, with the digits that files have."""
    joints = len(skeleton)
    keypoints = np.array([_rounded(pose.keypoints) for pose in poses]).reshape(-1, joints, 2)
    sure = np.array([pose.sure(threshold) for pose in poses], bool).reshape(-1, joints)
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    box = _rounded(np.concatenate([low, high - low + 1], axis=1))
    center, side_px = made_crops(keypoints, np.ones(sure.shape, bool), box)
    columns: dict[str, list[Any]] = {
        "pose_scores": [_rounded(pose.scores).tolist() for pose in poses],
        "pose_box": [_rounded(pose.box).tolist() for pose in poses],
    }
    for name in ("confidences", "covariances", "box_score"):
        values = [getattr(pose, name) for pose in poses]
        if any(value is not None for value in values):
            columns[f"pose_{name}"] = [None if v is None else _rounded(np.array(v)).tolist() for v in values]
    return Annotations(
        file=Path("poses"),
        form="coco",
        what="poses",
        skeleton=skeleton,
        where=[f"pose {i}" for i in range(len(poses))],
        names=names,
        ids=np.arange(1, len(poses) + 1),
        splits=[""] * len(poses),
        keypoints=keypoints,
        visibility=np.where(sure, VISIBLE, OCCLUDED).astype(np.uint8),
        tells_hidden=False,
        origin=0,
        center=center,
        side_px=side_px,
        box=box,
        area=_rounded(box[:, 2] * box[:, 3]),
        columns={name: np.fromiter(values, object, len(poses)) for name, values in columns.items()},
    )


def _pose(found: CocoFile, whole: Annotations, row: int) -> Pose:
    """One person of a file; what `_people` added is in the columns of `whole`, if nobody took it away."""
    people = found.people
    labelled = people.labelled[row]
    told = {
        name: column[row]
        for name, column in whole.columns.items()
        if name.startswith("pose_") and column[row] is not None
    }
    try:
        arrays = {
            name: np.array(told[f"pose_{name}"], np.float32) if f"pose_{name}" in told else None
            for name in ("scores", "box", "confidences", "covariances")
        }
        scores, box = arrays["scores"], arrays["box"]
        pose = Pose(
            keypoints=people.keypoints[row].astype(np.float32),
            scores=labelled.astype(np.float32) if scores is None else scores,
            skeleton=whole.skeleton,
            box=_crop_box(people, row) if box is None else box,
            image_id=found.names[int(found.image[row])],
            confidences=arrays["confidences"],
            covariances=arrays["covariances"],
            box_score=float(told["pose_box_score"]) if "pose_box_score" in told else None,
        )
        # Somebody may have taken the label away since.
        return replace(pose, scores=np.where(labelled, pose.scores, np.float32(0)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{people.where[row]}: {error}") from error


def _crop_box(people: Annotations, row: int) -> npt.NDArray[np.float32]:
    """(4,) the square that training would cut out, or around the one joint of who has none."""
    side = float(people.side_px[row])
    if np.isnan(side):
        return square_around(people.keypoints[row][people.labelled[row]].astype(np.float32))
    corner = people.center[row] - side / 2 + 0.5
    return np.array([*corner, side, side], np.float32)


def _rounded(values: npt.NDArray[Any]) -> Float64Array:
    """float64 with the digits of `Pose.to_dict`."""
    exact: Float64Array = values.astype(np.float64)
    return exact.round(4)
