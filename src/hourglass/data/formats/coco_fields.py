"""The fields of COCO's JSON, checked; each refusal is a sentence naming the file, the entry and the field."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED
from hourglass.data.formats.read_files import FARTHEST_PX, Where, check_finite, column

Entry = Mapping[str, Any]
Key = int | str

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def objects(content: Mapping[str, Any], field: str, file: Path) -> list[Entry]:
    """One of the file's lists of objects."""
    entries = content.get(field)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file} lacks the list of objects '{field}' that a COCO keypoints file has")
    return entries


def id_of(value: Any) -> Key | None:
    """An id as it is compared: a whole number, also one written as 7.0 or "7", or a word; None for no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if type(value) is int:
        return value if abs(value) < 2**63 else None
    return value if isinstance(value, str) and value else None


def _id(entry: Entry, field: str, where: str) -> Key:
    if field not in entry:
        raise ValueError(f"{where} has no '{field}'")
    found = id_of(entry[field])
    if found is None:
        raise ValueError(f"{where}: '{field}' is {short(entry[field])}, not a whole number or a name")
    return found


def choose_category(
    categories: Sequence[Entry], file: Path, wanted: str | None
) -> tuple[tuple[Key, ...], Skeleton]:
    """Ids and skeleton of the category of that name, or of all those with keypoints if these are the same."""
    found = [category for category in categories if category.get("keypoints")]
    known = ", ".join(str(category.get("name")) for category in found)
    if not found:
        raise ValueError(f"{file}: no entry of 'categories' lists 'keypoints'")
    mine = [category for category in found if wanted is None or str(category.get("name")) == wanted]
    if not mine or (wanted is not None and len(mine) > 1):
        problem = f"has {'several categories' if mine else 'no category'} {wanted!r} with keypoints"
        raise ValueError(f"{file} {problem}; it has {known}")
    ids, skeletons = [], []
    for category in mine:
        where = f"{file}: category {short(category.get('name'))}"
        ids.append(_id(category, "id", where))
        try:
            skeletons.append(Skeleton.from_coco_category(category))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: {error}") from error
    if len(mine) == 1:
        return (ids[0],), skeletons[0]
    first = skeletons[0]
    if any(_but_drawing(other) != _but_drawing(first) for other in skeletons):
        raise ValueError(f"{file} has several categories with keypoints; choose one of {known}")
    kinds = {str(category.get("supercategory") or "") for category in mine}
    title = kinds.pop() if len(kinds) == 1 else ""
    return tuple(ids), replace(first, name=title or f"{first.name} and {len(mine) - 1} more")


def _but_drawing(skeleton: Skeleton) -> tuple[Any, ...]:
    """All of a skeleton but its name and what is only drawn."""
    return skeleton.joints, skeleton.flip_pairs, skeleton.torso, skeleton.head, skeleton.oks_sigmas


def pictures(
    images: Sequence[Entry], file: Path, named: bool
) -> tuple[tuple[Key, ...], tuple[str, ...], tuple[tuple[int, int] | None, ...]]:
    """Ids, names and sizes of all pictures, in the order of their ids, numbers before words.

    A picture without a file name is called by its id; `named` refuses it.
    """
    for row, entry in enumerate(images):
        where, key, name = f"{file}: entry {row} of 'images'", entry.get("id"), entry.get("file_name")
        if id_of(key) is None:
            raise ValueError(f"{where} has the id {short(key)}; expected a number or a name")
        if (name is None and named) or (name is not None and (not isinstance(name, str) or not name)):
            raise ValueError(f"{where} has the 'file_name' {short(name)}; expected a name")
    ids: list[Key] = [as_written(entry["id"]) for entry in images]
    if len({id_of(key) for key in ids}) < len(ids):
        raise ValueError(f"{file}: two entries of 'images' have the same id")
    order = sorted(range(len(ids)), key=lambda row: (isinstance(ids[row], str), ids[row]))
    names = [
        str(ids[row] if images[row].get("file_name") is None else images[row]["file_name"]) for row in order
    ]
    return tuple(ids[row] for row in order), tuple(names), tuple(_size(images[row]) for row in order)


def as_written(key: Any) -> Key:
    """A picture's id as results should name it: as the file does, but for 7.0, which is 7."""
    return int(key) if isinstance(key, float) else key


