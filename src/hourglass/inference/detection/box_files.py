"""People's boxes from files: a detector's COCO results, COCO annotations, or a table (CSV)."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PERSON_CATEGORY = 1
"""COCO's id of the category person."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture; the whole picture is (0, 0, W, H)."""

_COLUMNS = {
    "file": ("file", "image", "file_name", "image_id"),
    "x": ("x",),
    "y": ("y",),
    "w": ("w", "width"),
    "h": ("h", "height"),
    "score": ("score",),
}
"""What a table needs, but for the score, and the names a column of it may have."""


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
    """Boxes from a file, by the names their rows give: file name, its stem, or a numeric image id.

    A picture may have a name and no boxes: those that its rows have score too little. `scores` holds pictures
    all of whose boxes have one.
    """

    boxes: Mapping[str, tuple[Box, ...]]
    image_ids: Mapping[str, int | str]
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def names(self, path: Path) -> bool:
        """Whether some row is about a picture."""
        return self._key(path) is not None

    def of(self, path: Path) -> tuple[Box, ...]:
        """The boxes of a picture, found by its path, name, stem or number, in that order; none is ()."""
        key = self._key(path)
        return () if key is None else self.boxes[key]

    def scores_of(self, path: Path) -> tuple[float, ...] | None:
        """The scores of a picture's boxes, or None where some has none."""
        key = self._key(path)
        return None if key is None else self.scores.get(key)

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


@dataclass(frozen=True)
class _Row:
    """One person's box, and where it stands for messages."""

    where: str
    key: str
    image_id: int | str | None
    box: Box
    score: float | None


