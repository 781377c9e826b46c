"""MPII Human Pose from any of the usual conversions of its annotations, and `images/`.

| file under the root | its centre and scale |
|---|---|
| `annot/train.json`, `annot/valid.json` (HRNet) | raw |
| `mpii_annotations.json` or `.json.gz` (one list, `isValidation` marks the split) | raw |
| `annot/train.h5`, `annot/valid.h5`, or both in the root (the hourglass authors) | adjusted |

Of these the first that exists is read. Raw values become a crop as the authors do it: the centre moves down
by 15 x scale and the side is 200 x 1.25 x scale. Adjusted values have both steps behind them already. Taking
the steps twice is the classic mistake, so the state of each file is checked (`_check_scale`). PCKh's head
size is 25 x the raw scale, a tenth of `side_px`, for all 2,958 people of the validation split.

Measured over all 25,204 people: train is 22,246 of them in 14,679 pictures, val 2,958 in 2,729 others.
332,023 and 44,240 joints are labelled, 76,460 and 10,243 of these hidden. (Often 332,022 is printed: a rule
x > 0 loses a head top at x = -1.7.) Coordinates count from 1: of the 14 joints that people clicked, all are
whole numbers, none lies at 0, and 31 of their coordinates are 1. The authors' file has them cut to whole
numbers. HRNet's files don't say which joints are hidden: there every labelled joint has the visibility 2.
12 joints lie far outside their picture. They stay, as published scores count them and no crop hangs on them.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.annotations import check_photos, log_left_out
from hourglass.skeleton import MPII16, Skeleton
from hourglass.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord

SPLITS = {"train": "train", "val": "valid"}
"""The splits, and what their files are called."""

SCALE_PX = 200.0
"""Pixels in one unit of a file's scale."""

MARGIN = 1.25
"""Side of the crop over 200 x the raw scale."""

DOWN_PX = 15.0
"""How far the crop's centre lies below the raw one, in pixels at a raw scale of 1."""

HEAD_STICK_PX = 100 / 3
"""Neck to head top at a raw scale of 1: the median over all people, and 4/3 of PCKh's head size."""

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Columns:
    """N people as their file has them: no step of any crop convention has been taken.

    Args:
        file: where they were read.
        where: (N,) what to call each row in messages; rows count from 0.
        names: (N,) file names of the pictures.
        ids: (N,) int64.
        keypoints: (N, J, 2) as in the file.
        visibility: (N, J) uint8, 0, 1 or 2.
        center: (N, 2) as in the file.
        scale: (N,) as in the file.
        skeleton: names the J joints.

    Raises ValueError, naming the row, when a labelled joint, centre or scale is of no use.
    """

    file: Path
    where: Sequence[str]
    names: Sequence[str]
    ids: npt.NDArray[np.int64]
    keypoints: _Numbers
    visibility: npt.NDArray[np.uint8]
    center: _Numbers
    scale: _Numbers
    skeleton: Skeleton

    def __post_init__(self) -> None:
        joints = self.skeleton.joints
        bad = (self.visibility > NOT_LABELLED) & ~np.isfinite(self.keypoints).all(axis=2)
        for n, j in np.argwhere(bad).tolist()[:1]:
            raise ValueError(f"{self.where[n]}: {joints[j]} is labelled but not a finite number")
        for n in np.flatnonzero(~np.isfinite(self.center).all(axis=1)).tolist()[:1]:
            raise ValueError(f"{self.where[n]}: the centre of the person is not a finite number")
        for n in np.flatnonzero(~(np.isfinite(self.scale) & (self.scale > 0))).tolist()[:1]:
            raise ValueError(f"{self.where[n]}: the scale is {self.scale[n]:g}; it must be positive")
        first: dict[int, str] = {}
        for where, person in zip(self.where, self.ids.tolist(), strict=True):
            if first.setdefault(person, where) != where:
                raise ValueError(f"{where} and {first[person]} are the same person of the same picture")

    def records(
        self, images: Path, center: _Numbers, side_px: _Numbers, origin: int, what: str
    ) -> list[PersonRecord]:
        """One record for each person with a labelled joint.

        Args:
            images: the folder with the pictures.
            center: (N, 2) of the crops, counted as the file counts.
            side_px: (N,) of the crops.
            origin: what the file calls the first pixel, 0 or 1.
            what: the people in words, such as "MPII's val split".

        Raises ValueError when nobody has one, FileNotFoundError when pictures are missing.
        """
        if not images.is_dir():
            raise FileNotFoundError(f"there is no folder {images}; it should hold the pictures of {what}")
        kept = np.flatnonzero((self.visibility > NOT_LABELLED).any(axis=1)).tolist()
        log_left_out(self.file, {"people without labelled joints": len(self.names) - len(kept)})
        if not kept:
            raise ValueError(f"{self.file} has nobody with a labelled joint in {what}")
        photos = dict.fromkeys(self.names[n] for n in kept)
        missing = [name for name in photos if not (images / name).is_file()]
        check_photos(missing, len(photos), images, what)
        return [
            PersonRecord(
                image=images / self.names[n],
                image_id=self.names[n],
                person_id=int(self.ids[n]),
                skeleton=self.skeleton,
                keypoints=(self.keypoints[n] - origin).astype(np.float32),
                visibility=self.visibility[n],
                center=(center[n] - origin).astype(np.float32),
                side_px=float(side_px[n]),
            )
            for n in kept
        ]


