"""Where the answers of a batch lie: whole Parquet files in a folder or a bucket, and what is done in them."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

ROWS = pa.schema(
    [
        ("image_id", pa.string()),
        ("person", pa.int32()),
        ("keypoints", pa.list_(pa.list_(pa.float32()))),
        ("scores", pa.list_(pa.float32())),
        ("confidences", pa.list_(pa.float32())),
        ("box", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("box_score", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("error", pa.string()),
        ("weights", pa.string()),
    ]
)
"""One row per person; docs/batch.md says what each column holds."""

SETTINGS = "_hourglass.json"
ATTEMPTS = "_attempts"
NOBODY = -1
"""`person` of the one row of a picture without people, or with an error."""

_READERS = 16


def locate(place: str) -> tuple[Any, str]:
    """File system and path inside it of a local path or of a URL that pyarrow or fsspec knows.

    Raises ValueError for a URL that neither can open.
    """
    if "://" not in place:
        return fs.LocalFileSystem(), str(Path(place).absolute())
    try:
        files, path = fs.FileSystem.from_uri(place)
        return files, path.rstrip("/")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # no URL of pyarrow's own kinds: fsspec is asked next, and its refusal is what the user reads
    try:
        import fsspec

        foreign, path = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{place} can't be opened: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(foreign)), str(path).rstrip("/")


class Store:
    """The folder or bucket that a batch writes into. A file is there whole or not at all.

    Args:
        place: a path or URL; every worker must see the same under this name.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.files, self.path = locate(place)
        self.local = isinstance(self.files, fs.LocalFileSystem)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.files.get_file_info(f"{self.path}/{name}").type == fs.FileType.File)

    def read(self, name: str) -> bytes | None:
        """What a file holds, or None where there is none."""
        try:
            with self.files.open_input_stream(f"{self.path}/{name}") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place in one step; raises OSError naming it when it can't be written."""
        if self.local:
            from hourglass.core.files import write_atomically

            def write(part: Path) -> None:
                part.write_bytes(content)

            write_atomically(Path(self.path) / name, write)
            return
        # An object appears in a bucket when its upload is complete. Elsewhere the move is the step.
        temporary = f"{self.path}/_writing/{name}"
        self.files.create_dir(temporary.rpartition("/")[0])
        self.files.create_dir(f"{self.path}/{name}".rpartition("/")[0])
        with self.files.open_output_stream(temporary) as file:
            file.write(content)
        self.files.move(temporary, f"{self.path}/{name}")

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(name):
            self.files.delete_file(f"{self.path}/{name}")

    def parts(self) -> list[str]:
        """Names of the Parquet files with answers, sorted."""
        found = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(f.base_name for f in found if is_part(f.base_name))

    def clear_attempts(self) -> None:
        """Forget what workers of an earlier run were at."""
        if self.files.get_file_info(f"{self.path}/{ATTEMPTS}").type == fs.FileType.Directory:
            self.files.delete_dir(f"{self.path}/{ATTEMPTS}")


def is_part(name: str) -> bool:
    """Whether a file's name is that of answers."""
    return name.startswith("part-") and name.endswith(".parquet")


def to_bytes(table: Any) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def read_part(store: Store, name: str, columns: list[str] | None = None) -> Any:
    """The rows of one file of answers; raises ValueError naming a damaged one."""
    try:
        return pq.read_table(pa.BufferReader(store.read(name) or b""), columns=columns)
    except pa.ArrowException as error:
        raise ValueError(
            f"{store.place}/{name} is damaged ({_line(error)}): delete it, and its pictures are done again"
        ) from error


def agree(store: Store, settings: Mapping[str, Any]) -> None:
    """Note the settings beside the answers, or raise ValueError when those there were made with others."""
    raw = store.read(SETTINGS)
    if store.parts():
        if raw is None:
            raise ValueError(
                f"{store.place} holds answers, but no {SETTINGS} that says of what: choose another output"
            )
        before = json.loads(raw)
        differ = [key for key in settings if before.get(key) != settings[key]]
        if differ:
            key = differ[0]
            raise ValueError(
                f"{store.place} holds answers made with other settings ({key}: {_short(before.get(key))}, "
                f"now {_short(settings[key])}): choose another output, or the same settings to go on"
            )
    store.write(SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())


def settle(store: Store, retry_failed: bool = False) -> frozenset[str]:
    """Ids of the pictures that are done, each in one file only.

    A picture that two files hold (a worker outlived its driver and finished beside the next run) keeps the
    rows of one; with `retry_failed` rows with an error go, so that their pictures are done again.
    """
    done: set[str] = set()
    names = store.parts()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="hourglass-parts") as pool:
        tables = pool.map(lambda name: read_part(store, name, ["image_id", "error"]), names)
        for name, table in zip(names, tables, strict=True):
            ids, errors = table["image_id"].to_pylist(), table["error"].to_pylist()
            keep = [
                image_id not in done and not (retry_failed and error is not None)
                for image_id, error in zip(ids, errors, strict=True)
            ]
            done.update(image_id for image_id, kept in zip(ids, keep, strict=True) if kept)
            if not any(keep):
                store.delete(name)
            elif not all(keep):
                store.write(name, to_bytes(read_part(store, name).filter(pa.array(keep))))
    return frozenset(done)


def _short(value: Any) -> str:
    """A setting in a few words: of weights and skeletons, their names."""
    if isinstance(value, Mapping):
        return f"{value.get('name')} {str(value.get('sha256', ''))[:8]}".strip()
    return str(value)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
