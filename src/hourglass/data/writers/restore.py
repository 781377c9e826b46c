"""People of a COCO file that `writers_coco` wrote, as they were in the file that they came from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.data.formats.annotations import FORMS, Annotations
from hourglass.data.formats.coco import CocoFile

_CLOSE = 1e-6
"""Pixels: an exact number further from the file's than this is of a joint that was moved since."""


def restored(file: CocoFile, content: Mapping[str, Any]) -> Annotations:
    """The people of a COCO file as they were before `to_coco`, or as they are in a file that isn't ours.

    What was changed in between stays changed: exact numbers count only for joints that have not been moved,
    and columns only if everybody has them.

    Args:
        content: what the file holds, as `coco.parse` took it.

    Raises ValueError naming the file when the additions contradict themselves.
    """
    people, head = file.people, file.ours
    if "form" not in head:
        return people
    try:
        entries = {
            entry["id"]: entry.get("hourglass") or {}
            for entry in content["annotations"]
            if entry["category_id"] == file.category
        }
        ours = [entries[person] for person in people.ids.tolist()]
        return _restored(people, head, ours, file.own_crop)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(
            f"{people.file}: the object 'hourglass', or one in an annotation, is damaged ({error}); "
            "without them it is a plain COCO file"
        ) from error


def _restored(
    people: Annotations, head: Mapping[str, Any], ours: list[dict[str, Any]], own_crop: npt.NDArray[np.bool_]
) -> Annotations:
    form, origin = head["form"], head["origin"]
    if form not in FORMS or origin not in (0, 1):
        raise ValueError(f"form {form!r}, origin {origin!r}")
    skeleton = Skeleton.from_dict(head["skeleton"]) if "skeleton" in head else people.skeleton
    if skeleton.joints != people.skeleton.joints:
        skeleton = people.skeleton
    labelled, center = people.labelled, people.center + origin
    keypoints = people.keypoints + origin
    if form != "coco":
        keypoints[~labelled] = _decoded(head["unlabelled"])
    box = np.full((len(people), 4), np.nan) if people.box is None else people.box.copy()
    origin_of_box = np.array([origin, origin, 0, 0])
    box += origin_of_box
    area = np.full(len(people), np.nan) if people.area is None else people.area.copy()
    side_px = people.side_px.copy()
    for n, part in enumerate(ours):
        for joint, x, y in (part.get("exact") or {}).get("keypoints", ()):
            if joint < 0:
                raise ValueError(f"joint {joint}")
            _put(keypoints[n, joint], [x, y], always=not labelled[n, joint])
        for name, target in (("center", center[n]), ("box", box[n])):
            if name in (part.get("exact") or {}):
                _put(target, part["exact"][name])
        made = part.get("made") or {}
        # Another box than ours was put there by somebody since, and stays.
        if "bbox" in made and (np.abs(box[n] - origin_of_box - _decoded(made["bbox"])) < _CLOSE).all():
            box[n] = np.nan
        if "area" in made and abs(area[n] - float(made["area"])) < _CLOSE:
            area[n] = np.nan
        if "crop" in made and not own_crop[n]:
            center[n], side_px[n] = np.nan, np.nan
    columns = {}
    for name, kind in head["columns"].items():
        if all(name in part.get("columns", {}) for part in ours):
            columns[name] = _column([part["columns"][name] for part in ours], kind)
    empty = np.full(len(people), np.nan)
    return replace(
        people,
        form=form,
        skeleton=skeleton,
        keypoints=keypoints,
        tells_hidden=bool(head["tells_hidden"]),
        origin=origin,
        center=center,
        side_px=side_px,
        lengths={name: people.lengths.get(name, empty) for name in (*head["lengths"], *people.lengths)},
        box=None if np.isnan(box).all() else box,
        area=None if np.isnan(area).all() else area,
        crowd=people.crowd if head["crowds"] or (people.crowd is not None and people.crowd.any()) else None,
        columns=columns,
    )


def _put(target: Float64Array, values: list[Any], always: bool = False) -> None:
    exact = _decoded(values)
    if always or (np.abs(exact - target) < _CLOSE).all():
        target[:] = exact


def _decoded(values: Any) -> Float64Array:
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _column(values: list[Any], kind: str) -> npt.NDArray[Any]:
    dtype = np.dtype(kind)
    if dtype.kind == "O":
        return np.fromiter(values, object, len(values))
    if dtype.kind == "f":
        return np.array(_floats(values), dtype)
    if dtype.kind == "S":
        return np.array([value.encode("latin-1") for value in values])
    if dtype.kind == "U" and all(isinstance(value, str) for value in values):
        return np.array(values)
    if dtype.kind not in "biu":
        raise ValueError(f"a column of {kind}")
    return np.array(values, dtype)


def _floats(values: Any) -> Any:
    if isinstance(values, list):
        return [_floats(value) for value in values]
    return float("nan") if values is None else float(values)
