"""What the user names on the command line, as picture files, and people's boxes from a JSON file."""

import glob
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENDINGS = ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "gif", "ppm", "pgm")
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
"""A folder's or glob's files count as pictures by these endings; a file named in full always does."""

PERSON_CATEGORY = 1
"""COCO's id of the category person."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture; the whole picture is (0, 0, W, H)."""


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """The picture files behind files, folders (one level) and globs, each once, a folder's in sorted order.

    Raises FileNotFoundError, naming the path, for one that doesn't exist or holds no pictures.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for file in _expand_one(str(path)):
            found.setdefault(file)
    return list(found)


def _expand_one(name: str) -> list[Path]:
    path = Path(name)
    # A name that exists is meant as it stands, brackets and all.
    if path.is_dir():
        pictures = _pictures(path.iterdir())
        if not pictures:
            raise FileNotFoundError(f"the folder {path} holds no pictures ({', '.join(_ENDINGS)})")
        return pictures
    if path.exists():
        return [path]
    if glob.has_magic(name):
        pictures = _pictures(Path(match) for match in glob.glob(name, recursive=True))
        if not pictures:
            raise FileNotFoundError(f"no picture matches {name}")
        return pictures
    raise FileNotFoundError(f"there is no file or folder {name}")


def _pictures(paths: Any) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def parse_box(text: str) -> Box:
    """`x,y,w,h` as a box; raises ValueError naming what is wrong."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise ValueError(f"the box {text!r} is not x,y,w,h: {error}") from error
    return _box(numbers, f"the box {text!r}")


@dataclass(frozen=True)
class BoxFile:
    """Boxes from a file, by the names their rows give: file name, its stem, or a numeric image id."""

    boxes: Mapping[str, tuple[Box, ...]]
    image_ids: Mapping[str, int | str]

    def of(self, path: Path) -> tuple[Box, ...]:
        """The boxes of a picture, found by its path, name, stem or number, in that order; none is ()."""
        key = self._key(path)
        return () if key is None else self.boxes[key]

    def image_id(self, path: Path) -> int | str | None:
        """The `image_id` that the file uses for a picture, or None."""
        key = self._key(path)
        return None if key is None else self.image_ids.get(key)

    def _key(self, path: Path) -> str | None:
        parts = path.as_posix().split("/")
        tails = ["/".join(parts[i:]) for i in range(len(parts))]
        number = [str(int(path.stem))] if path.stem.isascii() and path.stem.isdigit() else []
        for key in (*tails, path.stem, *number):
            if key in self.boxes:
                return key
        # A row may name more folders than the path does.
        longer = [key for key in self.boxes if key.endswith(f"/{path.as_posix()}")]
        return longer[0] if len(longer) == 1 else None


def read_boxes(path: Path) -> BoxFile:
    """Read people's boxes from JSON.

    The file is a list of rows, such as a detector's COCO results, or a COCO annotation file. A row has
    `bbox` ([x, y, width, height]) and names its picture by `file_name` or `image_id`. Rows of another
    `category_id` than COCO's person (1) are left out.

    Raises FileNotFoundError when there is no such file, and ValueError naming the file, and the row and
    field at fault.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no box file {path}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    rows, names, person = _rows(raw, path)
    boxes: dict[str, list[Box]] = {}
    image_ids: dict[str, int | str] = {}
    for i, row in enumerate(rows):
        where = f"{path}, row {i}"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: not an object but {type(row).__name__}")
        if row.get("category_id", person) != person:
            continue
        key = _row_key(row, names, where)
        boxes.setdefault(key, []).append(_row_box(row, where))
        if "image_id" in row:
            image_ids[key] = row["image_id"]
    if not boxes:
        raise ValueError(f"{path} holds no boxes of people")
    return BoxFile({key: tuple(value) for key, value in boxes.items()}, image_ids)


def _rows(raw: Any, path: Path) -> tuple[list[Any], dict[Any, str], Any]:
    """A file's rows, its file names by image id, and its id of the category person."""
    if isinstance(raw, list):
        return raw, {}, PERSON_CATEGORY
    if not isinstance(raw, Mapping) or not isinstance(raw.get("annotations"), list):
        raise ValueError(f"{path} is neither a list of rows nor an object with 'annotations'")
    names: dict[Any, str] = {}
    for i, image in enumerate(_objects(raw, "images", path)):
        if not isinstance(image.get("id"), int | str):
            raise ValueError(f"{path}, images, row {i}: 'id' is {image.get('id')!r}, no number or name")
        names[image["id"]] = str(image.get("file_name", image["id"]))
    people = [c.get("id") for c in _objects(raw, "categories", path) if c.get("name") == "person"]
    return raw["annotations"], names, people[0] if people else PERSON_CATEGORY


def _objects(raw: Mapping[str, Any], field: str, path: Path) -> list[Mapping[str, Any]]:
    rows = raw.get(field) or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"{path}: '{field}' is not a list of objects")
    return rows


def _row_key(row: Mapping[str, Any], names: Mapping[Any, str], where: str) -> str:
    if "file_name" in row:
        if not isinstance(row["file_name"], str) or not row["file_name"]:
            raise ValueError(f"{where}: 'file_name' is {row['file_name']!r}, not a name")
        return str(row["file_name"])
    image_id = row.get("image_id")
    if isinstance(image_id, bool) or not isinstance(image_id, int | str) or image_id == "":
        raise ValueError(f"{where}: 'image_id' or 'file_name' must name the picture")
    return names.get(image_id, str(image_id))


def _row_box(row: Mapping[str, Any], where: str) -> Box:
    if "bbox" not in row:
        raise ValueError(f"{where}: 'bbox' is missing")
    return _box(row["bbox"], f"{where}: 'bbox'")


def _box(values: Any, where: str) -> Box:
    good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 4
    if not good or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{where} must be four numbers, x, y, width and height, not {values!r}")
    x, y, width, height = (float(v) for v in values)
    if not all(math.isfinite(v) for v in (x, y, width, height)):
        raise ValueError(f"{where} holds a number that is not finite")
    if width <= 0 or height <= 0:
        raise ValueError(f"{where} is {width:g} wide and {height:g} high; both must be positive")
    return x, y, width, height
