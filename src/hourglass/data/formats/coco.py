"""COCO keypoints JSON: COCO's own files, and anyone's data in that form, with any skeleton.

Keypoint coordinates are read as 0-based pixel indexes, as nearly all code does: COCO's annotators clicked
whole pixels. A `bbox` is an area: x to x + width covers the pixels x to x + width - 1.

Ours on top of COCO's fields: an annotation may tell its own `crop` (`center` and `side_px`, 0-based pixels),
its `split` (else its picture's counts), `keypoint_scores` in 0..1 (how much each label counts in training,
for labels that a machine made), and `lengths` in pixels, such as `head`; the file may hold an object
`hourglass` that says where the people came from.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.picture_places import records_of
from hourglass.data.formats.read_files import (
    FARTHEST_PX,
    Where,
    check_file,
    check_finite,
    check_pixels,
    column,
    listed,
    read_json,
)

Entry = Mapping[str, Any]
Key = int | str

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True, eq=False)
class CocoFile:
    """Everybody of one category, and the pictures they are in.

    Args:
        people: N of them in the file's order with their `image`, crowds and people without labelled joints
            included. A crop is 1.25 times the longer side of `bbox`, or of the box around the labelled joints
            where there is none, unless the annotation tells its own.
        own_crop: (N,) True where the annotation tells its own crop.
        names: file names of all P pictures, in the order of their ids; the id itself where there is none.
        ids: their ids.
        sizes: their width and height in pixels, or None where the file tells none.
        keys: id and file name of each picture to its number.
        categories: ids of the categories that were read, one or several with the same joints.
        ours: the file's object `hourglass`, if it has one.
    """

    people: Annotations
    own_crop: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    ids: tuple[Key, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    keys: Mapping[Key, int]
    categories: tuple[Key, ...]
    ours: Mapping[str, Any] = field(default_factory=dict)

    @property
    def category(self) -> Key:
        """The first of the categories, which results are of."""
        return self.categories[0]

    def take(self, rows: Sequence[int] | npt.NDArray[Any]) -> "CocoFile":
        """The same pictures with some of the people: by row numbers, or (N,) bool."""
        index = np.arange(len(self.people))[np.asarray(rows, None if len(rows) else np.int64)]
        return replace(self, people=self.people.take(index), own_crop=self.own_crop[index])

    @property
    def image(self) -> npt.NDArray[np.int64]:
        """(N,) number of each person's picture."""
        assert self.people.image is not None
        return self.people.image


def read_file(file: Path, category: str | None = None) -> CocoFile:
    """Read everybody of a category.

    Args:
        file: JSON, packed with gzip or not.
        category: its name; needed only where several have keypoints that differ.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    check_file(file, "annotations")
    return parse(read_json(file), file, category)


def read_annotations(file: Path, category: str | None = None) -> Annotations:
    """The people of `read_file`."""
    return read_file(file, category).people


def load_records(
    annotations: Path,
    images: Path,
    category: str | None = None,
    *,
    split: str = "",
    sides: str = "",
    crop: str = "",
) -> list[PersonRecord]:
    """The annotated people, in the file's order; `image_id` is the photo's file name, `person_id` the
    annotation's id.

    Crowds and people without labelled keypoints are left out, and people with a single joint and no box. A
    joint far outside its picture counts as not labelled (see `person_scale.without_far_outside`).

    Args:
        annotations: the JSON file.
        images: the folder that its `file_name`s start from.
        category: which category to read; needed only where several have keypoints that differ.
        split: only people whose annotation names this split, in a file where any annotation names one.
        sides: `observer` makes left and right those of who looks at the picture, see `sides`; empty leaves
            them.
        crop: `limbs` takes its side from the limbs' lengths, see `limbs`; empty or `box` is as above.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    check_file(annotations, "annotations")
    file = parse(read_json(annotations), annotations, category, named=True)
    return records_of(of_split(file, split).people, images, sides, crop)


def category_names(content: Any) -> list[str]:
    """Names of a file's categories with keypoints, in its order; [] of what isn't a COCO file."""
    categories = content.get("categories") if isinstance(content, dict) else None
    named = categories if isinstance(categories, list) else []
    return [str(c.get("name")) for c in named if isinstance(c, dict) and c.get("keypoints")]


def of_split(file: CocoFile, split: str) -> CocoFile:
    """The people of a split, by their own words; everybody where nobody says any, or none is asked for.

    Raises ValueError, with the splits that there are, when it has nobody.
    """
    told = sorted(set(file.people.splits) - {""})
    if not split or not told:
        return file
    rows = np.array([word == split for word in file.people.splits], bool)
    if not rows.any():
        raise ValueError(f"{file.people.file} has nobody of the split {split!r}; it has {listed(told)}")
    return file.take(rows)


def parse(content: Any, file: Path, category: str | None = None, named: bool = False) -> CocoFile:
    """As `read_file`, of content that is read already.

    Args:
        file: for messages.
        named: refuse pictures without a file name.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a JSON {type(content).__name__}, not an object as COCO's files do")
    images, annotations, categories = (
        objects(content, name, file) for name in ("images", "annotations", "categories")
    )
    category_ids, skeleton = choose_category(categories, file, category)
    ids, names, sizes = pictures(images, file, named)
    # By file name, by the id as it is compared, and by the id as it stands, which goes before the others.
    keys: dict[Key, int] = {name: number for number, name in enumerate(names)}
    keys |= {key: number for number, key in enumerate(map(id_of, ids)) if key is not None}
    keys |= {key: number for number, key in enumerate(ids)}
    entries, people_keys = of_categories(annotations, category_ids, file)
    people_ids = numbered(people_keys)
    labels = [f"{file}: annotation {key}" for key in people_keys]
    where: Where = labels.__getitem__
    image = [picture_number(entry, keys, where, row) for row, entry in enumerate(entries)]
    by_id = {as_written(entry["id"]): entry for entry in images}
    images_by_number = [by_id[key] for key in ids]
    keypoints, visibility = joints(entries, skeleton, where)
    check_pixels(file, keypoints[visibility > NOT_LABELLED])
    box, has_box = optional(entries, "bbox", (4,), where)
    check_finite(box[:, None], has_box[:, None], ["'bbox'"], where)
    area, has_area = optional(entries, "area", (), where)
    center, side_px, own_crop = own_crops(entries, where)
    made_center, made_side_px = made_crops(keypoints, visibility > NOT_LABELLED, box)
    ours = content.get("hourglass")
    ours = ours if isinstance(ours, dict) else {}
    people = Annotations(
        file=file,
        form="coco",
        what=f"the category {skeleton.name!r}",
        skeleton=skeleton,
        where=labels,
        names=[names[number] for number in image],
        ids=np.array(people_ids, np.int64),
        splits=splits(entries, [images_by_number[number] for number in image], where),
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=ours.get("tells_hidden") is not False,
        origin=0,
        center=np.where(own_crop[:, None], center, made_center),
        side_px=np.where(own_crop, side_px, made_side_px),
        lengths=lengths(entries, where),
        box=box if has_box.any() else None,
        area=area if has_area.any() else None,
        crowd=crowds(entries, where),
        weight=label_weights(entries, skeleton, where),
        sizes={name: size for name, size in zip(names, sizes, strict=True) if size is not None},
        image=np.array(image, np.int64),
        images=len(names),
    )
    return CocoFile(people, own_crop, names, ids, sizes, keys, category_ids, ours)


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