def load_records(root: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split in their file's order.

    `person_id` is 100 x the picture's number + the person's in MPII's own counting, which starts at 1, so it
    is the same in every form but HRNet's. That one numbers nobody: there it counts rows, from 1 in
    train.json and from 100,001 in valid.json.

    Raises ValueError or FileNotFoundError, naming the file, the row and what to do, when no annotation file
    is there, it can't be used, or pictures of this split are missing.
    """
    if split not in SPLITS:
        raise ValueError(f"MPII has no split {split!r} with annotations; it has {', '.join(SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the folder that holds MPII's images/")
    stem = SPLITS[split]
    lists = (root / "mpii_annotations.json", root / "mpii_annotations.json.gz")
    hdf5 = (root / "annot" / f"{stem}.h5", root / f"{stem}.h5")
    known = (root / "annot" / f"{stem}.json", *lists, *hdf5)
    file = next((file for file in known if file.is_file()), None)
    if file is None:
        tried = ", ".join(str(file.relative_to(root)) for file in known)
        raise FileNotFoundError(f"{root} has no MPII annotations of the {split} split: none of {tried}")
    if file in hdf5:
        people = read_authors_file(file, MPII16)
    elif file in lists:
        people = _read_list(file, split)
    else:
        people = _read_hrnet(file, split)
    adjusted = file in hdf5
    _check_scale(people, adjusted, file)
    center, side_px = people.center.copy(), SCALE_PX * people.scale
    if not adjusted:
        center[:, 1] += DOWN_PX * people.scale
        side_px = MARGIN * side_px
    return people.records(root / "images", center, side_px, 1, f"MPII's {split} split")


def read_authors_file(file: Path, skeleton: Skeleton) -> Columns:
    """An HDF5 file of the hourglass authors (pose-hg-train, pose-hg-demo): MPII's or FLIC's.

    A joint at (0, 0) is not labelled. `index` and `person` count from 0 and become 100 x (index + 1) +
    person + 1. Raises ValueError naming the file, the field and the row.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"reading {file} needs the package h5py; install it: pip install h5py") from error
    joints = len(skeleton)
    shapes: dict[str, tuple[int, ...]] = {"part": (joints, 2), "visible": (joints,), "center": (2,)}
    shapes |= {"scale": (), "index": (), "person": ()}
    try:
        with h5py.File(file, "r") as content:
            found = {k: np.asarray(content[k][()]) for k in ("imgname", *shapes) if k in content}
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(
            f"{file} is not an HDF5 file that can be read, or is cut off; get it again"
        ) from error
    for key in ("imgname", *shapes):
        if key not in found:
            raise ValueError(f"{file} holds no '{key}'; take the annotation file of the hourglass authors")
    names = found["imgname"]
    if names.ndim != 1 or names.dtype.kind not in "SO":
        raise ValueError(f"{file}: 'imgname' is {names.dtype} of shape {names.shape}; expected N file names")
    for key, shape in shapes.items():
        array, wanted = found[key], (len(names), *shape)
        if array.shape != wanted or array.dtype.kind not in "iuf":
            raise ValueError(
                f"{file}: '{key}' is {array.dtype} of shape {array.shape}; expected numbers of shape {wanted}"
            )
    where = [f"{file}: row {n}" for n in range(len(names))]
    visible = found["visible"]
    for n, j in np.argwhere((visible != 0) & (visible != 1))[:1]:
        raise ValueError(
            f"{where[n]}: 'visible' of {skeleton.joints[j]} is {visible[n, j]:g}; expected 0 or 1"
        )
    numbers = np.stack([found["index"], found["person"]], axis=1).astype(np.float64)
    for n in np.flatnonzero(~_counts(numbers).all(axis=1))[:1]:
        raise ValueError(f"{where[n]}: 'index' or 'person' is no count from 0")
    parts = found["part"].astype(np.float64)
    return Columns(
        file=file,
        where=where,
        names=[_decoded(name, place) for name, place in zip(names.tolist(), where, strict=True)],
        ids=(numbers.astype(np.int64) + 1) @ np.array([100, 1]),
        keypoints=parts,
        visibility=_visibility((parts != 0).any(axis=2), visible == 1),
        center=found["center"].astype(np.float64),
        scale=found["scale"].astype(np.float64),
        skeleton=skeleton,
    )


