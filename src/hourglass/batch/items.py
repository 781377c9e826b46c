"""What a batch reads: a folder or glob of pictures, Parquet tables, or WebDataset shards."""

import fnmatch
import glob
import json
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from hourglass.batch.store import is_part, locate
from hourglass.core.files import reason
from hourglass.inference.inputs_outputs import IMAGE_SUFFIXES

Kind = Literal["pictures", "parquet", "webdataset"]

ITEMS = pa.schema(
    [
        ("image_id", pa.string()),
        ("data", pa.large_binary()),
        ("boxes", pa.list_(pa.list_(pa.float64()))),
        ("error", pa.string()),
    ]
)
"""A picture on its way to a worker: `data` null is to be read from the folder, `boxes` null is one person."""

UNITS = pa.schema([("file", pa.string()), ("group", pa.int32()), ("first", pa.int64()), ("rows", pa.int64())])
"""What one reading task reads: `rows` from row `first` of a Parquet file, its row group, or a whole shard."""

BOXES = "boxes"
_TARS = (".tar", ".tar.gz", ".tgz")
_MAGIC = re.compile(r"[*?\[]")
_ROWS = 64
_BYTES = 16 << 20


@dataclass(frozen=True)
class PictureSource:
    """The pictures of a batch.

    Args:
        kind: how they are stored.
        base: path or URL of the folder that names are relative to.
        names: the files, sorted.
        column: of Parquet the column with the pictures; of WebDataset their extension, or "".
        id_column: of Parquet the column with the pictures' ids, or "" for `file#row`.
        has_boxes: a Parquet table has the column `boxes`.
    """

    kind: Kind
    base: str
    names: tuple[str, ...]
    column: str = ""
    id_column: str = ""
    has_boxes: bool = False


def find(place: str, output: str = "") -> PictureSource:
    """The files behind a path, glob or URL, all of one kind; a folder is searched at all depths.

    What a batch itself has written into `output` is no input, wherever that lies.

    Raises FileNotFoundError when there are none, and ValueError when there are several kinds.
    """
    base, names = _names(place)
    by_kind: dict[Kind, list[str]] = {}
    for name in names:
        kind = _kind(name)
        if kind and not (output and _is_answer(base, name, output)):
            by_kind.setdefault(kind, []).append(name)
    if not by_kind:
        raise FileNotFoundError(f"{place} holds no pictures, Parquet tables (.parquet) or shards (.tar)")
    if len(by_kind) > 1:
        raise ValueError(
            f"{place} holds {' and '.join(sorted(by_kind))}: choose one kind with a glob, such as "
            f"'{place.rstrip('/')}/*.parquet'"
        )
    ((kind, chosen),) = by_kind.items()
    return PictureSource(kind, base, tuple(sorted(chosen)))


def _names(place: str) -> tuple[str, list[str]]:
    """The folder, and the files inside it by their paths from there."""
    # A name that exists is meant as it stands, brackets and all.
    if "://" not in place and glob.has_magic(place) and not os.path.lexists(place):
        base = _before_magic(place)
        found = glob.glob(place, recursive=True)
        inside = [posixpath.relpath(name, base) for name in found]
        return locate(base)[1], [name for name in inside if _kind(name)]
    if "://" in place and _MAGIC.search(place):
        base = _before_magic(place)
        pattern = place[len(base) + 1 :]
        files, path = locate(base)
        return base, [name for name in _listing(files, path) if fnmatch.fnmatchcase(name, pattern)]
    files, path = locate(place)
    kind = files.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise FileNotFoundError(f"there is no file or folder {place}")
    if kind == fs.FileType.File:
        outside = place if "://" in place else path
        return posixpath.dirname(outside), [posixpath.basename(path)]
    return (place.rstrip("/") if "://" in place else path), _listing(files, path)


