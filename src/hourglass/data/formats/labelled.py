"""What the readers of labelling tools share: people as named points, and `Annotations` of them.

Such files give each picture its points by name, or a table of them. Coordinates are taken as the tool writes
them, in pixels of the picture, whole numbers being pixels' indexes as in COCO's files. Tools that count from
the picture's corner instead, where the middle of the first pixel is 0.5, don't say so in their files, and
their COCO exports don't move the points either.
"""

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from hourglass.core.skeleton import Pair, Skeleton
from hourglass.core.structs import OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.read_files import FARTHEST_PX, listed

Point = tuple[float, float, int]
"""x, y and COCO's visibility, 1 or 2."""

Box = tuple[float, float, float, float]
"""x, y, width, height."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class Labelled:
    """One person or animal.

    Args:
        where: what to call it in messages.
        image: name of the picture, below the folder of pictures.
        points: the labelled joints.
        box: where the file has one.
        split: `train`, `val`, `test`, or "" where the file tells none.
        kind: what the file calls such a one (species, class, skeleton), or "".
    """

    where: str
    image: str
    points: Mapping[str, Point]
    box: Box | None = None
    split: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Mark:
    """A labelled point of a picture; `group` says whose it is, None where the tool doesn't."""

    joint: str
    point: Point
    group: Hashable = None


@dataclass(frozen=True)
class LabelledBox:
    """A box that was drawn in a picture; `group` as of `Mark`, `kind` its label."""

    box: Box
    group: Hashable = None
    kind: str = ""


@dataclass(frozen=True)
class Joints:
    """What a file says of the joints of one kind.

    Args:
        names: in the file's order.
        flip_pairs: None where it tells none.
        limbs: pairs to draw a line between.
    """

    names: Sequence[str]
    flip_pairs: Sequence[Pair] | None = None
    limbs: Sequence[Pair] = ()


def annotations_of(
    file: Path,
    form: str,
    people: Sequence[Labelled],
    joints: Mapping[str, Joints] | None = None,
    *,
    name: str = "",
    category: str | None = None,
    sizes: Mapping[str, Size] | None = None,
    tells_hidden: bool = False,
) -> Annotations:
    """The people of a file of a labelling tool, numbered from 1; who has no labelled joint is left out.

    Several kinds with the same joints are read together.

    Args:
        form: one of `annotations.FORMS`.
        joints: by kind, where the file lists them; else they are those that are labelled, in the order of
            the alphabet, so that two files of one project agree.
        name: of the skeleton; else the kind, or the file's name.
        category: read only this kind.
        sizes: of pictures by name, as the file states them.
        tells_hidden: whether hidden joints are told from visible ones.

    Raises ValueError naming the file, the person and the joint.
    """
    labelled = [person for person in people if person.points]
    if not labelled:
        raise ValueError(f"{file} labels no joint of anybody")
    log_left_out(file, {"people without labelled joints": len(people) - len(labelled)})
    kinds = list(dict.fromkeys(person.kind for person in labelled))
    if category is not None:
        if category not in kinds:
            raise ValueError(
                f"{file} has no category {category!r} with labelled joints; it has {listed(kinds)}"
            )
        kinds = [category]
    told = [_joints_of(kind, labelled, joints) for kind in kinds]
    if any((one.names, one.flip_pairs) != (told[0].names, told[0].flip_pairs) for one in told):
        raise ValueError(
            f"{file} has several categories with different joints; choose one with --category: "
            f"{listed(kinds)}"
        )
    title = name or (kinds[0] if len(kinds) == 1 and kinds[0] else file.stem)
    skeleton = Skeleton.of_names(title, told[0].names, told[0].flip_pairs, told[0].limbs)
    return _arrays(file, form, [p for p in labelled if p.kind in kinds], skeleton, sizes or {}, tells_hidden)


def _joints_of(kind: str, people: Sequence[Labelled], joints: Mapping[str, Joints] | None) -> Joints:
    if joints is not None and kind in joints:
        listed_ones = tuple(joints[kind].names)
        for person in people:
            for joint in person.points:
                if person.kind == kind and joint not in listed_ones:
                    raise ValueError(
                        f"{person.where}: {joint!r} is none of the joints that the file lists: "
                        f"{listed(listed_ones)}"
                    )
        return Joints(listed_ones, joints[kind].flip_pairs, joints[kind].limbs)
    # Kinds of which nothing is listed share the joints that any of them has.
    unlisted = [person for person in people if joints is None or person.kind not in joints]
    return Joints(tuple(sorted({joint for person in unlisted for joint in person.points}, key=natural)))


