"""DeepLabCut's labels, of one animal or several: a CSV or HDF5 file of a video's frames, or a whole project.

Lightning Pose's CSV files are of the same form. The table's head names the person who labelled (`scorer`), in
projects of several animals the `individuals`, then the `bodyparts` and `coords`; a row is a picture, named by
its path below the project in one column or in three. Nothing tells hidden joints. A `likelihood` beside x and
y, as in labels that a network proposed and somebody corrected, is not read.

A project's `config.yaml` lists the joints in order and the lines to draw between them.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import Joints, Labelled, annotations_of, picture_name
from hourglass.data.formats.read_files import MOST_BYTES, check_file, check_pixels, listed, read_yaml

FORM = "deeplabcut"

ANIMALS, UNIQUE = "individual", "single"
"""In a project of several animals: those, and points that are there once, such as a corner of the cage."""

_COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True, eq=False)
class _Table:
    """What a file holds.

    Args:
        columns: (individual, joint, coordinate) of each; the individual is "" in files of one animal.
        pictures: one for each row.
        where: what to call each row.
        values: (rows, columns), NaN where nothing is labelled.
    """

    columns: Sequence[tuple[str, str, str]]
    pictures: Sequence[str]
    where: Sequence[str]
    values: npt.NDArray[np.float64]


def is_project(content: Mapping[str, Any]) -> bool:
    """Whether a YAML file's content is that of a project's `config.yaml`."""
    return "bodyparts" in content or "multianimalbodyparts" in content


def read_csv(file: Path, category: str | None = None) -> Annotations:
    """The animals of a CSV file.

    Args:
        category: `single` reads the unique points of a project of several animals instead of these.

    Raises ValueError naming the file, the line and the joint.
    """
    check_file(file, "labels")
    return _annotations(file, [_csv_table(file)], {}, category)


def read_hdf5(file: Path, category: str | None = None) -> Annotations:
    """As `read_csv`, of the HDF5 file that lies beside it; only its numbers and names are read."""
    check_file(file, "labels")
    return _annotations(file, [_hdf5_table(file)], {}, category)


def read_project(file: Path, category: str | None = None) -> Annotations:
    """The animals of all videos of a project, by its folder or `config.yaml`.

    Raises ValueError or FileNotFoundError naming the file, the line and the joint.
    """
    config_file = file / "config.yaml" if file.is_dir() else file
    config = read_yaml(config_file)
    if not isinstance(config, dict) or not is_project(config):
        raise ValueError(f"{config_file} lists no 'bodyparts', as a DeepLabCut project's config.yaml does")
    tables = []
    for labels in _files_of(config_file.parent, str(config.get("scorer", ""))):
        table = _csv_table(labels) if labels.suffix == ".csv" else _hdf5_table(labels)
        folder = f"labeled-data/{labels.parent.name}"
        names = [name if "/" in name else f"{folder}/{name}" for name in table.pictures]
        tables.append(_Table(table.columns, names, table.where, table.values))
    limbs = [tuple(pair) for pair in _lists(config, "skeleton") if len(pair) == 2]
    joints = {}
    several = bool(config.get("multianimalproject")) or not isinstance(config.get("bodyparts"), list)
    for kind, field in (
        ((ANIMALS, "multianimalbodyparts"), (UNIQUE, "uniquebodyparts")) if several else (("", "bodyparts"),)
    ):
        names = [str(joint) for joint in _lists(config, field)]
        used = dict.fromkeys(
            joint for table in tables for who, joint, _ in table.columns if _kind(who) == kind
        )
        # Joints that were taken off the list since may still be in the tables.
        all_names = [*names, *(joint for joint in used if joint not in names)]
        if all_names:
            joints[kind] = Joints(all_names, limbs=[(str(a), str(b)) for a, b in limbs])
    return _annotations(config_file, tables, joints, category, str(config.get("Task", "")))


def _lists(config: Mapping[str, Any], field: str) -> list[Any]:
    found = config.get(field)
    return found if isinstance(found, list) else []


def _files_of(project: Path, scorer: str) -> list[Path]:
    """One file of labels for each video, that of the project's scorer, CSV before HDF5."""
    root = project / "labeled-data"
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}, where a DeepLabCut project keeps its labels")
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = [*sorted(folder.glob("CollectedData_*.csv")), *sorted(folder.glob("CollectedData_*.h5"))]
        own = [file for file in files if file.stem == f"CollectedData_{scorer}"]
        if not own and len({file.stem for file in files}) > 1:
            raise ValueError(
                f"{folder} holds labels of several people, {listed(sorted({f.stem for f in files}))}, but "
                f"none of {scorer!r}, whom config.yaml names as 'scorer'"
            )
        found += (own or files)[:1]
    if not found:
        raise FileNotFoundError(f"{root} holds no CollectedData_*.csv or .h5: nothing has been labelled yet")
    return found


