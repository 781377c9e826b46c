"""Arrays out of HDF5, MATLAB and JSON files that may hold anything; each refusal is one sentence."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from hourglass.core.arrays import Float64Array
from hourglass.data.formats.matlab import Damaged, NewerVersion, read_variables

MOST_BYTES = 2**30
"""In the arrays of one file; a damaged header may ask for more than there is memory."""

FARTHEST_PX = 1e8
_TOO_FAR = "lies where no picture reaches"

Shape = tuple[int | str, ...]
"""What an array must look like; a letter stands for any size."""

Where = Callable[[int], str]
"""What messages call a row."""


def check_file(path: Path, what: str) -> None:
    """Raise FileNotFoundError or ValueError naming the file unless it is one with something in it."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file of {what}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} of {what}")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty")


def read_hdf5(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The top-level arrays of an HDF5 file; raises ValueError naming it."""
    import h5py

    try:
        with h5py.File(path, "r") as content:
            found, claimed = {}, 0
            for name in content:
                entry = content[name]
                if isinstance(entry, h5py.Dataset):
                    claimed += MOST_BYTES + 1 if entry.size is None else entry.nbytes
                    if claimed > MOST_BYTES:
                        raise ValueError(f"{name} claims {entry.shape} entries")
                    found[str(name)] = np.asarray(entry[()])
            return found
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(
            f"{path} is not an HDF5 file that can be read, or is cut off; get it again"
        ) from error


def read_mat(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The variables of a MATLAB file; raises ValueError naming it."""
    try:
        return read_variables(path)
    except NewerVersion as error:
        raise ValueError(f"{path} is a MATLAB 7.3 file; save it with -v7 and try again") from error
    except Damaged as error:
        raise ValueError(
            f"{path} is not a MATLAB file that can be read, or is cut off ({error}); get it again"
        ) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file, packed with gzip or not; raises ValueError naming it."""
    raw = path.read_bytes()
    try:
        return json.loads(_unpacked(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (ValueError, RecursionError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from error


def read_csv(path: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The columns that a CSV file's first line names, and each further line: what to call it, its cells.

    Bytes that are no UTF-8, as names of files may be, are kept as the system has them. Raises ValueError
    naming the file and the line when it is no table.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            table = csv.reader(file, strict=True)
            lines = [(f"{path}, line {table.line_num}", cells) for cells in table if cells]
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file that can be read: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty")
    columns = [cell.strip() for cell in lines[0][1]]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} twice")
    for where, cells in lines[1:]:
        if len(cells) != len(columns):
            raise ValueError(
                f"{where} has {len(cells)} cells, but the first line names {len(columns)} columns"
            )
    return columns, lines[1:]


def _unpacked(raw: bytes) -> bytes:
    with gzip.open(io.BytesIO(raw)) as packed:
        content = packed.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"unpacked it has more than {MOST_BYTES} bytes")
    return content


def numbers(found: Mapping[str, Any], name: str, shape: Shape, path: Path) -> Float64Array:
    """A field as float64, of the shape wanted; raises ValueError naming file, field and both shapes."""
    if name not in found:
        raise ValueError(f"{path} holds no '{name}', only {listed(sorted(map(str, found)))}")
    array = np.asarray(found[name])
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == has for want, has in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iufb":
        wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(
            f"{path}: '{name}' is {array.dtype} of shape {array.shape}; expected numbers of shape {wanted}"
        )
    return array.astype(np.float64)


def rows_of(path: Path, field: str = "", first: int | Sequence[int] = 0) -> Where:
    """Names for the rows of a file or of a field in it, counted from `first`, or as that sequence counts."""
    stem = f"{path}, '{field}'" if field else f"{path}"
    return lambda row: f"{stem}: row {first + row if isinstance(first, int) else first[row]}"


def column(
    entries: Sequence[Mapping[str, Any]], name: str, shape: tuple[int, ...], where: Where
) -> Float64Array:
    """One field of every entry of a JSON list, (N, *shape); raises ValueError naming file, row and field."""
    try:
        array = np.array([entry[name] for entry in entries])
        if array.shape == (len(entries), *shape) and array.dtype.kind in "iuf":
            return array.astype(np.float64)
    except (KeyError, ValueError, TypeError, OverflowError):
        pass  # told below, with its row
    for row, entry in enumerate(entries):
        if name not in entry:
            raise ValueError(f"{where(row)} has no '{name}'")
        try:
            value = np.array(entry[name])
        except (ValueError, OverflowError):  # lists of unequal length inside
            value = np.array("ragged")
        if value.shape != shape or value.dtype.kind not in "iuf":
            wanted = f"numbers of shape {shape}" if shape else "a number"
            raise ValueError(f"{where(row)}: '{name}' is not {wanted}")
    raise ValueError(f"{where(0)}: '{name}' is too large a number, here or further down")


def check_finite(
    array: Float64Array, known: npt.NDArray[np.bool_], joints: Sequence[str], where: Where
) -> None:
    """Raise ValueError naming the first row and joint of (N, J) or (N, J, 2) that is no sensible number.

    Args:
        known: (N, J) where it should be one.
    """
    for problem, good in (
        ("is not a finite number", np.isfinite(array)),
        (_TOO_FAR, np.abs(array) < FARTHEST_PX),
    ):
        whole = good.all(-1) if array.ndim > known.ndim else good
        for row, joint in np.argwhere(known & ~whole)[:1].tolist():
            raise ValueError(f"{where(row)}: {joints[joint]} {problem}")


def check_pixels(file: Path, points: Float64Array) -> None:
    """Raise ValueError when labelled points (N, 2) are shares of the picture's size instead of pixels."""
    if len(points) > 1 and ((points >= 0) & (points <= 1)).all() and (points % 1 != 0).any():
        raise ValueError(
            f"{file}: all labelled coordinates lie between 0 and 1, so they are shares of the picture's "
            "width and height; multiply them by these first: coordinates here are pixels"
        )


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence, the first few of many; `nothing` for none."""
    if not names:
        return "nothing"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def read_yaml(file: Path) -> Any:
    """The content of a YAML file, plain values only; raises ValueError or FileNotFoundError naming it."""
    check_file(file, "settings")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no readable YAML file: {' '.join(str(error).split())}") from error


ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
"""What a picture may be called instead, first choice first; upper case counts as well."""


_OFFICIAL = "mpii_human_pose_v1_u12_1.mat"

_PLACES = {
    "mpii": (
        "annot/{file}.json",
        "mpii_annotations.json",
        "mpii_annotations.json.gz",
        "annot/{file}.h5",
        "{file}.h5",
        _OFFICIAL,
        f"annot/{_OFFICIAL}",
    ),
    "lsp": ("joints.mat",),
    "lspet": ("joints.mat",),
    "flic": ("annot/{file}.h5", "{file}.h5", "annot/{file}_personcentric.h5", "{file}_personcentric.h5"),
    "coco": ("annotations/person_keypoints_{split}2017.json", "person_keypoints_{split}2017.json"),
    "ap10k": ("annotations/ap10k-{split}-split1.json",),
}
_FILE_OF = {"train": "train", "val": "valid", "test": "test"}


def annotation_places(dataset: str, split: str) -> tuple[str, ...]:
    """Where the annotations of a split may lie below a data set's folder; the first that is there is read.

    MPII's test split is in its own `.mat` alone.
    """
    places = tuple(place.format(split=split, file=_FILE_OF[split]) for place in _PLACES[dataset])
    if dataset == "mpii" and split == "test":
        return places[-2:]
    return places


def first_there(root: Path, places: Iterable[str]) -> str:
    """The first of some places that is a file below a folder; "" for none."""
    return next((place for place in places if (root / place).is_file()), "")


def find_pictures(folder: Path, names: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Each name with the file it stands for, and the names for which there is none.

    A picture that isn't there under its own name is looked for under the same stem with another ending:
    copies that were encoded again, `im00002.webp` for `im00002.jpg`, are common.

    Args:
        names: below the folder, with `/` between folders.
    """
    found: dict[str, Path] = {}
    missing: list[str] = []
    listings: dict[Path, dict[str, str]] = {}
    for name in names:
        path = folder / name
        if path.parent not in listings:
            listings[path.parent] = _by_name(path.parent)
        listing = listings[path.parent]
        if path.name in listing:
            found[name] = path.with_name(listing[path.name])
        elif (other := _under_another_ending(path, listing)) is not None:
            found[name] = other
        else:
            missing.append(name)
    return found, missing


def _by_name(folder: Path) -> dict[str, str]:
    """Names of a folder's files, as they are and with the ending in lower case, to the names as they are."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    return {Path(name).stem + Path(name).suffix.lower(): name for name in names} | {
        name: name for name in names
    }


def _under_another_ending(path: Path, listing: dict[str, str]) -> Path | None:
    """The file of the same stem, where its own ending is a picture's."""
    if path.suffix.lower() not in ENDINGS:
        return None
    others = (listing.get(path.stem + ending) for ending in ENDINGS)
    return next((path.with_name(other) for other in others if other is not None), None)
