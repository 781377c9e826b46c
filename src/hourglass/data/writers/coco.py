"""People as COCO keypoints JSON, and back as they were in the file that they came from.

A plain COCO reader finds nothing unusual: coordinates count from 0, an unlabelled joint is 0, 0, 0, and each
annotation has a box and an area. Our own additions are a person's `crop`, `split` and `lengths`, and what the
way back needs (`restored`):

| at the top, in `hourglass` | |
|---|---|
| `form`, `origin` | the file's form (`annotations.FORMS`) and what it called the first pixel |
| `tells_hidden` | whether hidden joints were told from visible ones |
| `crowds` | whether crowds were told from people |
| `unlabelled` | what the file had for most of its unlabelled joints |
| `lengths` | the names of the lengths |
| `columns` | names and types of the further columns |
| `skeleton` | the skeleton, where the category can't say it |

| in `hourglass` of an annotation | |
|---|---|
| `made` | the `bbox` and `area` that were made up here; `crop`, null, where there is to be none |
| `exact` | numbers that moving the origin would blur, and those of unlabelled joints |
| `columns` | the person's values |

They lie in each annotation so that they survive when other tools take some of the people out.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.skeleton import COCO17, Skeleton
from hourglass.data.formats.annotations import FORMS, Annotations
from hourglass.data.formats.coco import CocoFile, Key, id_of
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.writers.shared import plain, plain_list, write_json

VERSION = 1
"""Of the object `hourglass`."""


def write_coco(
    people: Annotations,
    file: Path,
    force: bool = False,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    image_ids: Mapping[str, Key] | None = None,
    category_id: Key = 1,
) -> None:
    """`to_coco` as a file, packed if its name ends in .gz; raises as `shared.put` does."""
    write_json(file, to_coco(people, sizes, image_ids, category_id), force)


def to_coco(
    people: Annotations,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    image_ids: Mapping[str, Key] | None = None,
    category_id: Key = 1,
) -> dict[str, Any]:
    """A COCO keypoints file as Python objects, of finite numbers only.

    A person without a box gets the one around the labelled joints, without an area that of the box; both are
    marked. Where nothing is labelled, or there is no crop, that box is empty, so that nobody makes a crop of
    it.

    Args:
        sizes: width and height of pictures by name, those that are known.
        image_ids: ids of pictures by name, those without people too; None counts them from 1 on.
        category_id: of the one category.
    """
    names = dict.fromkeys(people.names)
    ids = dict(image_ids or {})
    free = max((key for key in ids.values() if isinstance(key, int)), default=0) + 1
    for name in names:
        if name not in ids:
            ids[name], free = free, free + 1
    origin = people.origin
    shown, usual = _shown(people)
    center = people.center - origin
    box, area, made = _boxes(people, shown)
    exact = _exact(people, shown, usual, center, box)
    follows = _crop_follows(people)
    columns = {name: _encoded(column) for name, column in people.columns.items()}
    entries = []
    for n, person in enumerate(people.ids.tolist()):
        flags = people.visibility[n]
        triples = np.concatenate([shown[n], flags[:, None]], axis=1)
        entry: dict[str, Any] = {
            "id": person,
            "image_id": ids[people.names[n]],
            "category_id": category_id,
            "keypoints": plain_list(triples.ravel()),
            "num_keypoints": int(people.labelled[n].sum()),
            "bbox": plain_list(box[n]),
            "area": plain(float(area[n])),
            "iscrowd": int(people.crowd is not None and people.crowd[n]),
        }
        if not np.isnan(people.side_px[n]) and not follows[n]:
            entry["crop"] = {"center": plain_list(center[n]), "side_px": plain(float(people.side_px[n]))}
        if people.splits[n]:
            entry["split"] = people.splits[n]
        lengths = {name: plain(float(column[n])) for name, column in people.lengths.items()}
        if known := {name: px for name, px in lengths.items() if px is not None}:
            entry["lengths"] = known
        values = {name: column[n] for name, column in columns.items()}
        ours = {
            "made": {name: entry.get(name) for name, rows in made.items() if rows[n]},
            "exact": exact.get(n),
            "columns": values,
        }
        if told := {name: part for name, part in ours.items() if part}:
            entry["hourglass"] = told
        entries.append(entry)
    pictures = []
    for name, key in ids.items():
        picture: dict[str, Any] = {"id": key, "file_name": name}
        if sizes and name in sizes:
            picture["width"], picture["height"] = sizes[name]
        pictures.append(picture)
    category = category_of(people.skeleton, category_id)
    head: dict[str, Any] = {
        "version": VERSION,
        "form": people.form,
        "origin": origin,
        "tells_hidden": people.tells_hidden,
        "crowds": people.crowd is not None,
        "unlabelled": plain_list(usual),
        "lengths": list(people.lengths),
        "columns": {name: column.dtype.str for name, column in people.columns.items()},
    }
    if Skeleton.from_coco_category(category) != people.skeleton:
        head["skeleton"] = people.skeleton.to_dict()
    return {
        "info": {"description": f"{people.what}, by hourglass data convert"},
        "hourglass": head,
        "images": pictures,
        "annotations": entries,
        "categories": [category],
    }


def _shown(people: Annotations) -> tuple[Float64Array, Float64Array]:
    """What the file says of the joints (N, J, 2), and (2,) what the source had for most unlabelled ones."""
    bare = ~people.labelled
    # COCO's own files may have anything beside a 0, and keep it.
    if people.form == "coco":
        blank = np.asarray(bare & ~np.isfinite(people.keypoints).all(axis=2))
    else:
        blank = np.asarray(bare)
    shown = np.where(blank[..., None], 0.0, people.keypoints - people.origin)
    rest = people.keypoints[bare]
    rest = rest[np.isfinite(rest).all(axis=1)]
    if not len(rest):
        return shown, np.full(2, float(people.origin))
    pairs, counts = np.unique(rest, axis=0, return_counts=True)
    return shown, pairs[np.argmax(counts)]


def _boxes(
    people: Annotations, shown: Float64Array
) -> tuple[Float64Array, Float64Array, dict[str, BoolArray]]:
    """Boxes (N, 4), 0-based, areas (N,), and (N,) whose `bbox` and `area` are made up.

    There `crop` tells who has none, though a reader would make one.
    """
    count, labelled = len(people), people.labelled
    given = np.full((count, 4), np.nan) if people.box is None else people.box.copy()
    given[:, :2] -= people.origin
    has_box = np.asarray(np.isfinite(given).all(axis=1))
    low = np.where(labelled[..., None], shown, np.inf).min(axis=1)
    high = np.where(labelled[..., None], shown, -np.inf).max(axis=1)
    some = labelled.any(axis=1, keepdims=True)
    low, high = np.where(some, low, 0.0), np.where(some, high, 0.0)
    # A box covers whole pixels, so one pixel more than lies between the joints.
    size = np.where(some & ~np.isnan(people.side_px)[:, None], high - low + 1, 0.0)
    box = np.where(has_box[:, None], given, np.concatenate([low, size], axis=1))
    area = np.full(count, np.nan) if people.area is None else people.area
    has_area = np.asarray(np.isfinite(area))
    area = np.where(has_area, area, box[:, 2] * box[:, 3])
    cropless = np.isnan(people.side_px) & (has_box | (labelled.sum(axis=1) > 1))
    return box, area, {"bbox": ~has_box, "area": ~has_area, "crop": cropless}


def _crop_follows(people: Annotations) -> BoolArray:
    """(N,) whose crop is the one that any reader of ours makes of the box that a COCO file gave."""
    if people.form != "coco" or people.box is None:
        return np.zeros(len(people), bool)
    center, side_px = made_crops(people.keypoints, people.labelled, people.box)
    same = (center == people.center).all(axis=1) & (side_px == people.side_px)
    return np.asarray(same & (people.box[:, 2:] > 0).all(axis=1))


def _exact(
    people: Annotations, shown: Float64Array, usual: Float64Array, center: Float64Array, box: Float64Array
) -> dict[int, dict[str, Any]]:
    """By row: what the way back would not give to the last bit."""
    found: dict[int, dict[str, Any]] = {}
    unlike_rest = people.labelled if people.form != "coco" else np.ones_like(people.labelled)
    back = np.where(unlike_rest[..., None], shown + people.origin, usual)
    for n, j in np.argwhere(~_same(back, people.keypoints).all(axis=2)).tolist():
        point = [_number(value) for value in people.keypoints[n, j].tolist()]
        found.setdefault(n, {}).setdefault("keypoints", []).append([j, *point])
    crops = ~np.isnan(people.side_px)
    for n in np.flatnonzero(crops & ~_same(center + people.origin, people.center).all(axis=1)).tolist():
        found.setdefault(n, {})["center"] = people.center[n].tolist()
    if people.box is not None:
        moved = box + np.array([people.origin, people.origin, 0, 0])
        blurred = np.isfinite(people.box).all(axis=1) & ~_same(moved, people.box).all(axis=1)
        for n in np.flatnonzero(blurred).tolist():
            found.setdefault(n, {})["box"] = people.box[n].tolist()
    return found


def _same(a: Float64Array, b: Float64Array) -> BoolArray:
    """Equal to the last bit, or both not a number."""
    return np.asarray(((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b)))


def category_of(skeleton: Skeleton, number: Key = 1) -> dict[str, Any]:
    """An entry of COCO's `categories`, with ours beside COCO's own fields."""
    category: dict[str, Any] = {
        "id": number,
        "name": "person" if skeleton.joints == COCO17.joints else skeleton.name,
        "supercategory": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "torso": [list(pair) for pair in skeleton.torso],
    }
    if skeleton.head is not None:
        category["head"] = list(skeleton.head)
    if skeleton.oks_sigmas is not None:
        category["sigmas"] = list(skeleton.oks_sigmas)
    return category


def _number(value: float) -> float | int | str | None:
    """A float for JSON, which has no infinity: a word, and null for what is not a number."""
    return plain(value) if abs(value) != np.inf else ("Infinity" if value > 0 else "-Infinity")


def _encoded(column: npt.NDArray[Any]) -> list[Any]:
    """One column as JSON values, a value for each person."""
    return [_json(value) for value in column.tolist()]


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value) if not value.is_integer() else value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): _json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_json(part) for part in value]
    if isinstance(value, np.generic):
        return _json(value.item())
    return value


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
            if id_of(entry["category_id"]) in file.categories
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
