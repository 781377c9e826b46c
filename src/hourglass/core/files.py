"""Files written in one step, and the reason when they can't be."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then put it in place in one step.

    Whatever stood at `path` stays whole until then. Raises OSError naming `path` when it can't be
    written (a folder or a device in the way, a full disk), leaving no temporary file behind.
    """
    from safetensors import SafetensorError

    if path.exists() and not path.is_file():
        # Renaming over a device would take it away from the whole machine.
        raise OSError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'no regular file'}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers make their files private
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch reports a failed write as RuntimeError, safetensors as its own error.
        raise OSError(f"cannot write {path}: {_reason(error, temporary)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text_atomically(path: Path, text: str) -> None:
    """Put UTF-8 text at `path` in one step; raises OSError as `write_atomically` does."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def _reason(error: Exception, temporary: Path) -> str:
    """What the system said, without the temporary file's name."""
    said = error if isinstance(error, OSError) else error.__context__
    if not isinstance(said, OSError) or not said.strerror:
        return str(error).splitlines()[0]
    elsewhere = said.filename and str(said.filename) != str(temporary)
    return f"{said.strerror}: {said.filename}" if elsewhere else said.strerror