def _decoded(name: Any, where: str) -> str:
    try:
        text = name.decode() if isinstance(name, bytes) else name
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: 'imgname' is no text") from error
    return _photo_name({"imgname": text}, "imgname", where)


def _read_list(file: Path, split: str) -> Columns:
    """`joint_self` is x, y and 1 for visible; a joint at (0, 0) is not labelled."""
    rows = []
    split_of: dict[str, float] = {}
    for n, entry in enumerate(_read_json(file)):
        where = f"{file}: row {n}"
        validation = float(_numbers(entry, "isValidation", (), where))
        if validation not in (0, 1):
            raise ValueError(f"{where}: 'isValidation' is {validation:g}; expected 0 or 1")
        name = _photo_name(entry, "img_paths", where)
        if split_of.setdefault(name, validation) != validation:
            raise ValueError(
                f"{where}: {name} has people of both splits, so that validation would see a picture of the "
                "training; leave out the people who share a picture with a validation person"
            )
        if validation != (split == "val"):
            continue
        joints = _numbers(entry, "joint_self", (16, 3), where)
        _check_flags(joints[:, 2], "joint_self", where)
        numbers = [_numbers(entry, key, (), where) for key in ("annolist_index", "people_index")]
        if not _counts(np.array(numbers)).all():
            raise ValueError(f"{where}: 'annolist_index' or 'people_index' is no count")
        person = 100 * int(numbers[0]) + int(numbers[1])
        labelled = (joints[:, :2] != 0).any(axis=1)
        visibility = _visibility(labelled, joints[:, 2] == 1)
        center, scale = _numbers(entry, "objpos", (2,), where), _numbers(entry, "scale_provided", (), where)
        rows.append((where, name, person, joints[:, :2], visibility, center, scale))
    return _columns(rows, file, split)


def _read_hrnet(file: Path, split: str) -> Columns:
    """`joints_vis` is 1 for every labelled joint, hidden or not."""
    rows = []
    for n, entry in enumerate(_read_json(file)):
        where = f"{file}: row {n}"
        joints = _numbers(entry, "joints", (16, 2), where)
        flags = _numbers(entry, "joints_vis", (16,), where)
        _check_flags(flags, "joints_vis", where)
        visibility = _visibility(flags == 1, flags == 1)
        center, scale = _numbers(entry, "center", (2,), where), _numbers(entry, "scale", (), where)
        person = n + (1 if split == "train" else 100_001)
        rows.append((where, _photo_name(entry, "image", where), person, joints, visibility, center, scale))
    return _columns(rows, file, split)


