"""The HDF5 files of the hourglass authors (pose-hg-train, pose-hg-demo): MPII's and FLIC's.

Rows of `part` are joints, (0, 0) where one is not labelled; `visible` is 0 for a hidden one. `index` and
`person` count from 0, everything else of MPII from 1. FLIC's coordinates are taken as they stand: no source
says that they count from 1, and the authors' own code treats them as counting from 0.

Centre and scale are those of the crop, its side being 200 x the scale. For MPII the authors had moved the
centre down by 15 x MPII's own scale and made the scale 1.25 x as large before they wrote the file. Taking
these steps twice, or never, is the classic mistake, so `check_scale` looks which state a file is in.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.skeleton import FLIC11, MPII16, Skeleton
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.read_files import (
    FARTHEST_PX,
    Where,
    check_finite,
    listed,
    numbers,
    read_hdf5,
    rows_of,
)

SCALE_PX = 200.0
"""Pixels in one unit of a file's scale."""

MARGIN = 1.25
"""Side of the crop over 200 x MPII's raw scale."""

DOWN_PX = 15.0
"""How far the crop's centre lies below MPII's raw one, in pixels at a raw scale of 1."""

HEAD_PX = 25.0
"""PCKh's head size at a raw scale of 1: 0.6 x the diagonal of the head box, for all 2,958 of val."""

HEAD_STICK_PX = 100 / 3
"""Neck to head top at a raw scale of 1: the median over all people of MPII."""

SHORTEST_PX = 1e-3
"""Of a length that distances are divided by."""


_ROWS = ("part", "visible", "imgname")
"""Arrays that become something else; the others are kept as columns."""


def read_authors_file(file: Path, skeleton: Skeleton | None = None) -> Annotations:
    """Everybody in one of these files; `ids` are 100 x (`index` + 1) + `person` + 1.

    `lengths` has MPII's `head` or FLIC's `file-torso` (the person's own right shoulder to left hip), if the
    file has `normalize`. `columns` keeps every array with a row for each person, as it is in the file.

    Args:
        skeleton: what the file must be of; None tells MPII's 16 joints from FLIC's 11.

    Raises ValueError naming the file, the field and the row.
    """
    found = read_hdf5(file)
    for key in ("part", "imgname", "visible", "center", "scale", "index", "person"):
        if key not in found:
            advice = "take the annotation file of the hourglass authors"
            if "preds" in found:
                advice = "it holds predictions, so swap the two files"
            raise ValueError(f"{file} holds no '{key}', only {listed(sorted(found))}; {advice}")
    if skeleton is None:
        shape = found["part"].shape
        if len(shape) != 3 or shape[1] not in (11, 16):
            raise ValueError(
                f"{file}: 'part' has shape {shape}; expected (N, 16, 2) for MPII or (N, 11, 2) for FLIC"
            )
        skeleton = FLIC11 if shape[1] == 11 else MPII16
    is_mpii = skeleton.joints == MPII16.joints
    where = rows_of(file)
    names = _names(found["imgname"], file)
    count, joints = len(names), len(skeleton)
    keypoints = numbers(found, "part", (count, joints, 2), file)
    visible = numbers(found, "visible", (count, joints), file)
    for n, j in np.argwhere((visible != 0) & (visible != 1))[:1].tolist():
        raise ValueError(
            f"{where(n)}: 'visible' of {skeleton.joints[j]} is {visible[n, j]:g}; expected 0 or 1"
        )
    center, scale = numbers(found, "center", (count, 2), file), numbers(found, "scale", (count,), file)
    index = np.stack([numbers(found, key, (count,), file) for key in ("index", "person")], axis=1)
    for n in np.flatnonzero(~is_count(index).all(axis=1))[:1].tolist():
        raise ValueError(f"{where(n)}: 'index' or 'person' is no count from 0")
    check_center_and_scale(center, scale, where)
    lengths = {}
    if "normalize" in found:
        length = numbers(found, "normalize", (count,), file)
        lengths["head" if is_mpii else "file-torso"] = checked_length(length, rows_of(file, "normalize"))
    people = Annotations(
        file=file,
        form="authors-hdf5",
        what=f"the authors' file of {'MPII' if is_mpii else 'FLIC'}",
        skeleton=skeleton,
        where=[where(n) for n in range(count)],
        names=names,
        ids=(index.astype(np.int64) + 1) @ np.array([100, 1]),
        splits=[""] * count,
        keypoints=keypoints,
        visibility=seen((keypoints != 0).any(axis=2), visible == 1),
        tells_hidden=True,
        origin=1 if is_mpii else 0,
        center=center,
        side_px=SCALE_PX * scale,
        lengths=lengths,
        columns={
            key: array
            for key, array in found.items()
            if key not in _ROWS and array.ndim and len(array) == count and array.dtype.kind in "iufb"
        },
    )
    check_finite(keypoints, people.labelled, skeleton.joints, where)
    if is_mpii:
        check_scale(people, scale, adjusted=True)
    return people


