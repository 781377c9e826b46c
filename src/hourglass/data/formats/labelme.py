"""labelme's JSON files, one for each picture, by themselves or a folder of them.

A point's label is its joint; `group_id` says whose it is. A rectangle of the same group is the box, and its
label the kind. A point is hidden where its flag `occluded` or `hidden` is set. Other shapes are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import (
    Labelled,
    LabelledBox,
    Mark,
    Size,
    annotations_of,
    box_of_corners,
    grouped,
    natural,
    number,
    picture_name,
    visible,
    without_kinds,
)
from hourglass.data.formats.read_files import check_file, read_json

FORM = "labelme"


def is_labelme(content: Any) -> bool:
    """Whether a JSON file's content is that of labelme."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read_file(file: Path, category: str | None = None, content: Any = None) -> Annotations:
    """The people or animals of one picture.

    Args:
        category: the label of a rectangle; reads only points of its group.
        content: what the file holds, where it has been read already.

    Raises ValueError naming the file, the shape and the field.
    """
    check_file(file, "labels")
    return _annotations(file, {file: read_json(file) if content is None else content}, category, file.parent)


def read_folder(folder: Path, category: str | None = None) -> Annotations:
    """The people or animals of all labelme's files in a folder and the folders in it, sorted by name.

    Raises ValueError naming the file, the shape and the field.
    """
    contents = {file: read_json(file) for file in files_below(folder)}
    found = {file: content for file, content in contents.items() if is_labelme(content)}
    log_left_out(folder, {"JSON files that aren't labelme's": len(contents) - len(found)})
    if not found:
        raise ValueError(f"{folder} holds no JSON files of labelme")
    return _annotations(folder, found, category, folder)


def files_below(folder: Path) -> list[Path]:
    """The JSON files in a folder and the folders in it."""
    return sorted(folder.rglob("*.json"), key=lambda file: natural(file.as_posix()))


def _annotations(file: Path, contents: Mapping[Path, Any], category: str | None, root: Path) -> Annotations:
    people: list[Labelled] = []
    sizes: dict[str, Size] = {}
    others = 0
    for source, content in contents.items():
        name = picture_name(str(content["imagePath"]))
        below = source.parent.relative_to(root).as_posix()
        image = name if below == "." else f"{below}/{name}"
        if type(content.get("imageWidth")) is int and type(content.get("imageHeight")) is int:
            sizes[image] = (content["imageWidth"], content["imageHeight"])
        marks, frames = [], []
        for row, shape in enumerate(content["shapes"]):
            where = f"{source}: shape {row}"
            if not isinstance(shape, dict):
                raise ValueError(f"{where} is no object")
            kind, group = shape.get("shape_type", "polygon"), shape.get("group_id")
            if kind not in ("point", "rectangle"):
                others += 1
                continue
            points = _points(shape, where)
            if kind == "point" and len(points) == 1:
                hidden = _flag(shape, "occluded") or _flag(shape, "hidden")
                marks.append(Mark(str(shape.get("label")), (*points[0], visible(hidden)), group))
            elif kind == "rectangle" and len(points) in (2, 4):
                corners = [*map(min, zip(*points, strict=True)), *map(max, zip(*points, strict=True))]
                box = box_of_corners(*corners)
                frames.append(LabelledBox(box, group, str(shape.get("label") or "")))
            else:
                raise ValueError(f"{where} is a {kind} of {len(points)} points")
        people += grouped(str(source), image, marks, frames)
    log_left_out(file, {"shapes that are neither points nor rectangles": others})
    hidden = any(point[2] == 1 for person in people for point in person.points.values())
    return annotations_of(
        file, FORM, without_kinds(people), category=category, sizes=sizes, tells_hidden=hidden
    )


def _flag(shape: Mapping[str, Any], name: str) -> bool:
    flags = shape.get("flags")
    return isinstance(flags, dict) and bool(flags.get(name))


def _points(shape: Mapping[str, Any], where: str) -> list[tuple[float, float]]:
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError(f"{where}: 'points' is not a list of pairs of x and y")
    return [(number(p[0], f"{where}: x"), number(p[1], f"{where}: y")) for p in points]