def _is_answer(base: str, name: str, output: str) -> bool:
    inside = output.rstrip("/") if "://" in output else locate(output)[1]
    return f"{base}/{name}".startswith(f"{inside}/") and (inside != base or is_part(name))


def _before_magic(place: str) -> str:
    found = _MAGIC.search(place)
    assert found is not None
    return place[: found.start()].rpartition("/")[0] or ("/" if place.startswith("/") else ".")


def _listing(files: Any, path: str) -> list[str]:
    found = files.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    inside = [posixpath.relpath(f.path, path) for f in found if f.type == fs.FileType.File]
    return [name for name in inside if not any(part.startswith(".") for part in name.split("/"))]


def _kind(name: str) -> Kind | None:
    lower = name.lower()
    if lower.endswith(".parquet"):
        return "parquet"
    if lower.endswith(_TARS):
        return "webdataset"
    return "pictures" if posixpath.splitext(lower)[1] in IMAGE_SUFFIXES else None


def inspect_tables(source: PictureSource, column: str, id_column: str) -> tuple[PictureSource, Any]:
    """Of Parquet tables the source with its columns chosen, and the units (`UNITS`).

    Raises ValueError naming the file and column when a table is damaged or lacks what is needed.
    """
    files, base = locate(source.base)

    def footer(name: str) -> tuple[Any, Any]:
        try:
            with files.open_input_file(f"{base}/{name}") as file:
                table = pq.ParquetFile(file)
                return table.schema_arrow, table.metadata
        except pa.ArrowException as error:
            raise ValueError(f"{name} can't be read as Parquet: {reason(error, first_line=True)}") from error

    with ThreadPoolExecutor(16, thread_name_prefix="hourglass-footers") as pool:
        footers = list(pool.map(footer, source.names))
    column = column or _only_column(footers[0][0], source.names[0])
    has_boxes = BOXES in footers[0][0].names
    units: list[dict[str, Any]] = []
    for name, (schema, metadata) in zip(source.names, footers, strict=True):
        _check_schema(schema, name, column, id_column, has_boxes)
        first = 0
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            units.append({"file": name, "group": group, "first": first, "rows": rows})
            first += rows
    chosen = PictureSource(source.kind, source.base, source.names, column, id_column, has_boxes)
    return chosen, pa.Table.from_pylist(units, UNITS)


def open_units(source: PictureSource, units: Any, done: frozenset[str]) -> tuple[Any, int | None]:
    """Units of which something is left, and how many pictures are, or None where only reading will tell."""
    if source.kind == "webdataset" or (source.id_column and done):
        return units, None
    left = [
        sum(f"{unit['file']}#{row}" not in done for row in range(unit["first"], unit["first"] + unit["rows"]))
        for unit in units.to_pylist()
    ]
    return units.filter(pa.array([rows > 0 for rows in left], pa.bool_())), sum(left)


def _only_column(schema: Any, name: str) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if len(found) != 1:
        which = f"several columns of bytes ({', '.join(found)})" if found else "no column of bytes"
        raise ValueError(f"{name} has {which}: name the one with the pictures (--column)")
    return str(found[0])


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_schema(schema: Any, name: str, column: str, id_column: str, has_boxes: bool) -> None:
    for wanted in (column, *([id_column] if id_column else []), *([BOXES] if has_boxes else [])):
        if wanted not in schema.names:
            raise ValueError(f"{name} has no column {wanted!r}; it has {', '.join(schema.names)}")
    if not _holds_bytes(schema.field(column).type):
        raise ValueError(
            f"{name}: the column {column!r} holds {schema.field(column).type}, not bytes or a struct with "
            "a field 'bytes'"
        )


def shard_units(source: PictureSource) -> Any:
    """Of WebDataset shards the units (`UNITS`)."""
    return pa.Table.from_pylist([{"file": name} for name in source.names], UNITS)


def picture_items(names: Sequence[str]) -> Any:
    """Pictures of a folder as items that a worker reads by itself."""
    return pa.Table.from_pylist([{"image_id": name} for name in names], ITEMS)


