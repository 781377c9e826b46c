"""MPII Human Pose from any of the usual forms of its annotations, and `images/`.

| file under the root | its centre and scale |
|---|---|
| `annot/train.json`, `annot/valid.json` (HRNet) | raw |
| `mpii_annotations.json` or `.json.gz` (one list, `isValidation` marks the split) | raw |
| `annot/train.h5`, `annot/valid.h5`, or both in the root (the hourglass authors) | adjusted |
| `mpii_human_pose_v1_u12_1.mat`, in the root or in `annot/` (MPII's own; alone has the split `test`) | raw |

Of these the first that exists is read. Raw values become a crop as the authors do it: the centre moves down
by 15 x scale and the side is 200 x 1.25 x scale. Adjusted values have both steps behind them already
(`princeton_hdf5.check_scale` tells them apart). PCKh's head size is 25 x the raw scale, a tenth of `side_px`.

Measured over all 25,204 people: train is 22,246 of them in 14,679 pictures, val 2,958 in 2,729 others.
332,023 and 44,240 joints are labelled, 76,460 and 10,243 of these hidden. (Often 332,022 is printed: a rule
x > 0 loses a head top at x = -1.7.) Coordinates count from 1: of the 14 joints that people clicked, all are
whole numbers, none lies at 0, and 31 of their coordinates are 1. The authors' file has them cut to whole
numbers. HRNet's files don't say which joints are hidden: there every labelled joint has the visibility 2.
12 joints lie far outside their picture. They stay, as published scores count them and no crop hangs on them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import MPII16
from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats.annotations import Annotations, records
from hourglass.data.formats.princeton_hdf5 import (
    DOWN_PX,
    HEAD_PX,
    MARGIN,
    SCALE_PX,
    SHORTEST_PX,
    check_center_and_scale,
    check_scale,
    checked_length,
    checked_name,
    is_count,
    read_authors_file,
    seen,
)
from hourglass.data.formats.read_files import (
    FARTHEST_PX,
    Where,
    annotation_places,
    check_file,
    check_finite,
    column,
    first_there,
    listed,
    read_json,
    read_mat,
    rows_of,
)

SPLITS = {"train": "train", "val": "valid"}
"""The splits of every form, and what their files are called."""

TEST = "test"
"""The split that only the official file has: people without joints, for MPII's own server to score."""

_Entries = list[dict[str, Any]]


