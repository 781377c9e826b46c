"""Files written in one step, checksums inside files, and what an error says."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

CHECKSUM_KEY = "hourglass_sha256"
"""The name of the entry that holds a file's own checksum: in ONNX's metadata and in OpenVINO's rt_info."""
NO_CHECKSUM = "0" * 64
"""What is written there until `with_checksum` puts it in."""

# ONNX stores the length of a text before it, OpenVINO's XML has an attribute.
_ENTRY = re.compile(CHECKSUM_KEY.encode() + rb'(?:\x12@|"? value=")([0-9a-f]{64})')


def reason(error: BaseException, first_line: bool = False) -> str:
    """What an error says, in one line: the system's own words where there are any, or its name.

    Args:
        first_line: leave out what comes after it, where a library goes on for pages.
    """
    said = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return said.splitlines()[0] if first_line else " ".join(said.split())


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    errors: tuple[type[Exception], ...] = (),
    name: Path | None = None,
) -> None:
    """Let `write` fill a temporary neighbour of `path`, then put it in place in one step.

    Args:
        errors: what else `write` raises when it can't write, beside OSError and RuntimeError.
        name: what to call the file in the message, where `path` is only a part of it.

    Whatever stood at `path` stays whole until then. Raises OSError naming the file when it can't be
    written (a folder or a device in the way, a full disk), leaving no temporary file behind.
    """
    name = name or path
    # torch reports a failed write as RuntimeError.
    expected: tuple[type[Exception], ...] = (OSError, RuntimeError, *errors)
    if path.exists() and not path.is_file():
        # Renaming over a device would take it away from the whole machine.
        raise OSError(f"cannot write {name}: it is {'a folder' if path.is_dir() else 'no regular file'}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers make their files private
        os.replace(temporary, path)
    except expected as error:
        raise OSError(f"cannot write {name}: {_write_error(error, temporary)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text_atomically(path: Path, text: str, name: Path | None = None) -> None:
    """Put UTF-8 text at `path` in one step; raises OSError as `write_atomically` does."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_atomically(path, write, name=name)


def with_checksum(file: bytes, *beside: bytes) -> bytes:
    """The file with the sha256 of itself, and of the files that lie beside it, in its empty entry."""
    found = _ENTRY.search(file)
    assert found is not None, "there is no entry for a checksum"
    start, end = found.span(1)
    return file[:start] + _checksum(file, start, beside).encode() + file[end:]


def is_damaged(file: bytes, *beside: bytes) -> bool:
    """Whether a file is no longer what its checksum says; False where it has none."""
    found = _ENTRY.search(file)
    if found is None or found[1] == NO_CHECKSUM.encode():
        return False
    return found[1] != _checksum(file, found.start(1), beside).encode()


def _checksum(file: bytes, start: int, beside: Sequence[bytes]) -> str:
    sha = hashlib.sha256(file[:start] + NO_CHECKSUM.encode() + file[start + len(NO_CHECKSUM) :])
    for other in beside:
        sha.update(other)
    return sha.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_error(error: Exception, temporary: Path) -> str:
    """What the system said, without the temporary file's name."""
    said = error if isinstance(error, OSError) else error.__context__
    if not isinstance(said, OSError) or not said.strerror:
        return reason(error, first_line=True)
    elsewhere = said.filename and str(said.filename) != str(temporary)
    return f"{said.strerror}: {said.filename}" if elsewhere else said.strerror
