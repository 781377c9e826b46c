"""Poses as a long table, a row for each joint of each person: CSV and pandas.

| column | |
|---|---|
| `image` | what the picture is called; empty where nobody said; `frame` in a video's table |
| `person` | tells the people of a picture apart; written as numbers from 0 on |
| `joint` | its name |
| `x`, `y`, `score` | as in `Pose`, to four decimals |
| `confidence` | only where some pose has confidences |
| `cov_xx`, `cov_xy`, `cov_yy` | only where some pose has covariances |
| `box_x`, `box_y`, `box_width`, `box_height` | `Pose.box`, the same in each of a person's rows |
| `box_score` | likewise; only where some pose has one |

A picture without people has no row. Read again, a table may have its rows in any order and further columns,
which are left aside; without the box's columns a box is the square around the joints.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import numpy as np

from hourglass.core.extras import missing
from hourglass.core.files import write_atomically
from hourglass.core.skeleton import SKELETONS, Skeleton
from hourglass.data.formats.read_files import check_file, listed, read_csv
from hourglass.inference.poses.key_points import one_skeleton, square_around
from hourglass.inference.poses.pose import Pose

if TYPE_CHECKING:
    import pandas

_NEEDED = ("person", "joint", "x", "y", "score")
_COVARIANCE = ("cov_xx", "cov_xy", "cov_yy")
_BOX = ("box_x", "box_y", "box_width", "box_height")
_LARGEST = 3e38
"""What float32 holds."""

_Row = Mapping[str, Any]


def save_csv(poses: Sequence[Pose], path: str | Path) -> None:
    """Write poses as CSV (UTF-8, commas, one header line), atomically.

    Raises ValueError when the skeletons differ, OSError naming the file when it can't be written.
    """
    columns = _columns(poses)

    def write(part: Path) -> None:
        # A file's name may be no UTF-8; its bytes are kept as the system has them.
        with open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            table.writerow(columns)
            for row in _rows(poses):
                # Python quotes a lone carriage return from 3.13 on only.
                returns = any("\r" in str(row[name]) for name in ("image", "joint"))
                (quoted if returns else table).writerow([row[name] for name in columns])

    write_atomically(Path(path), write)


def load_csv(path: str | Path, skeleton: Skeleton | None = None) -> list[Pose]:
    """Read poses from CSV: everybody in the order of their first rows.

    Args:
        skeleton: names the joints; by default the built-in one with exactly the joints of the table.

    Raises ValueError or FileNotFoundError naming the file, and the line and the column at fault.
    """
    path = Path(path)
    check_file(path, "joints")
    columns, lines = read_csv(path)
    rows = [(where, dict(zip(columns, cells, strict=True))) for where, cells in lines]
    return _poses(rows, columns, f"{path}", skeleton)


def to_pandas(poses: Sequence[Pose]) -> "pandas.DataFrame":
    """The table as a DataFrame, with the same columns and digits as the CSV file.

    Raises ValueError when the skeletons differ, or pandas is not installed.
    """
    pandas = _pandas()
    columns, rows = _columns(poses), list(_rows(poses))
    table = {name: [row[name] for row in rows] for name in columns}
    try:
        return pandas.DataFrame(table)
    except UnicodeEncodeError:
        # A file's name may be no UTF-8, which Arrow's strings can't hold.
        return pandas.DataFrame({**table, "image": pandas.Series(table["image"], dtype=object)})


def from_pandas(frame: "pandas.DataFrame", skeleton: Skeleton | None = None) -> list[Pose]:
    """The inverse of `to_pandas`; what is missing (None, NaN, NA) is an empty cell, the index doesn't count.

    Args:
        skeleton: as in `load_csv`.

    Raises ValueError naming the row, by its index, and the column at fault.
    """
    columns = [str(column) for column in frame.columns]
    cells = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    labels = [f"row {label}" for label in frame.index.tolist()]
    rows = [(label, dict(zip(columns, row, strict=True))) for label, row in zip(labels, cells, strict=True)]
    return _poses(rows, columns, "the table", skeleton)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ValueError(missing("a table for pandas", "pandas", error)) from error
    return pandas


def joint_columns(poses: Sequence[Pose]) -> list[str]:
    """From `joint` on, the columns that tell all of these poses' joints."""
    confidence = ["confidence"] if any(pose.confidences is not None for pose in poses) else []
    covariance = _COVARIANCE if any(pose.covariances is not None for pose in poses) else ()
    return ["joint", "x", "y", "score", *confidence, *covariance]


def joint_cells(pose: Pose) -> Iterator[dict[str, Any]]:
    """Each joint's cells by column, with the digits that `Pose.to_dict` gives it; None is an empty one."""
    for name, joint in pose.to_dict()["joints"].items():
        (xx, xy), (_, yy) = joint.get("covariance", ((None, None), (None, None)))
        place = {column: joint.get(column) for column in ("x", "y", "score", "confidence")}
        yield {"joint": name, **place, **dict(zip(_COVARIANCE, (xx, xy, yy), strict=True))}