def load_records(root: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split in their file's order.

    `person_id` is 100 x the picture's number + the person's in MPII's own counting, which starts at 1, so it
    is the same in every form but HRNet's. That one numbers nobody: there it counts rows, from 1 in
    train.json and from 100,001 in valid.json.

    Raises ValueError or FileNotFoundError, naming the file, the row and what to do, when no annotation file
    is there, it can't be used, or pictures of this split are missing.
    """
    if split not in (*SPLITS, TEST):
        raise ValueError(f"MPII has no split {split!r}; it has {', '.join(SPLITS)}, {TEST}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the folder that holds MPII's images/")
    places = annotation_places("mpii", split)
    place = first_there(root, places)
    if not place:
        raise FileNotFoundError(
            f"{root} has no MPII annotations of the {split} split: none of {', '.join(places)}"
        )
    if place.startswith("mpii_annotations"):
        people = _of_split(read_list(root / place), split)
    elif place.endswith(".json"):
        people = read_hrnet(root / place, split)
    elif place.endswith(".h5"):
        people = read_authors_file(root / place, MPII16)
    else:
        from hourglass.data.formats.mpii import read_official

        people = _of_split(read_official(root / place), split)
    people = replace(people, what=f"MPII's {split} split")
    return records(people, root / "images", unlabelled=split == TEST)


def _of_split(people: Annotations, split: str) -> Annotations:
    """Those of one split; raises ValueError when there are none."""
    rows = [n for n, its in enumerate(people.splits) if its == split]
    if not rows:
        raise ValueError(f"{people.file} holds nobody of the {split} split")
    return people.take(rows)


def read_list(file: Path, content: Any = None) -> Annotations:
    """Everybody in `mpii_annotations.json` or `.json.gz`, both splits; `lengths["head"]` is PCKh's.

    A joint at (0, 0) is not labelled, and 0 as its third number marks a hidden one. `columns` keeps all that
    every entry has besides picture and joints: numbers as float64, anything else as objects.

    Args:
        content: what the file holds, where it has been read already.

    Raises ValueError naming the file, the row and the field, and when a picture has people of both splits.
    """
    entries = _entries(file, content)
    if not entries:
        raise ValueError(f"{file} holds nobody")
    where = rows_of(file)
    validation = _numbers(entries, "isValidation", (), file)
    for n in np.flatnonzero((validation != 0) & (validation != 1))[:1].tolist():
        raise ValueError(f"{where(n)}: 'isValidation' is {validation[n]:g}; expected 0 or 1")
    names = _names(entries, "img_paths", where)
    split_of: dict[str, float] = {}
    for n, (name, its) in enumerate(zip(names, validation.tolist(), strict=True)):
        if split_of.setdefault(name, its) != its:
            raise ValueError(
                f"{where(n)}: {name} has people of both splits, so that validation would see a picture of "
                "the training; leave out the people who share a picture with a validation person"
            )
    joints = _numbers(entries, "joint_self", (16, 3), file)
    _check_flags(joints[..., 2], "joint_self", where)
    keys = ("annolist_index", "people_index")
    number = np.stack([_numbers(entries, key, (), file) for key in keys], axis=1)
    for n in np.flatnonzero(~is_count(number).all(axis=1))[:1].tolist():
        raise ValueError(f"{where(n)}: 'annolist_index' or 'people_index' is no count")
    labelled = (joints[..., :2] != 0).any(axis=2)
    center, scale = _numbers(entries, "objpos", (2,), file), _numbers(entries, "scale_provided", (), file)
    columns = {"isValidation": validation, "objpos": center, "scale_provided": scale}
    columns |= {"annolist_index": number[:, 0], "people_index": number[:, 1]}
    people = _raw(
        file,
        where,
        form="mpii-list",
        names=names,
        ids=number.astype(np.int64) @ np.array([100, 1]),
        splits=["val" if its else "train" for its in validation.tolist()],
        keypoints=joints[..., :2].copy(),
        visibility=seen(labelled, joints[..., 2] == 1),
        center=center,
        scale=scale,
        columns=columns | _others(entries, ("img_paths", "joint_self", *columns)),
    )
    for split in SPLITS:
        rows = [n for n, its in enumerate(people.splits) if its == split]
        check_scale(people.take(rows), scale[rows], adjusted=False)
    return people


def read_hrnet(file: Path, split: str = "", content: Any = None) -> Annotations:
    """Everybody in one of HRNet's files, such as `annot/valid.json`; `lengths["head"]` is PCKh's.

    `joints_vis` is 1 for every labelled joint, hidden or not. `ids` count rows, from 100,001 for `val` and
    from 1 for all else.

    Args:
        split: whose file it is, which it doesn't tell.
        content: what the file holds, where it has been read already.

    Raises ValueError naming the file, the row and the field.
    """
    if split not in ("", *SPLITS):
        raise ValueError(f"{file}: HRNet's files are of the splits {', '.join(SPLITS)}, not {split!r}")
    entries = _entries(file, content)
    if not entries:
        raise ValueError(f"{file} holds nobody" + (f" of the {split} split" if split else ""))
    where = rows_of(file)
    joints = _numbers(entries, "joints", (16, 2), file)
    flags = _numbers(entries, "joints_vis", (16,), file)
    _check_flags(flags, "joints_vis", where)
    center, scale = _numbers(entries, "center", (2,), file), _numbers(entries, "scale", (), file)
    columns = {"center": center, "scale": scale}
    people = _raw(
        file,
        where,
        form="mpii-hrnet",
        names=_names(entries, "image", where),
        ids=np.arange(len(entries), dtype=np.int64) + (100_001 if split == "val" else 1),
        splits=[split] * len(entries),
        keypoints=joints,
        visibility=seen(flags == 1, flags == 1),
        center=center,
        scale=scale,
        columns=columns | _others(entries, ("image", "joints", "joints_vis", *columns)),
    )
    check_scale(people, scale, adjusted=False)
    return people


def _raw(
    file: Path,
    where: Where,
    form: str,
    names: Sequence[str],
    ids: npt.NDArray[np.int64],
    splits: Sequence[str],
    keypoints: Float64Array,
    visibility: npt.NDArray[np.uint8],
    center: Float64Array,
    scale: Float64Array,
    columns: Mapping[str, npt.NDArray[Any]],
) -> Annotations:
    """People whose centre and scale are MPII's own."""
    check_center_and_scale(center, scale, where)
    people = Annotations(
        file=file,
        form=form,
        what="MPII",
        skeleton=MPII16,
        where=[where(n) for n in range(len(ids))],
        names=names,
        ids=ids,
        splits=splits,
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=form != "mpii-hrnet",
        origin=1,
        center=center + np.stack([np.zeros(len(ids)), DOWN_PX * scale], axis=1),
        side_px=MARGIN * (SCALE_PX * scale),
        lengths={"head": HEAD_PX * scale},
        columns=columns,
    )
    check_finite(keypoints, people.labelled, MPII16.joints, where)
    return people


def _entries(file: Path, content: Any) -> _Entries:
    content = read_json(file) if content is None else content
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"{file} holds no list of objects, as MPII's JSON files do")
    return content


