"""Zip and tar archives, unpacked as if anybody had made them.

Nothing is written outside the folder, no link or device is made, no file is written over, and what comes out
is bounded by the archive's own size.
"""

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO

from hourglass.core.files import reason

MOST_GROWTH = 50
"""Bytes out of an archive over its own: photos give 1, JSON 5, a MATLAB file of many small parts about 10."""

LEAST_LIMIT = 64 << 20
"""What may come out of even the smallest archive."""

MOST_MEMBERS = 1_000_000

_CHUNK = 1 << 20
_Reader = Callable[[], IO[bytes] | None]


class ArchiveError(ValueError):
    """An archive that can't be used; the message names it and says what to do."""


def unpack(
    archive: Path,
    root: Path,
    wanted: Sequence[str],
    progress: Callable[[str, int, int | None], None] | None = None,
) -> tuple[int, int]:
    """Take the wanted folders and files out of an archive, to below `root`.

    Args:
        wanted: folders, ending in /, and files, as they shall lie below `root`. In the archive they may
            lie in one more folder. Everything else stays inside.
        progress: told what is being done, and bytes of the archive that are behind and in it.

    Returns how many files were written, and how many were there already in the right size. Raises
    ArchiveError for an archive that is damaged, hostile, or holds nothing of it, and where another file is in
    the way; OSError when the disk can't be written.
    """
    try:
        return _unpack(archive, root, wanted, progress)
    except (ArchiveError, OSError) as error:
        if isinstance(error, ArchiveError) or error.filename is not None:
            raise
        raise ArchiveError(f"{archive} is damaged ({reason(error)}); get it again") from error
    except Exception as error:  # the parsers meet any bytes and raise what they like
        raise ArchiveError(f"{archive} is damaged or no archive ({reason(error)}); get it again") from error


def write_all(out: FileIO, chunk: bytes, path: Path) -> None:
    """All of the chunk, without a buffer that would fail again when the file is closed.

    Raises OSError naming `path`.
    """
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _unpack(
    archive: Path,
    root: Path,
    wanted: Sequence[str],
    progress: Callable[[str, int, int | None], None] | None,
) -> tuple[int, int]:
    length = archive.stat().st_size
    limit = max(MOST_GROWTH * length, LEAST_LIMIT)
    members = written = kept = total = 0
    places: set[PurePosixPath] = set()
    for name, size, read, behind in _members(archive):
        members, total = members + 1, total + size
        # Also of what stays inside: a tar archive is read through to come past it.
        if members > MOST_MEMBERS or total > limit:
            raise ArchiveError(
                f"{archive} holds over {MOST_MEMBERS:,} files or over {limit:,} bytes, which no honest "
                f"archive of its size does; unpacking stopped at {name}"
            )
        place = _place(name, wanted, archive)
        if place is None:
            continue
        if read is None:
            raise ArchiveError(f"{archive}: {name} is a link or a device, not a file; unpacking stopped")
        if place in places:
            raise ArchiveError(f"{archive} holds {place} twice; unpacking stopped")
        places.add(place)
        if _write_member(read, root / place, size, archive):
            written += 1
        else:
            kept += 1
        if progress is not None:
            progress(f"unpacking {archive.name}", min(behind, length), length)
    if not places:
        raise ArchiveError(f"{archive} holds nothing of {', '.join(wanted)}; it is another archive")
    return written, kept


def _members(archive: Path) -> Iterator[tuple[str, int, _Reader | None, int]]:
    """Name, size, opener and end of each member that is no folder; no opener for links and devices."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            behind = 0
            for info in content.infolist():
                behind += info.compress_size
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                if not info.is_dir():
                    yield (
                        info.filename,
                        info.file_size,
                        partial(content.open, info) if plain else None,
                        behind,
                    )
        return
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as packed:
        for member in packed:
            if not member.isdir():
                read = partial(packed.extractfile, member) if member.isreg() else None
                yield member.name, member.size, read, raw.tell()


def _place(name: str, wanted: Sequence[str], archive: Path) -> PurePosixPath | None:
    """Where a member goes below the root, or None; raises ArchiveError for a hostile name."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (parts and parts[0].endswith(":")):
        raise ArchiveError(f"{archive} holds {name!r}, which would lie outside the folder; unpacking stopped")
    if "__MACOSX" in parts:
        return None
    for path in ("/".join(parts), "/".join(parts[1:])):
        if any(path.startswith(want) if want.endswith("/") else path == want for want in wanted):
            return PurePosixPath(path)
    return None


def _write_member(read: _Reader, target: Path, size: int, archive: Path) -> bool:
    """Write one file; False if it is there already. Raises ArchiveError if another one is in its place."""
    if os.path.lexists(target):
        if target.is_file() and target.stat().st_size == size:
            return False
        raise ArchiveError(f"{target} is in the way of {archive.name}: it is another file; move it away")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        content = read()
        if content is None:
            raise ArchiveError(f"{archive}: {target.name} is no file; unpacking stopped")
        with content, FileIO(part, "xb") as out:
            while chunk := content.read(_CHUNK):
                write_all(out, chunk, part)
            if out.tell() != size:
                raise ArchiveError(f"{archive}: {target.name} is cut off; get the archive again")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return True