def _kind(individual: str) -> str:
    return UNIQUE if individual == UNIQUE else ANIMALS if individual else ""


def _annotations(
    file: Path,
    tables: Sequence[_Table],
    joints: Mapping[str, Joints],
    category: str | None,
    name: str = "",
) -> Annotations:
    people = [person for table in tables for person in _people(table)]
    for kind in dict.fromkeys(person.kind for person in people):
        if kind not in joints:
            used = dict.fromkeys(j for table in tables for who, j, _ in table.columns if _kind(who) == kind)
            joints = {**joints, kind: Joints(list(used))}
    several = any(person.kind == ANIMALS and person.points for person in people)
    if category is None and several:
        unique = [person for person in people if person.kind == UNIQUE and person.points]
        log_left_out(file, {f"unique points, which --category {UNIQUE} reads": len(unique)})
        category = ANIMALS
    found = annotations_of(file, FORM, people, joints, name=name or file.stem, category=category)
    check_pixels(file, found.keypoints[found.labelled])
    return found


def _people(table: _Table) -> Iterator[Labelled]:
    places: dict[str, dict[str, dict[str, int]]] = {}
    for column, (who, joint, coordinate) in enumerate(table.columns):
        axes = places.setdefault(who, {}).setdefault(joint, {})
        if coordinate in axes:
            raise ValueError(f"{table.where[0]}: the head names {joint} {coordinate} twice")
        axes[coordinate] = column
    for parts in places.values():
        for joint, axes in parts.items():
            if not {"x", "y"} <= axes.keys():
                raise ValueError(
                    f"{table.where[0]}: the head names {listed(sorted(axes))} of {joint}, not x and y"
                )
    for row, picture in enumerate(table.pictures):
        for who, parts in places.items():
            where = f"{table.where[row]}, {who}" if who else table.where[row]
            points = {}
            for joint, axes in parts.items():
                x, y = table.values[row, axes["x"]].item(), table.values[row, axes["y"]].item()
                if math.isnan(x) != math.isnan(y):
                    raise ValueError(f"{where}: only one of x and y of {joint} is there")
                if not math.isnan(x):
                    points[joint] = (x, y, VISIBLE)
            yield Labelled(where, picture, points, kind=_kind(who))


def _picture(index: Sequence[str], where: str) -> str:
    name = picture_name("/".join(part for part in index if part))
    if name.replace(".", "", 1).isdigit() or not name:
        raise ValueError(
            f"{where} names its picture {name!r}: rows that are numbered by frame are predictions for a "
            "video, not labels; give the CollectedData file of the folder labeled-data"
        )
    return name