def _arrays(
    file: Path,
    form: str,
    people: Sequence[Labelled],
    skeleton: Skeleton,
    sizes: Mapping[str, Size],
    tells_hidden: bool,
) -> Annotations:
    rows = {joint: row for row, joint in enumerate(skeleton.joints)}
    keypoints = np.zeros((len(people), len(rows), 2))
    visibility = np.zeros((len(people), len(rows)), np.uint8)
    box = np.full((len(people), 4), np.nan)
    for n, person in enumerate(people):
        for joint, (x, y, seen) in person.points.items():
            for value in (x, y):
                check_number(value, f"{person.where}: {joint}")
            keypoints[n, rows[joint]], visibility[n, rows[joint]] = (x, y), seen
        if person.box is not None and min(person.box[2:]) > 0:
            for value in person.box:
                check_number(value, f"{person.where}: the box")
            box[n] = person.box
    center, side_px = made_crops(keypoints, visibility > 0, box)
    return Annotations(
        file=file,
        form=form,
        what=file.name,
        skeleton=skeleton,
        where=[person.where for person in people],
        names=[person.image for person in people],
        ids=np.arange(1, len(people) + 1, dtype=np.int64),
        splits=[person.split for person in people],
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=tells_hidden,
        origin=0,
        center=center,
        side_px=side_px,
        box=None if np.isnan(box).all() else box,
        sizes=dict(sizes),
    )


def grouped(
    where: str, image: str, marks: Sequence[Mark], frames: Sequence[LabelledBox] = (), split: str = ""
) -> list[Labelled]:
    """The people of one picture out of its points and boxes.

    Points of one group are one person's. Points without a group are one person's too where no name occurs
    twice; else each belongs to the one box that it lies in.

    Raises ValueError naming the picture and the joint when nothing tells whose a point is.
    """
    sets: dict[Hashable, list[Mark]] = {}
    boxes: dict[Hashable, LabelledBox] = {}
    for frame in frames:
        if frame.group is not None:
            boxes.setdefault(frame.group, frame)
    loose = [frame for frame in frames if frame.group is None]
    free = [mark for mark in marks if mark.group is None]
    for mark in marks:
        if mark.group is not None:
            sets.setdefault(mark.group, []).append(mark)
    if len({mark.joint for mark in free}) == len(free) and len(loose) < 2:
        if free:
            sets[None] = free
            if loose:
                boxes[None] = loose[0]
    else:
        for mark in free:
            inside = [n for n, frame in enumerate(loose) if _holds(frame.box, mark.point)]
            if len(inside) != 1:
                raise ValueError(
                    f"{where}: nothing tells whose {mark.joint!r} at {mark.point[0]:g}, {mark.point[1]:g} "
                    "is; give the points of each animal or person a group, or a box that no other overlaps"
                )
            key = ("box", inside[0])
            sets.setdefault(key, []).append(mark)
            boxes[key] = loose[inside[0]]
    found = []
    for number, (group, members) in enumerate(sets.items(), 1):
        label = where if len(sets) == 1 else f"{where}, {number}"
        points: dict[str, Point] = {}
        for mark in members:
            if mark.joint in points:
                raise ValueError(f"{label}: {mark.joint!r} is there twice")
            points[mark.joint] = mark.point
        own = boxes.get(group)
        found.append(Labelled(label, image, points, own.box if own else None, split, own.kind if own else ""))
    return found


def _holds(box: Box, point: Point) -> bool:
    return box[0] <= point[0] <= box[0] + box[2] and box[1] <= point[1] <= box[1] + box[3]


def without_kinds(people: Iterable[Labelled]) -> list[Labelled]:
    """The same people with nothing said of their kind, for files where only some have one."""
    found = list(people)
    if all(person.kind for person in found):
        return found
    return [replace(person, kind="") for person in found]


def box_of_corners(x1: float, y1: float, x2: float, y2: float) -> Box:
    """x, y, width and height of a box that was drawn from any corner."""
    return min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)


def visible(hidden: object) -> int:
    """COCO's visibility of a labelled joint."""
    return OCCLUDED if hidden else VISIBLE


def number(value: Any, where: str) -> float:
    """A number, also written as text; raises ValueError naming where it stands."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{where} is {value!r}, not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where} is {value!r}, not a number") from error
    check_number(found, where)
    return found


def check_number(value: float, where: str) -> None:
    """Raise ValueError unless it is a number of pixels that a picture may have."""
    if not math.isfinite(value) or abs(value) >= FARTHEST_PX:
        raise ValueError(f"{where} is {value:g}, where no picture reaches")


def picture_name(text: str) -> str:
    """A picture's name as a path with slashes, below any folder: no drive, no host, no leading slash."""
    name = text.strip().replace("\\", "/")
    name = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*/", "", name)
    name = re.sub(r"^[A-Za-z]:", "", name)
    return name.lstrip("/")


def picture_of_address(text: str) -> str:
    """As `picture_name`, of an address in which odd letters are written with %."""
    return picture_name(unquote(text))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts names as people do, numbers in them by their size."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts)
