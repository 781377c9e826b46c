"""COCO keypoints JSON: COCO's own files, and anyone's data in that form, with any skeleton.

Keypoint coordinates are read as 0-based pixel indexes, as nearly all code does: COCO's annotators clicked
whole pixels. A `bbox` is an area: x to x + width covers the pixels x to x + width - 1.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.annotations import check_photos, log_left_out
from hourglass.data.crops import crop_of_box, crop_of_joints, without_far_outside
from hourglass.data.images import ImageError, image_size
from hourglass.skeleton import Skeleton
from hourglass.structs import NOT_LABELLED, PersonRecord

Entry = Mapping[str, Any]

_CROWD = "crowds"
_BARE = "people without labelled keypoints"
_FAR = "joints far outside their picture"
_POINT = "people with one joint and no bbox"


def load_records(annotations: Path, images: Path, category: str | None = None) -> list[PersonRecord]:
    """The annotated people, in the file's order; `image_id` is the photo's file name, `person_id` the
    annotation's id.

    Crowds and people without labelled keypoints are left out. A joint far outside its picture counts as
    not labelled (see `crops.without_far_outside`). The crop is 1.25 times the longer side of `bbox`
    or, where there is none, of the box around the labelled joints.

    Args:
        annotations: the JSON file.
        images: the folder that its `file_name`s start from.
        category: which category to read; needed only where several have keypoints.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    content = _read_json(annotations)
    if not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}; give the folder that holds the photos")
    category_id, skeleton = _category(content["categories"], annotations, category)
    photos = _by_id(content["images"], annotations)
    counts = dict.fromkeys((_CROWD, _BARE, _FAR, _POINT), 0)
    records: list[PersonRecord] = []
    seen: set[int] = set()
    for position, entry in enumerate(content["annotations"]):
        where = _where(entry, position, annotations, seen)
        if _field(entry, "category_id", int, where) != category_id:
            continue
        photo = photos.get(_field(entry, "image_id", (int, str), where))
        if photo is None:
            raise ValueError(f"{where}: 'image_id' {entry['image_id']!r} is not among the file's images")
        if entry.get("iscrowd"):
            counts[_CROWD] += 1
        elif (record := _person(entry, photo, images, skeleton, where, counts)) is not None:
            records.append(record)
    names = {record.image_id for record in records}
    missing = [name for name in dict.fromkeys(r.image_id for r in records) if not (images / name).is_file()]
    check_photos(missing, len(names), images, str(annotations))
    log_left_out(annotations, counts)
    if not records:
        raise ValueError(f"{annotations} has no {skeleton.name} with labelled keypoints")
    return records