def read_units(units: Any, source: PictureSource, done: frozenset[str]) -> Iterator[Any]:
    """The items (`ITEMS`) of some units, but for those that are done, a few at a time.

    A shard that breaks off gives an item with the error, called as the shard is.
    """
    read = _read_shard if source.kind == "webdataset" else _read_group
    for unit in units.to_pylist():
        waiting: list[dict[str, Any]] = []
        size = 0
        for item in read(source, unit, done):
            waiting.append(item)
            size += len(item.get("data") or b"")
            if len(waiting) == _ROWS or size >= _BYTES:
                yield pa.Table.from_pylist(waiting, ITEMS)
                waiting, size = [], 0
        if waiting:
            yield pa.Table.from_pylist(waiting, ITEMS)


def _read_group(
    source: PictureSource, unit: dict[str, Any], done: frozenset[str]
) -> Iterator[dict[str, Any]]:
    files, base = locate(source.base)
    name, row = unit["file"], unit["first"]
    columns = [source.column, *([BOXES] if source.has_boxes else [])]
    columns += [source.id_column] if source.id_column and source.id_column not in columns else []
    with files.open_input_file(f"{base}/{name}") as file:
        table = pq.ParquetFile(file)
        for batch in table.iter_batches(_ROWS, row_groups=[unit["group"]], columns=columns):
            for values in batch.to_pylist():
                image_id = str(values[source.id_column]) if source.id_column else f"{name}#{row}"
                row += 1
                if image_id in done:
                    continue
                data = values[source.column]
                data = data.get("bytes") if isinstance(data, dict) else data
                item = {"image_id": image_id, "data": data, "boxes": values.get(BOXES)}
                yield item if data is not None else {**item, "error": f"{image_id} has no bytes"}


def _read_shard(
    source: PictureSource, unit: dict[str, Any], done: frozenset[str]
) -> Iterator[dict[str, Any]]:
    files, base = locate(source.base)
    name = unit["file"]
    sample: dict[str, bytes] = {}
    key = None
    try:
        with (
            files.open_input_stream(f"{base}/{name}", compression=None) as file,
            tarfile.open(fileobj=file, mode="r|*") as shard,
        ):
            for member in shard:
                # WebDataset: neighbours that agree up to the first dot of the file's name are one sample.
                folder, _, last = member.name.rpartition("/")
                stem, _, extension = last.partition(".")
                found = f"{folder}/{stem}" if folder else stem
                if not member.isfile() or not extension or not stem:
                    continue
                if found != key:
                    if key is not None and sample:
                        yield _sample(f"{name}/{key}", sample, source.column)
                    key, sample = found, {}
                content = shard.extractfile(member)
                if f"{name}/{found}" not in done and content is not None:
                    sample[extension.lower()] = content.read()
        if key is not None and sample:
            yield _sample(f"{name}/{key}", sample, source.column)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if name not in done:
            why = reason(error)
            yield {"image_id": name, "error": f"{name} is cut off or damaged from some sample on ({why})"}


def _sample(image_id: str, sample: dict[str, bytes], column: str) -> dict[str, Any]:
    pictures = [e for e in sample if e == column or (not column and f".{e.split('.')[-1]}" in IMAGE_SUFFIXES)]
    if not pictures:
        return {"image_id": image_id, "error": f"{image_id} holds no picture, only {', '.join(sample)}"}
    item: dict[str, Any] = {"image_id": image_id, "data": sample[pictures[0]]}
    if "json" in sample:
        try:
            said = json.loads(sample["json"])
            boxes = said.get(BOXES) if isinstance(said, dict) else None
            if boxes is not None:
                item["boxes"] = [[float(v) for v in box] for box in boxes]
        except (ValueError, TypeError) as error:
            return {"image_id": image_id, "error": f"{image_id}: its json gives no boxes ({error})"}
    return item
