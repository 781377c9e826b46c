"""YOLO-pose: a `data.yaml` with `kpt_shape`, folders of pictures, and a text file of labels for each.

A line is a class, a box and the joints, all as shares of the picture's width and height, so the headers of
the pictures are opened for their sizes. `flip_idx` tells the flip pairs; `kpt_names`, where it is there, the
joints, which are numbered else. The splits are `train`, `val` and `test`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hourglass.core.structs import OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import (
    Box,
    Joints,
    Labelled,
    Point,
    Size,
    annotations_of,
    natural,
    number,
)
from hourglass.data.formats.read_files import listed, read_yaml
from hourglass.data.loading.images import image_size

FORM = "yolo"

_SPLITS = ("train", "val", "test")
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".mpo", ".dng"}


def is_yolo(content: Mapping[str, Any]) -> bool:
    """Whether a YAML file's content describes a set of pictures with joints."""
    return "kpt_shape" in content


def read_data_yaml(file: Path, category: str | None = None) -> Annotations:
    """The people or animals of all splits.

    Args:
        category: a class; several are read together.

    Raises ValueError or FileNotFoundError naming the file, the line and the field, ImageError for a picture
    whose size can't be read.
    """
    settings = read_yaml(file)
    if not isinstance(settings, dict) or not is_yolo(settings):
        raise ValueError(f"{file} has no 'kpt_shape', as YOLO's data.yaml for poses has")
    joints, values = _joints(settings, file)
    root = file.parent / str(settings.get("path") or ".")
    if not root.is_dir():
        root = file.parent  # such files often name a folder of the machine that they were made on
    classes = _classes(settings)
    people: list[Labelled] = []
    sizes: dict[str, Size] = {}
    bare = 0
    for split in _SPLITS:
        for picture in _pictures(root, settings.get(split), file, split):
            labels = _labels_of(picture)
            if not labels.is_file():
                bare += 1
                continue
            name = Path(os.path.relpath(picture, root)).as_posix()
            size = sizes.setdefault(name, image_size(picture))
            people += _people(labels, name, size, joints, values, classes, split)
    if not people:
        raise ValueError(
            f"{file}: no picture of {listed([s for s in _SPLITS if settings.get(s)])} has labels"
        )
    log_left_out(file, {"pictures without a file of labels": bare})
    kinds = dict.fromkeys(person.kind for person in people)
    return annotations_of(
        file,
        FORM,
        people,
        dict.fromkeys(kinds, joints),
        category=category,
        sizes=sizes,
        tells_hidden=values == 3,
    )


def _joints(settings: Mapping[str, Any], file: Path) -> tuple[Joints, int]:
    shape = settings["kpt_shape"]
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)):
        raise ValueError(f"{file}: 'kpt_shape' is {shape!r}, not [joints, 2 or 3]")
    count, values = shape
    if not 0 < count <= 10_000 or values not in (2, 3):
        raise ValueError(f"{file}: 'kpt_shape' is {shape!r}, not [joints, 2 or 3]")
    told = settings.get("kpt_names")
    told = next(iter(told.values()), None) if isinstance(told, dict) and told else told
    names = [f"keypoint_{row}" for row in range(count)]
    if isinstance(told, list):
        if len(told) != count:
            raise ValueError(f"{file}: 'kpt_names' lists {len(told)} joints, 'kpt_shape' says {count}")
        names = [str(name) for name in told]
    order = settings.get("flip_idx")
    if order is None:
        return Joints(names), values
    if (
        not isinstance(order, list)
        or sorted(map(str, order)) != sorted(map(str, range(count)))
        or any(order[order[row]] != row for row in range(count))
    ):
        raise ValueError(
            f"{file}: 'flip_idx' is {order!r}; each joint must name its mirror image, 0 to {count - 1}"
        )
    return Joints(
        names, [(names[row], names[other]) for row, other in enumerate(order) if row < other]
    ), values


def _classes(settings: Mapping[str, Any]) -> dict[int, str]:
    names = settings.get("names")
    if isinstance(names, list):
        return {row: str(name) for row, name in enumerate(names)}
    return (
        {int(row): str(name) for row, name in names.items() if str(row).isdigit()}
        if isinstance(names, dict)
        else {}
    )


def _pictures(root: Path, entry: Any, file: Path, split: str) -> Iterator[Path]:
    """The pictures of a split: of a folder, a list of pictures, or several of these."""
    if not entry:
        return
    for part in entry if isinstance(entry, list) else [entry]:
        # Exports write ../train/images, though the folder lies beside the file.
        place = next(
            (p for p in (root / str(part), root / str(part).removeprefix("../")) if p.exists()), None
        )
        if place is None:
            raise FileNotFoundError(f"{file}: there is no {root / str(part)}, which it names as {split!r}")
        if place.is_dir():
            found = [path for path in place.rglob("*") if path.suffix.lower() in _ENDINGS]
            yield from sorted(found, key=lambda path: natural(path.as_posix()))
        else:
            for line in place.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    yield root / line.strip()


def _labels_of(picture: Path) -> Path:
    """The text file of a picture: under `labels` instead of the last `images` of its path, or beside it."""
    parts = list(picture.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _people(
    labels: Path,
    image: str,
    size: Size,
    joints: Joints,
    values: int,
    classes: Mapping[int, str],
    split: str,
) -> Iterator[Labelled]:
    width, height = size
    wanted = 5 + len(joints.names) * values
    for row, line in enumerate(labels.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        where = f"{labels}, line {row}"
        if len(cells) != wanted:
            raise ValueError(
                f"{where} has {len(cells)} numbers; a class, a box and {len(joints.names)} joints of "
                f"{values} make {wanted}"
            )
        numbers = [number(cell, f"{where}, number {n}") for n, cell in enumerate(cells, 1)]
        x, y, w, h = numbers[1:5]
        box: Box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        points: dict[str, Point] = {}
        for joint, start in zip(joints.names, range(5, wanted, values), strict=True):
            flag = numbers[start + 2] if values == 3 else 2 * any(numbers[start : start + 2])
            if flag not in (0, 1, 2):
                raise ValueError(f"{where}: the visibility of {joint} is {flag:g}; expected 0, 1 or 2")
            if flag == 0:
                continue
            across, down = numbers[start], numbers[start + 1]
            if max(abs(across), abs(down)) > 2:
                raise ValueError(
                    f"{where}: {joint} lies at {across:g}, {down:g}; YOLO's coordinates are shares of the "
                    "picture's width and height"
                )
            points[joint] = (across * width, down * height, OCCLUDED if flag == 1 else VISIBLE)
        yield Labelled(where, image, points, box, split, classes.get(int(numbers[0]), str(int(numbers[0]))))