def _numbers(entries: _Entries, key: str, shape: tuple[int, ...], file: Path) -> Float64Array:
    """One field of every entry, (N, *shape); raises ValueError naming the row and the field."""
    for row, entry in enumerate(entries):
        # By itself: among numbers, True would pass for one, and a long text would make all rows as long.
        if key not in entry or not _is_plain(entry[key], shape):
            column([entry], key, shape, rows_of(file, first=row))
    return column(entries, key, shape, rows_of(file))


def _is_plain(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a number, or lists of lists of numbers, as deep as the shape says."""
    if not shape:
        return type(value) is float or type(value) is int
    return isinstance(value, list) and all(_is_plain(part, shape[1:]) for part in value)


def _names(entries: _Entries, key: str, where: Where) -> list[str]:
    for n, entry in enumerate(entries):
        if key not in entry:
            raise ValueError(f"{where(n)} has no '{key}'")
    return [checked_name(entry[key], key, where(n)) for n, entry in enumerate(entries)]


def _others(entries: _Entries, read: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """What all entries have besides the fields that were read: numbers as float64, all else as objects."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for key in entries[0]:
        if key in read or not all(key in entry for entry in entries):
            continue
        values = [entry[key] for entry in entries]
        if all(type(value) is float for value in values):
            columns[key] = np.array(values)
        else:
            columns[key] = np.fromiter(values, object, len(values))
    return columns


def _check_flags(flags: Float64Array, key: str, where: Where) -> None:
    for n, j in np.argwhere((flags != 0) & (flags != 1))[:1].tolist():
        raise ValueError(
            f"{where(n)}: '{key}' gives {MPII16.joints[j]} the flag {flags[n, j]:g}; expected 0 or 1"
        )


HEAD_SHARE = 0.6
"""PCKh's head size over the diagonal of the head's rectangle."""

_MOST_PEOPLE = 99
"""In one picture; the next would have the id of another picture's person."""

_CORNERS = ("x1", "y1", "x2", "y2")
_AGAIN = "take mpii_human_pose_v1_u12_1.mat of MPII's site"
_SEEN = {0: False, 1: True, "0": False, "1": True, "": True}
"""Whether a joint is visible, by what `is_visible` holds; "" stands for [] too."""
_NOTHING: npt.NDArray[Any] = np.zeros((0, 0))

_Fields = dict[str, list[Any]]
_Where = Callable[[int], str]


def read_official(file: Path) -> Annotations:
    """Everybody in the official file, of every split, in its order.

    `ids` are 100 x the picture's place in annolist + the person's in annorect, both from 1 on. The crop's
    centre lies 15 x scale below objpos and its side is 250 x scale. `lengths` has `head`, 0.6 x the diagonal
    of the head's rectangle, or 25 x the scale where there is none (they are the same for everybody of val).
    `columns` are `scale`, `objpos` (N, 2) and `head_box` (N, 4) x1, y1, x2, y2 of the file, NaN where absent.

    Raises ValueError naming the file, the picture and the person, FileNotFoundError.
    """
    check_file(file, "annotations")
    images, rects, in_train = _pictures(file)
    names: list[str] = []
    where: list[str] = []
    pictures: list[int] = []
    places: list[int] = []
    raw: _Fields = {name: [] for name in ("scale", "objpos.x", "objpos.y", *_CORNERS)}
    points: _Fields = {name: [] for name in ("x", "y", "id", "is_visible")}
    owners: list[int] = []
    for index, (image, annorect) in enumerate(zip(images, rects, strict=True)):
        picture = f"{file}: picture {index + 1} of annolist"
        name = checked_name(_only(image, picture, "image").get("name"), "name", picture)
        count, fields = _structures(annorect, f"{file}: {name}", "annorect")
        if count > _MOST_PEOPLE:
            raise ValueError(f"{file}: {name} has {count} people; expected {_MOST_PEOPLE} at most")
        for part in ("scale", *_CORNERS):
            raw[part] += fields.get(part, [_NOTHING] * count)
        for n in range(count):
            person = f"{file}: {name}, person {n + 1}"
            position = _only(fields["objpos"][n], person, "objpos") if "objpos" in fields else {}
            raw["objpos.x"].append(position.get("x", _NOTHING))
            raw["objpos.y"].append(position.get("y", _NOTHING))
            joints = _only(fields["annopoints"][n], person, "annopoints") if "annopoints" in fields else {}
            marked, of_points = _structures(joints.get("point", _NOTHING), person, "point")
            owners += [len(where)] * marked
            for part, values in points.items():
                values += of_points.get(part, [_NOTHING] * marked)
            names.append(name)
            where.append(person)
            pictures.append(index + 1)
            places.append(n + 1)
    keypoints, visibility = _joints(points, owners, where)
    columns = {name: _mat_numbers(values, name, where.__getitem__) for name, values in raw.items()}
    scale, objpos = columns["scale"], np.stack([columns["objpos.x"], columns["objpos.y"]], axis=1)
    has_crop = ~np.isnan(scale) & ~np.isnan(objpos).any(axis=1)
    rows = np.flatnonzero(has_crop)
    check_center_and_scale(objpos[rows], scale[rows], lambda n: where[rows[n]])
    head_box = np.stack([columns[name] for name in _CORNERS], axis=1)
    center = np.where(has_crop[:, None], objpos, np.nan)
    center[:, 1] += DOWN_PX * scale
    ids = 100 * np.array(pictures, np.int64) + np.array(places, np.int64)
    labelled = np.asarray((visibility > NOT_LABELLED).any(axis=1))
    people = Annotations(
        file=file,
        form="mpii-mat",
        what="MPII's official annotations",
        skeleton=MPII16,
        where=where,
        names=names,
        ids=ids,
        splits=_splits(ids, in_train, labelled, has_crop),
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=True,
        origin=1,
        center=center,
        side_px=np.where(has_crop, MARGIN * (SCALE_PX * scale), np.nan),
        lengths={"head": _heads(head_box, scale, where)},
        columns={"scale": scale, "objpos": objpos, "head_box": head_box},
    )
    check_scale(people.take(rows), scale[rows], adjusted=False)
    return people


@cache
def validation_people() -> npt.NDArray[np.int64]:
    """(2958,) the ids of the usual validation split, ascending."""
    text = (resources.files("hourglass.data.formats") / "mpii_val.txt").read_text(encoding="ascii")
    ids, picture = [], 0
    for step, letters in re.findall(r"(\d+)([a-z]+)", text.replace("\n", "")):
        picture += int(step)
        ids += [100 * picture + ord(letter) - ord("a") + 1 for letter in letters]
    return np.array(ids, np.int64)


def _pictures(file: Path) -> tuple[list[Any], list[Any], npt.NDArray[np.bool_]]:
    """`image` and `annorect` of each picture, and whether it is for training."""
    found = read_mat(file)
    if "RELEASE" not in found:
        raise ValueError(f"{file} holds no 'RELEASE', only {listed(sorted(found))}; {_AGAIN}")
    release = _only(found["RELEASE"], f"{file}", "RELEASE")
    for name in ("annolist", "img_train"):
        if name not in release:
            raise ValueError(f"{file}: 'RELEASE' has no '{name}', only {listed(sorted(release))}; {_AGAIN}")
    count, annolist = _structures(release["annolist"], f"{file}", "annolist")
    if not count:
        raise ValueError(f"{file}: 'annolist' is empty; {_AGAIN}")
    for name in ("image", "annorect"):
        if name not in annolist:
            raise ValueError(f"{file}: 'annolist' has no '{name}', only {listed(sorted(annolist))}; {_AGAIN}")
    marks = np.asarray(release["img_train"])
    if marks.dtype.kind not in "iuf" or marks.size != count:
        raise ValueError(
            f"{file}: 'img_train' is {marks.dtype} of shape {marks.shape}; expected {count} numbers, one for "
            "each entry of annolist"
        )
    marks = marks.ravel()
    for n in np.flatnonzero((marks != 0) & (marks != 1))[:1].tolist():
        raise ValueError(f"{file}: 'img_train' of picture {n + 1} is {marks[n]:g}; expected 0 or 1")
    return annolist["image"], annolist["annorect"], marks == 1


def _structures(value: Any, where: str, what: str) -> tuple[int, _Fields]:
    """How many elements a structure array has, and its fields; (0, {}) for []."""
    if isinstance(value, np.ndarray):
        if value.dtype.names:
            return value.size, {name: value[name].ravel(order="F").tolist() for name in value.dtype.names}
        if not value.size or value.dtype.names == ():
            return 0, {}
    raise ValueError(f"{where}: '{what}' is no structure")


def _only(value: Any, where: str, what: str) -> dict[str, Any]:
    """The fields of a single structure; {} for []."""
    count, fields = _structures(value, where, what)
    if count > 1:
        raise ValueError(f"{where}: '{what}' has {count} entries; expected one")
    return {name: values[0] for name, values in fields.items() if values}


def _is_nothing(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.size


def _mat_numbers(values: list[Any], what: str, where: _Where) -> Float64Array:
    """(N,) NaN for [], of which the file has many; raises ValueError for what is no sensible number."""
    for row, value in enumerate(values):
        if isinstance(value, (float, int)):
            if not abs(value) < FARTHEST_PX:
                raise ValueError(f"{where(row)}: '{what}' is {value:g}, which can't be")
        elif not _is_nothing(value):
            raise ValueError(f"{where(row)}: '{what}' is not a number")
    return np.array([v if isinstance(v, (float, int)) else np.nan for v in values], np.float64)


def _joints(
    points: _Fields, owners: list[int], where: list[str]
) -> tuple[Float64Array, npt.NDArray[np.uint8]]:
    """Keypoints (N, J, 2) and visibility (N, J) of points that belong to these people."""
    joints = MPII16.joints
    ids = _mat_numbers(points["id"], "id", lambda n: where[owners[n]])
    for n in np.flatnonzero(~np.isin(ids, np.arange(len(joints))))[:1].tolist():
        wrong = "no id" if np.isnan(ids[n]) else f"the id {ids[n]:g}"
        raise ValueError(f"{where[owners[n]]}: a point has {wrong}; expected 0 to {len(joints) - 1}")
    people, columns = np.array(owners, np.int64), ids.astype(np.int64)

    def joint(n: int) -> str:
        return f"{where[owners[n]]}: {joints[columns[n]]}"

    _, first = np.unique(people * len(joints) + columns, return_index=True)
    for n in np.flatnonzero(~np.isin(np.arange(len(people)), first))[:1].tolist():
        raise ValueError(f"{joint(n)} (id {columns[n]}) is there twice; expected one point of each id")
    keypoints = np.zeros((len(where), len(joints), 2))
    for axis, name in enumerate("xy"):
        values = _mat_numbers(points[name], name, joint)
        for n in np.flatnonzero(np.isnan(values))[:1].tolist():
            raise ValueError(f"{joint(n)} has no '{name}'")
        keypoints[people, columns, axis] = values
    labelled = np.zeros(keypoints.shape[:2], bool)
    labelled[people, columns] = True
    visible = np.zeros_like(labelled)
    for n, value in enumerate(points["is_visible"]):
        plain = "" if _is_nothing(value) else value
        known = _SEEN.get(plain) if isinstance(plain, (float, int, str)) else None
        if known is None:
            raise ValueError(f"{joint(n)}: 'is_visible' is neither 0 nor 1 nor empty")
        visible[people[n], columns[n]] = known
    return keypoints, seen(labelled, visible)


def _splits(
    ids: npt.NDArray[np.int64],
    in_train: npt.NDArray[np.bool_],
    has_joints: npt.NDArray[np.bool_],
    has_crop: npt.NDArray[np.bool_],
) -> list[str]:
    val = validation_people()
    train = in_train[ids // 100 - 1]
    usable, beside_val = train & has_joints & has_crop, np.isin(ids // 100, val // 100)
    choices = {"test": ~train & has_crop, "val": usable & np.isin(ids, val), "train": usable & ~beside_val}
    chosen: list[str] = np.select(list(choices.values()), list(choices), default="").tolist()
    return chosen


def _heads(box: Float64Array, scale: Float64Array, where: list[str]) -> Float64Array:
    """(N,) PCKh's head size, NaN for who has neither rectangle nor scale."""
    diagonal = HEAD_SHARE * np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    head = np.where(diagonal > SHORTEST_PX, diagonal, HEAD_PX * scale)
    rows = np.flatnonzero(~np.isnan(head))
    checked_length(head[rows], lambda n: where[rows[n]], "size of the head")
    return head