def _names(found: npt.NDArray[Any], file: Path) -> list[str]:
    if found.ndim != 1 or found.dtype.kind not in "SO":
        raise ValueError(f"{file}: 'imgname' is {found.dtype} of shape {found.shape}; expected N file names")
    names = []
    for n, raw in enumerate(found.tolist()):
        try:
            name = raw.decode() if isinstance(raw, bytes) else raw
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: row {n}: 'imgname' is no text") from error
        names.append(checked_name(name, "imgname", f"{file}: row {n}"))
    return names


def checked_name(value: Any, key: str, where: str) -> str:
    """The file name of a picture; raises ValueError where it is none."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{where}: '{key}' is {value!r}, not the file name of a picture")
    return value


def is_count(array: Float64Array) -> BoolArray:
    """Where numbers are whole, not negative and of a sensible size."""
    return np.asarray((array >= 0) & (array < 1e9) & (np.floor(array) == array))


def seen(labelled: BoolArray, visible: BoolArray) -> npt.NDArray[np.uint8]:
    """COCO's visibility."""
    return np.where(labelled, np.where(visible, VISIBLE, OCCLUDED), NOT_LABELLED).astype(np.uint8)


def check_center_and_scale(center: Float64Array, scale: Float64Array, where: Where) -> None:
    """Raise ValueError naming the first row whose centre (N, 2) or scale (N,) makes no crop."""
    for n in np.flatnonzero(~np.isfinite(center).all(axis=1))[:1].tolist():
        raise ValueError(f"{where(n)}: the centre of the person is not a finite number")
    for n in np.flatnonzero((np.abs(center) >= FARTHEST_PX).any(axis=1))[:1].tolist():
        raise ValueError(f"{where(n)}: the centre of the person lies where no picture reaches")
    for n in np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))[:1].tolist():
        raise ValueError(f"{where(n)}: the scale is {scale[n]:g}; it must be positive")
    with np.errstate(over="ignore"):
        checked_length(SCALE_PX * scale, where, "side of the crop")


def checked_length(length: Float64Array, where: Where, what: str = "length") -> Float64Array:
    """Lengths (N,) that distances may be divided by; raises ValueError naming the first other row."""
    for row in np.flatnonzero(~((length > SHORTEST_PX) & (length < FARTHEST_PX)))[:1].tolist():
        problem = "out of all proportion" if 0 < length[row] < np.inf else "not a positive number"
        raise ValueError(f"{where(row)}: the {what} {length[row]:g} is {problem}")
    return length


def check_scale(people: Annotations, scale: Float64Array, adjusted: bool) -> None:
    """Raise ValueError when scales (N,) of MPII's people are in the other state than the form of file says.

    From neck to head top it is a third of a hundred raw scales, within 1 % for 98 % of people. So the median
    tells the two states, 1.25 apart, wherever anybody has both joints.
    """
    ends = [MPII16.index(joint) for joint in ("neck", "head_top")]
    both = people.labelled[:, ends].all(axis=1)
    if not both.any():
        return
    sticks = people.keypoints[both][:, ends]
    measured = float(np.median(np.linalg.norm(sticks[:, 0] - sticks[:, 1], axis=1) / scale[both]))
    raw, done = HEAD_STICK_PX, HEAD_STICK_PX / MARGIN
    wrong = raw if adjusted else done
    if abs(measured / wrong - 1) < 0.03:
        found, usual = ("raw", "adjusted") if adjusted else ("adjusted", "raw")
        raise ValueError(
            f"{people.file} holds {found} scales, but files of this form hold {usual} ones: neck to head top "
            f"is {measured:.1f} px per unit of scale, where {raw:.1f} is raw and {done:.1f} adjusted; "
            "crops would come out of the wrong size, so get the file in its usual state"
        )