def _read_json(file: Path) -> dict[str, list[Any]]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no annotation file {file}")
    try:
        content = json.loads(file.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not a whole JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a JSON {type(content).__name__}, not an object as COCO's files do")
    for field in ("images", "annotations", "categories"):
        entries = content.get(field)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{file} lacks the list of objects '{field}' that a COCO keypoints file has")
    return content


def _category(categories: list[Entry], file: Path, wanted: str | None) -> tuple[int, Skeleton]:
    """Id and skeleton of the category to read."""
    found = {str(c.get("name")): c for c in categories if c.get("keypoints")}
    known = ", ".join(found)
    if not found:
        raise ValueError(f"{file}: no entry of 'categories' lists 'keypoints'")
    if wanted is None and len(found) > 1:
        raise ValueError(f"{file} has several categories with keypoints; choose one of {known}")
    if wanted is not None and wanted not in found:
        raise ValueError(f"{file} has no category {wanted!r} with keypoints; it has {known}")
    name = next(iter(found)) if wanted is None else wanted
    category_id = _field(found[name], "id", int, f"{file}: category {name!r}")
    try:
        return category_id, Skeleton.from_coco_category(found[name])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: category {name!r}: {error}") from error


def _by_id(images: list[Entry], file: Path) -> dict[Any, Entry]:
    found = {}
    for position, entry in enumerate(images):
        where = f"{file}: entry {position} of 'images'"
        identifier = _field(entry, "id", (int, str), where)
        if not _field(entry, "file_name", str, where):
            raise ValueError(f"{where}: 'file_name' is empty")
        if identifier in found:
            raise ValueError(f"{where}: the id {identifier!r} occurs twice")
        found[identifier] = entry
    return found


def _field(entry: Entry, field: str, kind: type | tuple[type, ...], where: str) -> Any:
    if field not in entry:
        raise ValueError(f"{where} has no '{field}'")
    value = entry[field]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: '{field}' is {value!r}, of the wrong type")
    return value


def _where(entry: Entry, position: int, file: Path, seen: set[int]) -> str:
    """What to call an annotation in messages; checks its id."""
    identifier = _field(entry, "id", int, f"{file}: entry {position} of 'annotations'")
    where = f"{file}: annotation {identifier}"
    if identifier in seen:
        raise ValueError(f"{where}: the 'id' occurs twice")
    seen.add(identifier)
    return where


def _person(
    entry: Entry, photo: Entry, images: Path, skeleton: Skeleton, where: str, counts: dict[str, int]
) -> PersonRecord | None:
    if "keypoints" not in entry and entry.get("num_keypoints", 0) == 0:
        # Files that mix boxes and poses leave the field away.
        counts[_BARE] += 1
        return None
    keypoints, visibility = _keypoints(entry, skeleton, where)
    before = int((visibility > NOT_LABELLED).sum())
    size = _picture_size(photo, images)
    if size is not None:
        visibility = without_far_outside(keypoints, visibility, *size)
    labelled = visibility > NOT_LABELLED
    counts[_FAR] += before - int(labelled.sum())
    if not labelled.any():
        counts[_BARE] += 1
        return None
    box = _box(entry, where)
    if box is None and labelled.sum() < 2:
        counts[_POINT] += 1
        return None
    center, side_px = crop_of_joints(keypoints[labelled]) if box is None else crop_of_box(*box)
    return PersonRecord(
        image=images / photo["file_name"],
        image_id=photo["file_name"],
        person_id=entry["id"],
        skeleton=skeleton,
        keypoints=keypoints,
        visibility=visibility,
        center=center,
        side_px=side_px,
    )


def _numbers(entry: Entry, field: str, count: int, where: str) -> npt.NDArray[np.float64]:
    values = entry.get(field)
    found = len(values) if isinstance(values, list) else repr(values)
    if found != count:
        raise ValueError(f"{where}: '{field}' must list {count} numbers, not {found}")
    try:
        array = np.array(values)
    except ValueError:  # lists of unequal length inside
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ValueError(f"{where}: '{field}' holds something that is no number")
    return array.astype(np.float64)


def _keypoints(
    entry: Entry, skeleton: Skeleton, where: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    triples = _numbers(entry, "keypoints", 3 * len(skeleton), where).reshape(-1, 3)
    flags = triples[:, 2]
    for j in np.flatnonzero((flags != 0) & (flags != 1) & (flags != 2))[:1]:
        joint = skeleton.joints[j]
        raise ValueError(
            f"{where}: 'keypoints' gives {joint} the visibility {flags[j]:g}; expected 0, 1 or 2"
        )
    for j in np.flatnonzero((flags > 0) & ~np.isfinite(triples).all(axis=1))[:1]:
        raise ValueError(f"{where}: 'keypoints' labels {skeleton.joints[j]}, but not with finite numbers")
    return triples[:, :2].astype(np.float32), flags.astype(np.uint8)


def _box(entry: Entry, where: str) -> tuple[npt.NDArray[np.float64], float] | None:
    """Centre and longer side of `bbox`, or None where there is none or it is empty."""
    if not entry.get("bbox"):
        return None
    box = _numbers(entry, "bbox", 4, where)
    if not np.isfinite(box).all():
        raise ValueError(f"{where}: 'bbox' holds a number that is not finite")
    if (box[2:] <= 0).any():
        return None
    return box[:2] + (box[2:] - 1) / 2, float(box[2:].max())


def _picture_size(photo: Entry, images: Path) -> tuple[int, int] | None:
    width, height = photo.get("width"), photo.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    try:
        return image_size(images / photo["file_name"])
    except ImageError:
        # A missing photo is reported with all the others, a damaged one by whoever reads it.
        return None