def read_boxes(path: Path, min_score: float | None = None) -> BoxFile:
    """Read people's boxes from JSON, or from CSV where the file's name ends so.

    JSON is a list of rows, such as a detector's COCO results, or a COCO annotation file. A row has `bbox`
    ([x, y, width, height]), perhaps `score`, and names its picture by `file_name` or `image_id`. Rows of
    another `category_id` than COCO's person (1) are left out; of an annotation file without a category person
    those with keypoints count, or all where none has any.

    CSV has a header with the columns file (or image, file_name, image_id), x, y, w and h (or width, height)
    and perhaps score; others are ignored. It is divided by commas, semicolons or tabs.

    Args:
        min_score: boxes that score less are left out.

    Raises FileNotFoundError when there is no such file, and ValueError naming the file, and the row and field
    at fault, a score that is missing for `min_score` included.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no box file {path}")
    rows = list(_csv_rows(path) if path.suffix.lower() in (".csv", ".tsv") else _json_rows(path))
    if not rows:
        raise ValueError(f"{path} holds no boxes of people")
    kept: dict[str, list[_Row]] = {row.key: [] for row in rows}
    for row in rows:
        if min_score is not None and row.score is None:
            raise ValueError(
                f"{row.where}: 'score' is missing, and the lowest one that counts is {min_score:g}"
            )
        if min_score is None or (row.score is not None and row.score >= min_score):
            kept[row.key].append(row)
    scores = {key: tuple(row.score for row in some if row.score is not None) for key, some in kept.items()}
    return BoxFile(
        {key: tuple(row.box for row in some) for key, some in kept.items()},
        {row.key: row.image_id for row in rows if row.image_id is not None},
        {key: some for key, some in scores.items() if len(some) == len(kept[key])},
    )


def _csv_rows(path: Path) -> Iterator[_Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no table in UTF-8: {error}") from error
    header = next((line for line in lines if line.strip()), "")
    table = csv.reader(lines, delimiter=max(",;\t", key=header.count), strict=True)
    columns: dict[str, int] | None = None
    try:
        for cells in table:
            where = f"{path}, line {table.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                names = [cell.strip().lower() for cell in cells]
                columns = _columns(names, where)
                by_id = names[columns["file"]] == "image_id"
                continue
            if len(cells) <= max(columns.values()):
                raise ValueError(f"{where} has {len(cells)} cells; the header has {len(names)}")
            told = {column: cells[place].strip() for column, place in columns.items()}
            if not told["file"]:
                raise ValueError(f"{where}, column {names[columns['file']]}: it must name the picture")
            numbers = {c: _cell(told[c], f"{where}, column {names[columns[c]]}") for c in "xywh"}
            score = _cell(told["score"], f"{where}, column score") if told.get("score") else None
            image_id = (
                int(told["file"]) if told["file"].isascii() and told["file"].isdigit() else told["file"]
            )
            box = _box([numbers[c] for c in "xywh"], f"{where}: the box")
            yield _Row(where, str(image_id), image_id if by_id else None, box, score)
    except csv.Error as error:
        raise ValueError(f"{path}, line {table.line_num}: {error}") from error
    if columns is None:
        raise ValueError(f"{path} is empty; its first line must name the columns file, x, y, w, h")


def _columns(names: Sequence[str], where: str) -> dict[str, int]:
    """Places of the columns; raises ValueError for one that is missing or there twice."""
    places = {}
    for column, known in _COLUMNS.items():
        found = [i for i, name in enumerate(names) if name in known]
        if len(found) > 1:
            raise ValueError(f"{where}: {' and '.join(names[i] for i in found)} both mean {column}")
        if found:
            places[column] = found[0]
        elif column != "score":
            raise ValueError(f"{where}: there is no column {column}; the header must name file, x, y, w, h")
    return places


def _cell(text: str, where: str) -> float:
    try:
        return _finite(float(text), where)
    except ValueError as error:
        raise ValueError(f"{where}: {text!r} is no number") from error


def _json_rows(path: Path) -> Iterator[_Row]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    rows, names, person = _rows(raw, path)
    for i, row in enumerate(rows):
        where = f"{path}, row {i}"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: not an object but {type(row).__name__}")
        if "category_id" in row and row["category_id"] not in person:
            continue
        key, box = _row_key(row, names, where), _row_box(row, where)
        yield _Row(where, key, row.get("image_id"), box, _row_score(row, where))


def _rows(raw: Any, path: Path) -> tuple[list[Any], dict[Any, str], list[Any]]:
    """A file's rows, its file names by image id, and the ids of the categories that boxes are taken of.

    That is person; in annotations that know no person the categories with keypoints, else all of them.
    """
    if isinstance(raw, list):
        return raw, {}, [PERSON_CATEGORY]
    if not isinstance(raw, Mapping) or not isinstance(raw.get("annotations"), list):
        raise ValueError(f"{path} is neither a list of rows nor an object with 'annotations'")
    names: dict[Any, str] = {}
    for i, image in enumerate(_objects(raw, "images", path)):
        if not isinstance(image.get("id"), int | str):
            raise ValueError(f"{path}, images, row {i}: 'id' is {image.get('id')!r}, no number or name")
        names[image["id"]] = str(image.get("file_name", image["id"]))
    categories = _objects(raw, "categories", path)
    people = [c.get("id") for c in categories if c.get("name") == "person"][:1]
    people = people or [c.get("id") for c in categories if c.get("keypoints")]
    people = people or [c.get("id") for c in categories]
    return raw["annotations"], names, people or [PERSON_CATEGORY]


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


def _row_score(row: Mapping[str, Any], where: str) -> float | None:
    score = row.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"{where}: 'score' is {score!r}, not a number")
    return _finite(score, f"{where}: 'score'")


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers know no bounds
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where} holds a number that is not finite")
    return number


def _box(values: Any, where: str) -> Box:
    good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 4
    if not good or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{where} must be four numbers, x, y, width and height, not {values!r}")
    x, y, width, height = (_finite(v, where) for v in values)
    if width <= 0 or height <= 0:
        raise ValueError(f"{where} is {width:g} wide and {height:g} high; both must be positive")
    return x, y, width, height
