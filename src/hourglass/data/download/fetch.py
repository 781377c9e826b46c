"""Data sets from the net, only when told to, and only for who accepts their terms.

A download goes into `NAME.part` and is taken up there after a break, if the server still has the same file.
It gets its name once size and checksum are as in the table. What has the wrong checksum is kept as
`NAME.bad`: of 19 GB somebody may want to see what they are. Archives stay where they are; they may be
deleted once unpacked, and a note `.unpacked-NAME.json` then keeps them from being fetched again.
"""

import errno
import fcntl
import http.client
import json
import os
import shutil
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from hourglass.core.files import reason
from hourglass.data.download.checkup import Progress, mismatch
from hourglass.data.download.sources import DataSource, RemoteFile, find

TRIES = 5
"""Breaks in a row, without a byte between them, before a download is given up."""

PAUSE_S = 1.0
"""Before the second try; doubled before each further one."""

TIMEOUT_S = 60.0
"""Without a byte."""

_CHUNK = 1 << 20


class FetchError(ValueError):
    """A file that could not be had or used; the message says which, why, and what to do."""


class TermsNotAccepted(FetchError):
    """Nobody has accepted the terms, so no connection was opened."""


class _Break(Exception):
    """The connection broke; another try may go on from there."""


@dataclass(frozen=True)
class FetchedFile:
    """What became of a file: what was done in words, or why it failed."""

    name: str
    done: str = ""
    failed: str = ""


def chosen(source: DataSource, only: Sequence[str] = ()) -> list[RemoteFile]:
    """The files to fetch: those named, by their whole or last name, or all but the extra ones.

    Raises ValueError naming what the table doesn't have.
    """
    if not only:
        return [file for file in source.files if not file.extra]
    files = []
    for name in dict.fromkeys(only):
        found = [file for file in source.files if name in (file.name, PurePosixPath(file.name).name)]
        if not found:
            known = ", ".join(file.name for file in source.files)
            raise ValueError(f"{source.title} has no file {name!r} in our table; it has {known}")
        files += found
    return files


