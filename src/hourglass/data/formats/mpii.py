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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import MPII16
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations, records
from hourglass.data.formats.princeton_hdf5 import (
    DOWN_PX,
    HEAD_PX,
    MARGIN,
    SCALE_PX,
    check_center_and_scale,
    check_scale,
    checked_name,
    is_count,
    read_authors_file,
    seen,
)
from hourglass.data.formats.read_files import Where, check_finite, column, read_json, rows_of
from hourglass.data.formats.set_files import annotation_places, first_there

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
        from hourglass.data.formats.mpii_mat import read_official

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
