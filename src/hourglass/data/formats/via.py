"""VGG Image Annotator 2: its JSON export, a saved project, or the CSV export.

A point's region attribute names its joint. Where regions have several attributes, the joint's is the one
called so (`_JOINT`), and another may say whose the point is (`_WHOSE`). A rectangle around points is their
box.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import (
    Labelled,
    LabelledBox,
    Mark,
    annotations_of,
    grouped,
    number,
    picture_of_address,
    visible,
)
from hourglass.data.formats.read_files import check_file, listed, read_json

FORM = "via"

_JOINT = ("joint", "keypoint", "kp", "bodypart", "body_part", "part", "landmark", "point", "name", "label")
_WHOSE = ("id", "individual", "animal", "person", "instance", "group", "group_id", "track", "object")
_HIDDEN = ("occluded", "hidden")


def is_via(content: Any) -> bool:
    """Whether a JSON file's content is VIA's: an export, or a project."""
    if not isinstance(content, dict) or not content:
        return False
    if isinstance(content.get("_via_img_metadata"), dict):
        return True
    return all(
        isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in content.values()
    )


def read_export(file: Path, category: str | None = None, content: Any = None) -> Annotations:
    """The people or animals of a JSON file.

    Args:
        category: none is known here; a word is refused.
        content: what the file holds, where it has been read already.

    Raises ValueError naming the file, the picture, the region and the field.
    """
    check_file(file, "labels")
    content = read_json(file) if content is None else content
    entries = content.get("_via_img_metadata", content)
    pictures = []
    for key, entry in entries.items():
        regions = entry.get("regions")
        # VIA 1 numbered the regions in an object.
        found = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(found, list):
            raise ValueError(f"{file}: {key!r} has no list of 'regions'")
        pictures.append((str(entry.get("filename", key)), found))
    return _annotations(file, pictures, category)


def read_csv(file: Path, category: str | None = None) -> Annotations:
    """As `read_export`, of a CSV file."""
    check_file(file, "labels")
    pictures: dict[str, list[Any]] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            names = [name.lstrip("#").strip() for name in rows.fieldnames or []]
            rows.fieldnames = names
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                shape, attributes = (
                    _object(row.get(name), f"{where}: {name!r}")
                    for name in ("region_shape_attributes", "region_attributes")
                )
                regions = pictures.setdefault(str(row.get("filename")), [])
                if shape:
                    regions.append({"shape_attributes": shape, "region_attributes": attributes})
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no table in UTF-8 ({error})") from error
    return _annotations(file, list(pictures.items()), category)


def _object(text: Any, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON object ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} is no JSON object")
    return found


def _annotations(
    file: Path, pictures: Sequence[tuple[str, Sequence[Any]]], category: str | None
) -> Annotations:
    regions = list(_regions(file, pictures))
    points = [attributes for _, _, shape, attributes in regions if shape.get("name") == "point"]
    joint = _attribute(file, points)
    people: list[Labelled] = []
    others = 0
    hidden = False
    for image, name in ((image, picture_of_address(image)) for image, _ in pictures):
        marks, frames = [], []
        for owner, where, shape, attributes in regions:
            if owner != image:
                continue
            group = next((_value(attributes[key]) for key in _WHOSE if attributes.get(key)), None)
            if shape.get("name") == "point":
                x, y = (number(shape.get(axis), f"{where}: {axis!r}") for axis in ("cx", "cy"))
                label = _value(attributes.get(joint, ""))
                if not label:
                    raise ValueError(f"{where} is a point whose {joint!r} is empty; name its joint")
                covered = any(
                    _value(attributes.get(word, "")) in ("1", "true", "yes", word) for word in _HIDDEN
                )
                hidden = hidden or covered
                marks.append(Mark(label, (x, y, visible(covered)), group))
            elif shape.get("name") == "rect":
                x, y, width, height = (
                    number(shape.get(side), f"{where}: {side!r}") for side in ("x", "y", "width", "height")
                )
                frames.append(LabelledBox((x, y, width, height), group))
            else:
                others += 1
        people += grouped(f"{file}: {image}", name, marks, frames)
    log_left_out(file, {"regions that are neither points nor rectangles": others})
    return annotations_of(file, FORM, people, category=category, tells_hidden=hidden)


def _regions(
    file: Path, pictures: Sequence[tuple[str, Sequence[Any]]]
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    for image, regions in pictures:
        for row, region in enumerate(regions):
            where = f"{file}: {image}, region {row}"
            shape = region.get("shape_attributes") if isinstance(region, dict) else None
            if not isinstance(shape, dict):
                raise ValueError(f"{where} has no object 'shape_attributes'")
            attributes = region.get("region_attributes") or {}
            if not isinstance(attributes, dict):
                raise ValueError(f"{where}: 'region_attributes' is no object")
            yield image, where, shape, attributes


def _attribute(file: Path, points: Sequence[Mapping[str, Any]]) -> str:
    """Name of the attribute that names a point's joint."""
    names = list(dict.fromkeys(name for attributes in points for name in attributes))
    plain = [name for name in names if name.lower() not in (*_WHOSE, *_HIDDEN)]
    if len(plain) == 1:
        return plain[0]
    known = [name for word in _JOINT for name in plain if name.lower() == word]
    if known:
        return known[0]
    if not points:
        raise ValueError(f"{file} holds no points")
    raise ValueError(
        f"{file}: the points' attributes are {listed(names)}, and which of them names the joint can't be "
        "told; call it 'keypoint'"
    )


def _value(value: Any) -> str:
    """An attribute's word; a check box holds an object of those that are ticked."""
    if isinstance(value, dict):
        return ", ".join(str(word) for word, ticked in value.items() if ticked)
    return str(value).strip().lower() if isinstance(value, bool) else str(value).strip()