def _size(image: Entry) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if type(width) is not int or type(height) is not int:
        return None
    return (width, height) if 0 < width < FARTHEST_PX and 0 < height < FARTHEST_PX else None


def picture_number(entry: Entry, keys: Mapping[Key, int], where: Where, row: int) -> int:
    """Number of the picture that an entry names by its id or file name."""
    key = entry.get("image_id")
    for name in (key, id_of(key)):
        if isinstance(name, int | str) and not isinstance(name, bool) and name in keys:
            return keys[name]
    raise ValueError(f"{where(row)}: 'image_id' {short(key)} is not among the pictures of the annotations")


def of_categories(
    annotations: Sequence[Entry], categories: Sequence[Key], file: Path
) -> tuple[list[Entry], list[Key]]:
    """The annotations of some categories and their ids, all different."""
    entries, ids = [], []
    for row, entry in enumerate(annotations):
        where = f"{file}: annotation {entry.get('id', f'in row {row}')}"
        if _id(entry, "category_id", where) in categories:
            ids.append(_id(entry, "id", where))
            entries.append(entry)
    if len(set(ids)) < len(ids):
        seen: set[Key] = set()
        twice = next(number for number in ids if number in seen or seen.add(number))  # type: ignore[func-returns-value]
        raise ValueError(f"{file}: two annotations have the id {twice}")
    return entries, ids


def numbered(ids: Sequence[Key]) -> list[int]:
    """The ids as numbers: as they are, or counted from 1 in their order where any is a word."""
    whole = [key for key in ids if isinstance(key, int)]
    return whole if len(whole) == len(ids) else list(range(1, len(ids) + 1))


def numbers_of(entries: Sequence[Entry], field: str, shape: tuple[int, ...], where: Where) -> Float64Array:
    """One field of every entry, (N, *shape), N being any number, 0 too."""
    return column(entries, field, shape, where) if entries else np.zeros((0, *shape))


def optional(
    entries: Sequence[Entry], field: str, shape: tuple[int, ...], where: Where
) -> tuple[Float64Array, BoolArray]:
    """(N, *shape), NaN where an entry lacks the field or it is null or empty, and (N,) which have it."""
    has = np.array([entry.get(field) is not None and entry[field] != [] for entry in entries], bool)
    rows = np.flatnonzero(has).tolist()
    values = np.full((len(entries), *shape), np.nan)
    values[rows] = numbers_of([entries[n] for n in rows], field, shape, lambda row: where(rows[row]))
    return values, has


def joints(
    entries: Sequence[Entry], skeleton: Skeleton, where: Where
) -> tuple[Float64Array, npt.NDArray[np.uint8]]:
    """Keypoints (N, J, 2) and visibility (N, J); 0 throughout where an entry has no `keypoints`."""
    blank, filled = [0] * (3 * len(skeleton)), []
    for row, entry in enumerate(entries):
        missing = entry.get("keypoints") in (None, [])
        # Files that mix boxes and poses leave the field away.
        if missing and entry.get("num_keypoints"):
            raise ValueError(f"{where(row)} has no 'keypoints', but its 'num_keypoints' is not 0")
        filled.append({"keypoints": blank} if missing else _without_null(entry))
    triples = numbers_of(filled, "keypoints", (len(blank),), where).reshape(-1, len(skeleton), 3)
    points, flags = triples[..., :2].copy(), triples[..., 2]
    for row, joint in np.argwhere((flags != 0) & (flags != 1) & (flags != 2))[:1].tolist():
        raise ValueError(
            f"{where(row)}: 'keypoints' gives {skeleton.joints[joint]} the visibility "
            f"{flags[row, joint]:g}; expected 0, 1 or 2"
        )
    labelled = flags > NOT_LABELLED
    check_finite(points, labelled, skeleton.joints, where)
    # What stands beside a 0 means nothing; here it is at least a number that other types can hold.
    points[~labelled & ~(np.abs(points) < FARTHEST_PX).all(axis=-1)] = 0
    return points, flags.astype(np.uint8)