def fetch(
    source: DataSource | str,
    root: Path,
    accepted: bool = False,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[FetchedFile]:
    """Fetch what is not there yet, check it, and unpack archives to where the reader looks.

    An archive or file that the user put into `root` is checked and used without any connection.

    Args:
        source: a data set of `sources`, or its name.
        root: its folder, made if need be.
        accepted: whether the user has accepted the data set's terms.
        only: names of files; empty for all but the extra ones.

    Returns what became of each file; one that failed doesn't keep the others. Raises TermsNotAccepted before
    anything else, ValueError for unknown names, OSError when the disk can't be written.
    """
    source = find(source) if isinstance(source, str) else source
    if not accepted:
        raise TermsNotAccepted(f"the terms of {source.title} were not accepted: {source.terms}")
    files = chosen(source, only)
    root.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for file in files:
        try:
            outcomes.append(FetchedFile(file.name, _get(file, source, root, progress)))
        except (FetchError, ArchiveError) as error:
            outcomes.append(FetchedFile(file.name, failed=str(error)))
    return outcomes


def _get(file: RemoteFile, source: DataSource, root: Path, progress: Progress | None) -> str:
    note = root / f".unpacked-{file.name}.json"
    if file.unpacks and note.is_file() and all((root / name).exists() for name in file.unpacks):
        return f"was unpacked before (delete {note.name} to do it again)"
    places = [root / name for name in (file.name, *file.also)]
    path = next((place for place in places if place.is_file()), None)
    done = "was there"
    if path is not None:
        problem = mismatch(file, path, progress)
        if problem:
            raise FetchError(f"{path} is there, but {problem}; move it away and try again")
    elif file.by_hand:
        raise FetchError(
            f"{file.name} must be had by hand, since {file.by_hand}. It was at {file.address} ({file.seen}). "
            f"Put it at {root / file.name} and give this command again, to check it"
            + (" and unpack it" if file.unpacks else "")
        )
    else:
        path = root / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        download(file, path, progress, source.home)
        done = "fetched" if file.sha256 or file.md5 else "fetched (no checksum is known)"
    if not file.unpacks:
        return done
    count, kept = unpack(path, root, file.unpacks, progress)
    note.write_text(json.dumps({"archive": file.name, "bytes": path.stat().st_size, "files": count + kept}))
    before = f" ({kept:,} more were there)" if kept else ""
    return f"{done}, {count:,} files unpacked{before}"


class _Redirects(HTTPRedirectHandler):
    """Follows to http and https only, and never from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise FetchError(f"{req.full_url} sends us on to {newurl}, which is no safe address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(file: RemoteFile, target: Path, progress: Progress | None = None, home: str = "") -> None:
    """Fetch one file to `target`, going on from `target`.part where there is one.

    Args:
        home: the page to name when the address fails.

    Raises FetchError naming the file and what to do, OSError when the disk can't be written.
    """
    part = target.with_name(f"{target.name}.part")
    with FileIO(part, "ab") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(f"{part} is being written by another process; wait for it") from error
        try:
            _to_the_end(file, out, part, progress, home)
        except BaseException:
            if not out.seek(0, os.SEEK_END):
                part.unlink(missing_ok=True)
                _version_file(part).unlink(missing_ok=True)
            raise
        problem = mismatch(file, part, progress)
        _version_file(part).unlink(missing_ok=True)
        if problem:
            bad = target.with_name(f"{target.name}.bad")
            os.replace(part, bad)
            raise FetchError(
                f"what {file.address} sent {problem}: it is not the file of the table; it is kept as {bad}"
            )
        os.replace(part, target)


def _to_the_end(file: RemoteFile, out: FileIO, part: Path, progress: Progress | None, home: str) -> None:
    """Fetch all that is missing, in as many connections as it takes."""
    failures = 0
    while file.size is None or out.seek(0, os.SEEK_END) != file.size:
        before = out.seek(0, os.SEEK_END)
        try:
            _continue(file, out, part, progress, home)
            return
        except _Break as error:
            failures = 0 if out.tell() > before else failures + 1
            if failures >= TRIES:
                kept = f"{out.tell():,} bytes are in {part}; give the command again to go on from there"
                raise FetchError(f"{file.address} could not be had: {error}. {kept}") from error
            time.sleep(PAUSE_S * 2 ** max(failures - 1, 0))


def _version_file(part: Path) -> Path:
    """The file that tells which version of its file a server sent, to ask for no other."""
    return part.with_name(f"{part.name}.version")


def _continue(file: RemoteFile, out: FileIO, part: Path, progress: Progress | None, home: str) -> None:
    """One connection: all that is missing. Raises _Break where another try may help."""
    start, version = out.tell(), ""
    headers = {"User-Agent": "hourglass-pose", "Accept-Encoding": "identity"}
    with suppress(FileNotFoundError):
        version = _version_file(part).read_text(encoding="latin-1")
    if start and not version and not (file.sha256 or file.md5):
        # Nothing would tell if both halves came from different versions.
        start = out.truncate(out.seek(0))
    if start:
        headers["Range"] = f"bytes={start}-"
        if version:
            headers["If-Range"] = version
    try:
        response = build_opener(_Redirects).open(Request(file.address, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        with error:
            _refused(error, file, out, home)
    except (URLError, http.client.HTTPException, OSError) as error:
        raise _Break(_network_reason(error)) from error
    with response:
        begin = start if response.status == 206 else 0
        total = _total(response, file, begin)
        if response.headers.get_content_type() == "text/html":
            raise FetchError(f"{file.address} answers with a web page instead of {file.name}; see {home}")
        if begin < start:
            start = out.truncate(out.seek(0))
        with suppress(OSError):
            _version_file(part).write_text(_version(response), encoding="latin-1")
        missing = (total or 0) - start
        if missing > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{missing:,} bytes to come, more than the disk has free", str(part))
        _copy(response, out, part, f"fetching {file.name}", total, progress)


def _refused(error: HTTPError, file: RemoteFile, out: FileIO, home: str) -> NoReturn:
    if error.code == 416 and out.tell():
        # What we have is no beginning of what the server has.
        out.truncate(out.seek(0))
        raise _Break("the server has a shorter file than what was here; starting anew") from error
    if error.code in (408, 429) or error.code >= 500:
        raise _Break(f"the server answers {error.code} {error.reason}") from error
    raise FetchError(
        f"{file.address} answers {error.code} {error.reason}. It was found {file.seen}; see {home} for "
        "another address"
    ) from error


def _total(response: Any, file: RemoteFile, start: int) -> int | None:
    """Bytes of the whole file by the server's words; checks that it goes on where we are."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if response.status == 206:
        told = response.headers.get("Content-Range", "")
        if not told.startswith(f"bytes {start}-"):
            raise FetchError(f"{file.address} was asked for bytes from {start} on, but sends {told!r}")
    if total is not None and file.size is not None and total != file.size:
        raise FetchError(
            f"{file.address} has {total:,} bytes now where {file.size:,} are expected: it is another file"
        )
    return total if total is not None else file.size


def _version(response: Any) -> str:
    """A word for this version of the file that If-Range takes; empty where the server gives none."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _copy(
    response: Any, out: FileIO, part: Path, what: str, total: int | None, progress: Progress | None
) -> None:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise _Break(_network_reason(error)) from error
        if not chunk:
            break
        write_all(out, chunk, part)
        if progress is not None:
            progress(what, out.tell(), total)
    if total is not None and out.tell() < total:
        raise _Break(f"the connection ended after {out.tell():,} of {total:,} bytes")


def _network_reason(error: Exception) -> str:
    """What is behind an error of urllib, which wraps the system's."""
    inner = getattr(error, "reason", None)
    return reason(inner) if isinstance(inner, Exception) else " ".join(str(inner or reason(error)).split())


MOST_GROWTH = 50
"""Bytes out of an archive over its own: photos give 1, JSON 5, a MATLAB file of many small parts about 10."""

LEAST_LIMIT = 64 << 20
"""What may come out of even the smallest archive."""

MOST_MEMBERS = 1_000_000

_COPIED = 1 << 20
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
            while chunk := content.read(_COPIED):
                write_all(out, chunk, part)
            if out.tell() != size:
                raise ArchiveError(f"{archive}: {target.name} is cut off; get the archive again")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return True