def _columns(rows: list[tuple[Any, ...]], file: Path, split: str) -> Columns:
    if not rows:
        raise ValueError(f"{file} holds nobody of the {split} split")
    where, names, ids, keypoints, visibility, center, scale = zip(*rows, strict=True)
    return Columns(
        file=file,
        where=where,
        names=names,
        ids=np.array(ids, np.int64),
        keypoints=np.stack(keypoints),
        visibility=np.stack(visibility),
        center=np.stack(center),
        scale=np.stack(scale),
        skeleton=MPII16,
    )


def _read_json(file: Path) -> list[dict[str, Any]]:
    raw = file.read_bytes()
    try:
        content = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is not a whole JSON file ({error})") from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"{file} holds no list of objects, as MPII's JSON files do")
    return content


def _numbers(entry: dict[str, Any], key: str, shape: tuple[int, ...], where: str) -> _Numbers:
    if key not in entry:
        raise ValueError(f"{where} has no '{key}'")
    try:
        array = np.array(entry[key])
    except ValueError:  # lists of unequal length inside
        array = np.array("ragged")
    if array.shape != shape or array.dtype.kind not in "iuf":
        wanted = f"numbers of shape {shape}" if shape else "a number"
        raise ValueError(f"{where}: '{key}' is not {wanted}")
    return array.astype(np.float64)


def _photo_name(entry: dict[str, Any], key: str, where: str) -> str:
    if key not in entry:
        raise ValueError(f"{where} has no '{key}'")
    if not isinstance(entry[key], str) or not entry[key]:
        raise ValueError(f"{where}: '{key}' is {entry[key]!r}, not the file name of a picture")
    return str(entry[key])


def _check_flags(flags: _Numbers, key: str, where: str) -> None:
    for j in np.flatnonzero((flags != 0) & (flags != 1))[:1]:
        raise ValueError(f"{where}: '{key}' gives {MPII16.joints[j]} the flag {flags[j]:g}; expected 0 or 1")


def _counts(numbers: _Numbers) -> npt.NDArray[np.bool_]:
    return np.asarray((numbers >= 0) & (numbers < 1e9) & (np.floor(numbers) == numbers))


def _visibility(labelled: npt.NDArray[np.bool_], visible: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.where(labelled, np.where(visible, VISIBLE, OCCLUDED), NOT_LABELLED).astype(np.uint8)


def _check_scale(people: Columns, adjusted: bool, file: Path) -> None:
    """Raise ValueError when the file's scales are in the other state than its form says.

    From neck to head top it is a third of a hundred raw scales, within 1 % for 98 % of people. So the median
    tells the two states, 1.25 apart, wherever anybody has both joints.
    """
    ends = [MPII16.index(joint) for joint in ("neck", "head_top")]
    both = (people.visibility[:, ends] > NOT_LABELLED).all(axis=1)
    if not both.any():
        return
    sticks = people.keypoints[both][:, ends]
    measured = float(np.median(np.linalg.norm(sticks[:, 0] - sticks[:, 1], axis=1) / people.scale[both]))
    raw, done = HEAD_STICK_PX, HEAD_STICK_PX / MARGIN
    wrong = raw if adjusted else done
    if abs(measured / wrong - 1) < 0.03:
        found, usual = ("raw", "adjusted") if adjusted else ("adjusted", "raw")
        raise ValueError(
            f"{file} holds {found} scales, but files of this form hold {usual} ones: neck to head top is "
            f"{measured:.1f} px per unit of scale, where {raw:.1f} is raw and {done:.1f} adjusted; "
            "crops would come out of the wrong size, so get the file in its usual state"
        )