def _csv_table(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = [(reader.line_num, cells) for reader in [csv.reader(stream)] for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no table in UTF-8 ({error})") from error
    head: dict[str, list[str]] = {}
    while lines and len(head) < 4 and "coords" not in head:
        _, cells = lines.pop(0)
        head[cells[0].strip()] = [cell.strip() for cell in cells]
    if "coords" not in head or "bodyparts" not in head:
        raise ValueError(
            f"{file} has no lines 'bodyparts' and 'coords' at its head, as DeepLabCut's and Lightning Pose's "
            "have"
        )
    coords, parts = head["coords"], head["bodyparts"]
    first = next((n for n, cell in enumerate(coords) if cell in _COORDS), len(coords))
    who = head.get("individuals", [""] * len(coords))
    if not len(coords) == len(parts) == len(who) or first in (0, len(coords)):
        raise ValueError(f"{file}: the lines at its head are of different lengths, or name no x and y")
    values, pictures, where = [], [], []
    for line, cells in lines:
        label = f"{file}, line {line}"
        if len(cells) != len(coords):
            raise ValueError(f"{label} has {len(cells)} cells; the head has {len(coords)}")
        numbers = []
        for place in range(first, len(cells)):
            try:
                numbers.append(float(cells[place]) if cells[place].strip() else math.nan)
            except ValueError as error:
                raise ValueError(
                    f"{label}: {parts[place]} {coords[place]} is {cells[place]!r}, not a number"
                ) from error
        values.append(numbers)
        pictures.append(_picture([cell.strip() for cell in cells[:first]], label))
        where.append(label)
    if not values:
        raise ValueError(f"{file} has no rows under its head")
    columns = list(zip(who[first:], parts[first:], coords[first:], strict=True))
    return _Table(columns, pictures, where, np.array(values))


def is_hdf5(content: Any) -> bool:
    """Whether an open HDF5 file holds a table that pandas wrote."""
    import h5py

    return any(isinstance(group, h5py.Group) and "pandas_type" in group.attrs for group in content.values())


def _hdf5_table(file: Path) -> _Table:
    """The table that pandas wrote in its `fixed` form: arrays of names, of numbers of names, and of numbers.

    Python objects, which such files may hold too, are never read.
    """
    import h5py

    try:
        with h5py.File(file, "r") as content:
            groups = [
                entry
                for entry in content.values()
                if isinstance(entry, h5py.Group) and "axis1_variety" in entry.attrs
            ]
            if len(groups) != 1:
                raise ValueError(f"it holds {len(groups)} tables in the form that DeepLabCut writes")
            arrays = dict(_plain_arrays(groups[0]))
            heads = _index(arrays, "axis0")
            blocks = [n for n in range(64) if f"block{n}_values" in arrays]
            rows = _index(arrays, "axis1")
            values = np.full((len(rows), len(heads)), np.nan)
            place = {tuple(name): n for n, name in enumerate(heads)}
            for block in blocks:
                numbers = arrays[f"block{block}_values"].astype(np.float64)
                for n, name in enumerate(_index(arrays, f"block{block}_items")):
                    values[:, place[tuple(name)]] = numbers[:, n]
            levels = _level_names(groups[0], len(heads[0]))
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(
            f"{file} is not an HDF5 file of labels as DeepLabCut writes them ({error}); give the CSV file "
            "that lies beside it"
        ) from error
    if "bodyparts" not in levels or "coords" not in levels:
        raise ValueError(f"{file}: its columns are named {listed(levels)}, not bodyparts and coords")
    part, coordinate = levels.index("bodyparts"), levels.index("coords")
    who = levels.index("individuals") if "individuals" in levels else None
    columns = [(head[who] if who is not None else "", head[part], head[coordinate]) for head in heads]
    where = [f"{file}: row {n}" for n in range(len(rows))]
    return _Table(
        columns, [_picture(row, label) for row, label in zip(rows, where, strict=True)], where, values
    )


def _plain_arrays(group: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The arrays of numbers and of bytes in a group."""
    claimed = 0
    for name, entry in group.items():
        if getattr(entry, "dtype", None) is None or entry.dtype.kind not in "iufS":
            continue
        claimed += entry.nbytes
        if claimed > MOST_BYTES:
            raise ValueError(f"{name} claims {entry.shape} entries")
        yield str(name), np.asarray(entry[()])


def _index(arrays: Mapping[str, npt.NDArray[Any]], axis: str) -> list[list[str]]:
    """The names along an axis, each a list of one name for each level."""
    if axis in arrays:
        return [[_text(name)] for name in arrays[axis].tolist()]
    levels = [n for n in range(8) if f"{axis}_level{n}" in arrays]
    if not levels:
        raise ValueError(f"the names of {axis} are no plain text")
    names = [[_text(name) for name in arrays[f"{axis}_level{n}"].tolist()] for n in levels]
    labels = [arrays[f"{axis}_label{n}"].tolist() for n in levels]
    return [
        [names[k][row] if row >= 0 else "" for k, row in enumerate(rows)]
        for rows in zip(*labels, strict=True)
    ]


def _level_names(group: Any, count: int) -> list[str]:
    found = [group[f"axis0_level{n}"].attrs.get("name", b"") for n in range(count)]
    return [_text(name) for name in found]


def _text(name: Any) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)