def _columns(poses: Sequence[Pose]) -> list[str]:
    if poses:
        one_skeleton(poses)
    box_score = ["box_score"] if any(pose.box_score is not None for pose in poses) else []
    return ["image", "person", *joint_columns(poses), *_BOX, *box_score]


def _rows(poses: Sequence[Pose]) -> Iterator[dict[str, Any]]:
    numbers: dict[str | None, Iterator[int]] = {}
    for pose in poses:
        person = next(numbers.setdefault(pose.image_id, count()))
        raw = pose.to_dict()
        box = {**dict(zip(_BOX, raw["box"], strict=True)), "box_score": raw.get("box_score")}
        for cells in joint_cells(pose):
            yield {"image": pose.image_id, "person": person, **cells, **box}


def _poses(
    rows: Iterable[tuple[str, _Row]], columns: Sequence[str], table: str, skeleton: Skeleton | None
) -> list[Pose]:
    """The people of a table's rows, each with what to call it in messages."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ValueError(f"{table} has the column {twice[0]!r} twice")
    wanted = [*_NEEDED, *(_BOX if set(_BOX) & set(columns) else ())]
    wanted += _COVARIANCE if set(_COVARIANCE) & set(columns) else ()
    for column in wanted:
        if column not in columns:
            raise ValueError(f"{table} has no column {column!r}; it has {listed(columns, 16)}")
    picture = "frame" if "frame" in columns and "image" not in columns else "image"
    people: dict[tuple[str | None, str], dict[str, tuple[str, _Row]]] = {}
    for where, row in rows:
        image, person, joint = (_text(row.get(column)) for column in (picture, "person", "joint"))
        if person is None or joint is None:
            raise ValueError(f"{where}: '{'joint' if person else 'person'}' is empty")
        joints = people.setdefault((image, person), {})
        if joint in joints:
            raise ValueError(f"{where}: person {person}{_of(image)} has the joint {joint!r} already")
        joints[joint] = (where, row)
    if skeleton is None and people:
        skeleton = _known_skeleton(people.values(), table)
    return [_pose(image, joints, skeleton) for (image, _), joints in people.items() if skeleton is not None]


def _known_skeleton(people: Iterable[Mapping[str, Any]], table: str) -> Skeleton:
    names = list(dict.fromkeys(name for joints in people for name in joints))
    for skeleton in SKELETONS.values():
        if set(skeleton.joints) == set(names):
            return skeleton
    raise ValueError(
        f"{table} has the joints {listed(names, 20)}, which are those of no built-in skeleton; give skeleton="
    )


def _pose(image: str | None, joints: Mapping[str, tuple[str, _Row]], skeleton: Skeleton) -> Pose:
    first, head = next(iter(joints.values()))
    for name, (where, _) in joints.items():
        if name not in skeleton.joints:
            raise ValueError(f"{where}: skeleton {skeleton.name!r} has no joint {name!r}")
    for name in skeleton.joints:
        if name not in joints:
            raise ValueError(f"{first}: the person who begins here{_of(image)} has no row for {name!r}")
    rows = [joints[name] for name in skeleton.joints]
    places = np.array([[_number(*row, column) for column in ("x", "y", "score")] for row in rows], np.float32)
    keypoints = places[:, :2].copy()
    confidences = _optional(rows, ("confidence",))
    spread = _optional(rows, _COVARIANCE)
    box = [_number(first, head, column) for column in _BOX if _text(head.get("box_x")) is not None]
    box_score = None if _text(head.get("box_score")) is None else _number(first, head, "box_score")
    for column in (*_BOX, "box_score"):
        for where, row in rows:
            if row.get(column) != head.get(column):
                raise ValueError(f"{where}: '{column}' is not that of the person's other rows{_of(image)}")
    try:
        return Pose(
            keypoints=keypoints,
            scores=places[:, 2].copy(),
            skeleton=skeleton,
            box=np.array(box, np.float32) if box else square_around(keypoints),
            image_id=image,
            confidences=None if confidences is None else confidences[:, 0],
            covariances=None if spread is None else spread[:, [[0, 1], [1, 2]]],
            box_score=box_score,
        )
    except ValueError as error:
        raise ValueError(f"{first}: of the person who begins here, {error}") from error


def _optional(rows: Sequence[tuple[str, _Row]], columns: Sequence[str]) -> Any:
    """(J, columns) float32, or None where all these cells are empty."""
    if all(_text(row.get(column)) is None for _, row in rows for column in columns):
        return None
    return np.array([[_number(*row, column) for column in columns] for row in rows], np.float32)


def _text(cell: Any) -> str | None:
    """A cell as text, None where it is empty; a whole number that pandas made a float is whole again."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return None if cell is None or cell == "" else str(cell)


def _number(where: str, row: _Row, column: str) -> float:
    cell = row[column]
    try:
        value = float(cell)
    except (TypeError, ValueError) as error:
        what = "empty" if _text(cell) is None else f"{short(cell)}, not a number"
        raise ValueError(f"{where}: '{column}' is {what}") from error
    if not abs(value) < _LARGEST:
        raise ValueError(f"{where}: '{column}' is {short(cell)}, not a finite number")
    return value


def _of(image: str | None) -> str:
    return "" if image is None else f" of {image}"
