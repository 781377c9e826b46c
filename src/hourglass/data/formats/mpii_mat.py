"""MPII's official annotation file, `mpii_human_pose_v1_u12_1.mat`: one structure `RELEASE`.

`RELEASE.annolist` has an entry for each of 24,987 pictures, `annorect` of it one for each person, and
`annopoints.point` of that one for each labelled joint: x, y, id (0 to 15, in the order of MPII16) and
is_visible. Any of these may be absent or empty:

| in the file | means |
|---|---|
| no `annopoints`, or an empty one | a person without joints, as everybody of the test pictures is |
| no point with some id | that joint is not labelled |
| is_visible absent, empty, 1 or '1' | visible |
| is_visible 0 or '0' | labelled, but hidden |
| no `scale` or `objpos` | a person without a crop |

Splits. `img_train` is 0 for the test pictures: whoever has scale and objpos there is `test` (11,731 people in
6,619 pictures are published). In the others, the 2,958 people of the usual validation split are `val`, and
whoever has a joint, scale and objpos in a picture without any of them is `train`. The other 3,679 people of
the validation pictures would show those pictures to the training, so they have no split: "". With them it is
28,883 people; without, the 22,246 that are trained on everywhere. Nobody has said in the file who validates.
`mpii_val.txt` beside this module does: each number is the step from one picture's place in annolist to
the next, from 0 on, and each letter after it a person's place in annorect, a being the first. It was derived
from the marks in the list that goes around as mpii_annotations.json.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import MPII16
from hourglass.core.structs import NOT_LABELLED
from hourglass.data.formats.annotations import Annotations
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
    seen,
)
from hourglass.data.formats.read_files import FARTHEST_PX, check_file, listed, read_mat

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
        for column in ("scale", *_CORNERS):
            raw[column] += fields.get(column, [_NOTHING] * count)
        for n in range(count):
            person = f"{file}: {name}, person {n + 1}"
            position = _only(fields["objpos"][n], person, "objpos") if "objpos" in fields else {}
            raw["objpos.x"].append(position.get("x", _NOTHING))
            raw["objpos.y"].append(position.get("y", _NOTHING))
            joints = _only(fields["annopoints"][n], person, "annopoints") if "annopoints" in fields else {}
            marked, of_points = _structures(joints.get("point", _NOTHING), person, "point")
            owners += [len(where)] * marked
            for column, values in points.items():
                values += of_points.get(column, [_NOTHING] * marked)
            names.append(name)
            where.append(person)
            pictures.append(index + 1)
            places.append(n + 1)
    keypoints, visibility = _joints(points, owners, where)
    columns = {name: _numbers(values, name, where.__getitem__) for name, values in raw.items()}
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


def _numbers(values: list[Any], what: str, where: _Where) -> Float64Array:
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
    ids = _numbers(points["id"], "id", lambda n: where[owners[n]])
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
        values = _numbers(points[name], name, joint)
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
