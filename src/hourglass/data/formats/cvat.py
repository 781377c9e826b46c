"""CVAT's own XML, "CVAT for images": skeletons, or single points with boxes.

A skeleton's points are its joints; `outside` is not labelled, `occluded` is hidden. The joints of a skeleton
stand in the file's head in order. Points outside skeletons are joints by their label, and belong together by
their group, or by the box that they lie in. CVAT's COCO export is read as any COCO file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.labelled import (
    Joints,
    Labelled,
    LabelledBox,
    Mark,
    Point,
    Size,
    annotations_of,
    box_of_corners,
    grouped,
    number,
    picture_name,
    visible,
    without_kinds,
)
from hourglass.data.formats.read_files import check_file

FORM = "cvat"


def read_xml(file: Path, category: str | None = None) -> Annotations:
    """The people or animals of a file.

    Args:
        category: the label of a skeleton, or of a box around points.

    Raises ValueError naming the file, the picture and the field.
    """
    import defusedxml.ElementTree
    from defusedxml import DefusedXmlException

    check_file(file, "labels")
    try:
        root = defusedxml.ElementTree.parse(file).getroot()
    except (defusedxml.ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise ValueError(f"{file} is no XML file that can be read ({error})") from error
    if root is None or root.tag != "annotations" or root.find("image") is None:
        reason = "it holds no <image>"
        if root is not None and root.find("track") is not None:
            reason = "it is CVAT's form for videos; export the task as 'CVAT for images' or 'COCO keypoints'"
        raise ValueError(f"{file} is not CVAT's XML for images: {reason}")
    people: list[Labelled] = []
    sizes: dict[str, Size] = {}
    boxed = False
    for row, image in enumerate(root.iter("image")):
        where = f"{file}: image {image.get('name', f'in row {row}')!r}"
        name = picture_name(image.get("name") or "")
        if not name:
            raise ValueError(f"{where} has no name")
        size = (int(number(image.get(side, "0"), f"{where}: {side}")) for side in ("width", "height"))
        width, height = size
        if width > 0 and height > 0:
            sizes[name] = (width, height)
        split = _split(image.get("subset", ""))
        frames = list(_frames(image, where))
        skeletons = list(_skeletons(image, name, where, split, frames))
        marks = list(_marks(image, where))
        if marks:
            loose = grouped(where, name, marks, frames, split)
            boxed = boxed or bool(loose)
            people += loose
        people += skeletons
    listed = {kind: Joints(joints) for kind, joints in _listed(root)}
    kinds = {person.kind for person in people}
    if boxed and not kinds & listed.keys():
        people = without_kinds(people)
    joints = {kind: joints for kind, joints in listed.items() if kind in kinds}
    return annotations_of(
        file, FORM, people, joints or None, category=category, sizes=sizes, tells_hidden=True
    )


def _split(subset: str) -> str:
    word = subset.strip().lower()
    return {"validation": "val", "valid": "val"}.get(word, word if word in ("train", "val", "test") else "")


def _listed(root: Any) -> Iterator[tuple[str, list[str]]]:
    """Each skeleton's label and its joints, in the order of the file's head."""
    joints: dict[str, list[str]] = {}
    for label in root.iter("label"):
        name, parent = label.findtext("name"), label.findtext("parent")
        if name and parent:
            joints.setdefault(parent.strip(), []).append(name.strip())
    yield from joints.items()


def _skeletons(
    image: Any, name: str, where: str, split: str, frames: list[LabelledBox]
) -> Iterator[Labelled]:
    boxes = {frame.group: frame.box for frame in frames if frame.group is not None}
    for number_, skeleton in enumerate(image.findall("skeleton"), 1):
        label = f"{where}, skeleton {number_}"
        points: dict[str, Point] = {}
        for point in skeleton.iter("points"):
            if point.get("outside") == "1":
                continue
            joint = point.get("label") or ""
            if joint in points:
                raise ValueError(f"{label}: {joint!r} is there twice")
            [points[joint]] = _coordinates(point, f"{label}: {joint!r}")
        yield Labelled(label, name, points, boxes.get(_group(skeleton)), split, skeleton.get("label") or "")


def _marks(image: Any, where: str) -> Iterator[Mark]:
    for points in image.findall("points"):
        label = points.get("label") or ""
        found = _coordinates(points, f"{where}: {label!r}", single=False)
        if points.get("outside") == "1":
            continue
        if len(found) == 1:
            yield Mark(label, found[0], _group(points))
            continue
        # One shape of many points: its label names the whole, and the points count from 1.
        for place, point in enumerate(found, 1):
            yield Mark(f"{label} {place}", point, ("shape", id(points)))


def _frames(image: Any, where: str) -> Iterator[LabelledBox]:
    for box in image.findall("box"):
        corners = [
            number(box.get(side), f"{where}: {side!r} of a box") for side in ("xtl", "ytl", "xbr", "ybr")
        ]
        yield LabelledBox(box_of_corners(*corners), _group(box), box.get("label") or "")


def _group(shape: Any) -> str | None:
    group = shape.get("group_id")
    return group if group not in (None, "", "0") else None


def _coordinates(shape: Any, where: str, single: bool = True) -> list[Point]:
    found = []
    for pair in (shape.get("points") or "").split(";"):
        parts = pair.split(",")
        if len(parts) != 2:
            raise ValueError(f"{where}: 'points' is {shape.get('points')!r}, not pairs of x,y")
        x, y = (number(part, f"{where}: 'points'") for part in parts)
        found.append((x, y, visible(shape.get("occluded") == "1")))
    if single and len(found) != 1:
        raise ValueError(f"{where} has {len(found)} points; a joint is one")
    return found