def _without_null(entry: Entry) -> Entry:
    """The entry with null, null, 0 for a joint that isn't labelled made zeros."""
    triples = entry["keypoints"]
    if not isinstance(triples, list) or None not in triples or len(triples) % 3:
        return entry
    joints = [triples[start : start + 3] for start in range(0, len(triples), 3)]
    plain = [[0, 0, 0] if None in joint and joint[2] in (0, None) else joint for joint in joints]
    return {"keypoints": [value for joint in plain for value in joint]}


def crowds(entries: Sequence[Entry], where: Where) -> BoolArray:
    """(N,) True for a group that is annotated as one."""
    marks = [entry.get("iscrowd") or 0 for entry in entries]
    plain = [{"iscrowd": int(mark) if isinstance(mark, bool) else mark} for mark in marks]
    return np.asarray(numbers_of(plain, "iscrowd", (), where) != 0)


def own_crops(entries: Sequence[Entry], where: Where) -> tuple[Float64Array, Float64Array, BoolArray]:
    """Centre (N, 2) and side (N,) of the crops that annotations tell themselves, else NaN; which do (N,)."""
    has = np.array([entry.get("crop") is not None for entry in entries], bool)
    rows = np.flatnonzero(has).tolist()
    for row in rows:
        if not isinstance(entries[row]["crop"], dict):
            raise ValueError(f"{where(row)}: 'crop' is not an object with 'center' and 'side_px'")
    told = [entries[row]["crop"] for row in rows]

    def crop(row: int) -> str:
        return f"{where(rows[row])}: 'crop'"

    center, side_px = np.full((len(entries), 2), np.nan), np.full(len(entries), np.nan)
    center[rows] = numbers_of(told, "center", (2,), crop)
    side_px[rows] = numbers_of(told, "side_px", (), crop)
    check_finite(center[:, None], has[:, None], ["the centre of 'crop'"], where)
    for row in np.flatnonzero(has & ~((side_px > 0) & (side_px < FARTHEST_PX)))[:1].tolist():
        raise ValueError(f"{where(row)}: the 'side_px' of 'crop' is {side_px[row]:g}, not a positive number")
    return center, side_px, has


def label_weights(entries: Sequence[Entry], skeleton: Skeleton, where: Where) -> Float64Array | None:
    """(N, J) the annotations' `keypoint_scores`, 1 where one has none; None where nobody has any."""
    weights, has = optional(entries, "keypoint_scores", (len(skeleton),), where)
    if not has.any():
        return None
    for row, joint in np.argwhere(has[:, None] & ~((weights >= 0) & (weights <= 1)))[:1].tolist():
        raise ValueError(
            f"{where(row)}: 'keypoint_scores' gives {skeleton.joints[joint]} {weights[row, joint]:g}; "
            "a score lies in 0..1"
        )
    return np.where(has[:, None], weights, 1.0)


def splits(entries: Sequence[Entry], images: Sequence[Entry], where: Where) -> list[str]:
    """What each annotation, or else its picture, calls its split, or "".

    Args:
        images: (N,) the entries of the annotations' pictures.
    """
    words = []
    for row, (entry, image) in enumerate(zip(entries, images, strict=True)):
        word = entry.get("split") or image.get("split")
        if word is not None and not isinstance(word, str):
            raise ValueError(f"{where(row)}: 'split' is {short(word)}, not a word")
        words.append(word or "")
    return words


def lengths(entries: Sequence[Entry], where: Where) -> dict[str, Float64Array]:
    """(N,) pixels for each length that any annotation tells, NaN where one doesn't."""
    found: dict[str, Float64Array] = {}
    for row, entry in enumerate(entries):
        told = entry.get("lengths")
        if told is None:
            continue
        if not isinstance(told, dict):
            raise ValueError(f"{where(row)}: 'lengths' is not an object of names and pixels")
        for name, px in told.items():
            if type(px) not in (int, float) or not 0 < px < FARTHEST_PX:
                raise ValueError(f"{where(row)}: the length {name!r} is {short(px)}, not a positive number")
            found.setdefault(name, np.full(len(entries), math.nan))[row] = px
    return found
