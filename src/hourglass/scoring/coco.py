"""COCO's two files: annotations with crowds, areas and boxes, and results with scores.

Other than the reader of training data this one keeps everybody: crowds and people without labelled joints
change what counts as a false detection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.files import FARTHEST_PX, Where, check_finite, column, listed, rows_of
from hourglass.metrics.oks import Detections
from hourglass.metrics.scores import People
from hourglass.skeleton import Skeleton

_Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Everybody of one category, in the file's order; `keys` and `names` as `truth.Truth` has them."""

    people: People
    person_id: npt.NDArray[np.int64]
    names: tuple[str, ...]
    keys: Mapping[Any, int]
    category: int


def read_truth(path: Path, content: Mapping[str, Any]) -> CocoTruth:
    """The people of the first category with keypoints; pictures are numbered in the order of their ids.

    Raises ValueError naming the file, the annotation and the field.
    """
    lists = {}
    for field in ("images", "annotations", "categories"):
        entries = content.get(field)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{path} lacks the list of objects '{field}' that a COCO keypoints file has")
        lists[field] = entries
    category, skeleton = _category(lists["categories"], path)
    keys, names = _pictures(lists["images"], path)
    entries = [e for e in lists["annotations"] if e.get("category_id") == category]
    if not entries:
        raise ValueError(f"{path} annotates nobody of its category {skeleton.name!r}")
    bare = {"keypoints": [0.0] * 3 * len(skeleton), "bbox": [0.0] * 4, "iscrowd": 0}
    whole = [{**bare, **{k: v for k, v in entry.items() if v is not None}} for entry in entries]

    def where(row: int) -> str:
        return f"{path}: annotation {whole[row].get('id', f'in row {row}')}"

    triples = column(whole, "keypoints", (3 * len(skeleton),), where).reshape(len(whole), -1, 3)
    flags = triples[..., 2]
    for row, joint in np.argwhere(~np.isin(flags, (0, 1, 2)))[:1].tolist():
        raise ValueError(
            f"{where(row)}: 'keypoints' gives {skeleton.joints[joint]} the visibility "
            f"{flags[row, joint]:g}; expected 0, 1 or 2"
        )
    check_finite(triples, flags > 0, skeleton.joints, where)
    crowd = column(whole, "iscrowd", (), where) != 0
    box = column(whole, "bbox", (4,), where)
    check_finite(box[:, None], np.ones((len(box), 1), bool), ["'bbox'"], where)
    area = _area(whole, (flags > 0).any(1) & ~crowd, box, where)
    image = np.array([_picture(entry, keys, where(row)) for row, entry in enumerate(whole)])
    ids = [_integer(entry, "id", where(row)) for row, entry in enumerate(whole)]
    if len(set(ids)) < len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise ValueError(f"{path}: two annotations have the id {twice}")
    people = People(
        skeleton=skeleton,
        keypoints=triples[..., :2].copy(),
        visibility=flags.astype(np.uint8),
        tells_hidden=True,
        area=area,
        box=box,
        crowd=crowd,
        image=image.astype(np.int64),
        images=len(names),
    )
    return CocoTruth(people, np.array(ids, np.int64), names, keys, category)


def _category(categories: Sequence[Mapping[str, Any]], path: Path) -> tuple[int, Skeleton]:
    found = [c for c in categories if c.get("keypoints")]
    if not found:
        raise ValueError(f"{path}: no entry of 'categories' lists 'keypoints'")
    where = f"{path}: category {found[0].get('name')!r}"
    try:
        return _integer(found[0], "id", where), Skeleton.from_coco_category(found[0])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _pictures(images: Sequence[Mapping[str, Any]], path: Path) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Id and file name of each picture to its number, and the file names by number."""
    ids = [image.get("id") for image in images]
    for row, key in enumerate(ids):
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise ValueError(
                f"{path}: entry {row} of 'images' has the id {key!r}; expected a number or a name"
            )
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path}: two entries of 'images' have the same id")
    order = sorted(range(len(ids)), key=lambda row: (isinstance(ids[row], str), ids[row]))
    names = tuple(str(images[row].get("file_name", ids[row])) for row in order)
    keys: dict[Any, int] = {name: number for number, name in enumerate(names)}
    keys |= {ids[row]: number for number, row in enumerate(order)}
    return keys, names


def _integer(entry: Mapping[str, Any], field: str, where: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"{where}: '{field}' is {value!r}, not a whole number")
    return value


def _picture(entry: Mapping[str, Any], keys: Mapping[Any, int], where: str) -> int:
    key = entry.get("image_id")
    if isinstance(key, bool) or not isinstance(key, int | str) or key not in keys:
        raise ValueError(f"{where}: 'image_id' {key!r} is not among the pictures of the annotations")
    return keys[key]


def _area(
    entries: Sequence[Mapping[str, Any]], needed: npt.NDArray[np.bool_], box: _Float, where: Where
) -> _Float:
    """Areas as annotated; people who don't count may lack one, and get that of their box."""
    for row in np.flatnonzero(needed).tolist():
        if "area" not in entries[row]:
            raise ValueError(f"{where(row)} has no 'area', which OKS needs")
    of_box = (box[:, 2] * box[:, 3]).tolist()
    area = column([{"area": a, **e} for e, a in zip(entries, of_box, strict=True)], "area", (), where)
    for row in np.flatnonzero(~(np.abs(area) < FARTHEST_PX**2) | (needed & ~(area > 0)))[:1].tolist():
        raise ValueError(f"{where(row)}: the 'area' is {area[row]:g}; OKS needs a positive, sensible one")
    return area


def read_results(
    path: Path, content: Sequence[Any], skeleton: Skeleton, keys: Mapping[Any, int], category: int
) -> Detections:
    """The entries of a results file that are of the truth's category, in pictures known by `keys`.

    Raises ValueError naming the file, the row and the field.
    """
    for row, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: row {row} is no object, as COCO results have")
    rows = [n for n, entry in enumerate(content) if entry.get("category_id", category) == category]
    entries = [content[n] for n in rows]
    if not entries:
        raise ValueError(f"{path} holds no results of category {category}")
    if "keypoints" not in entries[0] and "bbox" in entries[0]:
        raise ValueError(f"{path} holds boxes, not keypoints; their fields are {listed(sorted(entries[0]))}")
    where = rows_of(path, first=rows)
    triples = column(entries, "keypoints", (3 * len(skeleton),), where).reshape(len(entries), -1, 3)
    scores = column(entries, "score", (), where)
    points = triples[..., :2].copy()
    check_finite(points, np.ones(points.shape[:2], bool), skeleton.joints, where)
    check_finite(scores[:, None], np.ones((len(scores), 1), bool), ["its score"], where)
    image = [_picture(entry, keys, where(row)) for row, entry in enumerate(entries)]
    return Detections(points, scores, np.array(image, np.int64))
