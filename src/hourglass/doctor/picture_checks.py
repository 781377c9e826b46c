"""Checks of the pictures' files: there, readable, of the stated size, and each only once."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hourglass.data.loading.images import ImageError, image_size
from hourglass.doctor.people import LEAK_SHARE, DataSet, Finding, Suspect, level_of
from hourglass.doctor.set_checks import photo_splits

Progress = Callable[[int, int], None]
"""How many pictures are done, of how many."""

_BLOCK = 64
"""Pictures that one thread takes at a time."""


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """What the files of P pictures say.

    Args:
        missing: numbers of the pictures without a file.
        unreadable: why, by number.
        size: width and height of those that were opened, by number.
        bytes: length of each file, by number.
        opened: whether headers were read.
    """

    missing: tuple[int, ...]
    unreadable: dict[int, str]
    size: dict[int, tuple[int, int]]
    bytes: dict[int, int]
    opened: bool


def look(
    people: DataSet, quick: bool = False, workers: int = 0, progress: Progress | None = None
) -> PictureFiles:
    """Ask the system for every picture and, unless `quick`, open its header.

    Args:
        workers: threads; 0 is one for each core.
        progress: called from the calling thread.
    """
    numbers = list(range(len(people.photos)))
    blocks = [numbers[at : at + _BLOCK] for at in range(0, len(numbers), _BLOCK)]
    result = PictureFiles((), {}, {}, {}, not quick)
    missing: list[int] = []
    done = 0
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for block, answers in zip(
            blocks, pool.map(lambda b: [_one(people, n, quick) for n in b], blocks), strict=True
        ):
            for number, answer in zip(block, answers, strict=True):
                if answer is None:
                    missing.append(number)
                    continue
                length, seen = answer
                result.bytes[number] = length
                if isinstance(seen, str):
                    result.unreadable[number] = seen
                elif seen is not None:
                    result.size[number] = seen
            done += len(block)
            if progress is not None:
                progress(done, len(numbers))
    return PictureFiles(tuple(missing), result.unreadable, result.size, result.bytes, not quick)


def _one(people: DataSet, number: int, quick: bool) -> tuple[int, str | tuple[int, int] | None] | None:
    """Length in bytes, and the size or why it can't be told; None of a missing file."""
    source = people.photos[number].source
    if source is None:
        return None
    try:
        if isinstance(source, bytes):
            length = len(source)
        elif source.is_file():
            length = source.stat().st_size
        else:
            return None
        return length, None if quick else image_size(source, people.photos[number].name)
    except ImageError as error:
        return length, str(error)
    except OSError:
        return None


def with_found_sizes(people: DataSet, seen: PictureFiles) -> DataSet:
    """The people with the pictures' own sizes; the stated ones stay where a picture wasn't opened."""
    sizes = people.sizes.copy()
    for number, size in seen.size.items():
        sizes[number] = size
    return people.with_sizes(sizes)


def missing(people: DataSet, seen: PictureFiles, folders: tuple[Path, ...], quick: bool) -> Finding:
    """Pictures without a file, or the whole folder."""
    total = len(people.photos)
    there = [folder for folder in folders if folder.is_dir()]
    if not there and len(seen.missing) == total:
        where = " and ".join(map(str, folders)) or "beside the annotations"
        said = f"there is no folder of pictures {where}"
        more = "; they were not looked for" if quick else ""
        return Finding("missing", "note" if quick else "error", total, total, "pictures", said + more)
    splits = photo_splits(people)
    needed = [n for n in seen.missing if splits[n] != {"test"}]
    level = "error" if needed else "warning" if seen.missing else "ok"
    said = f"pictures without a file: {len(seen.missing)} of {total}"
    if seen.missing and not needed:
        said += ", all of them of the test split"
    suspects = [Suspect(1.0, "no such file", None, n) for n in seen.missing]
    return Finding("missing", level, len(seen.missing), total, "pictures", said, suspects)


def unreadable(people: DataSet, seen: PictureFiles) -> Finding:
    """Pictures whose header can't be read."""
    opened = len(seen.size) + len(seen.unreadable)
    if not seen.opened:
        return Finding("unreadable", "ok", 0, 0, "pictures", "headers were not opened (--quick)")
    suspects = [Suspect(1.0, why, None, n) for n, why in sorted(seen.unreadable.items())]
    level = "error" if suspects else "ok"
    said = f"pictures whose header can't be read: {len(suspects)} of {opened}"
    return Finding("unreadable", level, len(suspects), opened, "pictures", said, suspects)


def stated_sizes(people: DataSet, seen: PictureFiles) -> Finding:
    """Pictures of another size than the annotations state: scaled or turned after they were annotated."""
    both = {n: size for n, size in seen.size.items() if people.photos[n].stated is not None}
    suspects = []
    for n, size in both.items():
        stated = people.photos[n].stated
        if stated is not None and stated != size:
            ratio = float(np.abs(np.log(np.array(size) / np.array(stated))).max())
            what = f"{size[0]} x {size[1]}, stated as {stated[0]} x {stated[1]}"
            suspects.append(Suspect(round(ratio, 4), what, None, n))
    level = level_of(len(suspects), len(both), warn=0.0, stop=0.01)
    said = (
        f"{len(suspects)} pictures are of another size than the annotations state, so joints may not fit them"
    )
    if not both:
        said = "the annotations state no sizes" if seen.opened else "headers were not opened (--quick)"
    worst = tuple(sorted(suspects, key=lambda s: -s.number))
    return Finding("stated-sizes", level, len(suspects), len(both), "pictures", said, worst)


def duplicates(people: DataSet, seen: PictureFiles, progress: Progress | None = None) -> Finding:
    """Pictures with the same bytes under different names; only files of equal length are read."""
    if not seen.opened:
        return Finding("duplicates", "ok", 0, 0, "pictures", "files were not compared (--quick)")
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, length in seen.bytes.items():
        by_length[length].append(number)
    rivals = [number for group in by_length.values() if len(group) > 1 for number in group]
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for at, number in enumerate(rivals):
        if (digest := _digest(people.photos[number].source)) is not None:
            by_digest[digest].append(number)
        if progress is not None:
            progress(at + 1, len(rivals))
    splits = photo_splits(people)
    suspects, across, copies = [], 0, 0
    for group in by_digest.values():
        if len(group) < 2:
            continue
        words = sorted(set().union(*(splits[n] for n in group)))
        across += len(words) > 1
        copies += len(group) - 1
        for n in group[1:]:
            what = f"the same bytes as {people.photos[group[0]].name}"
            suspects.append(Suspect(float(len(words)), what, None, n))
    total = len(seen.bytes)
    level = level_of(across, total, warn=0.0, stop=LEAK_SHARE)
    level = "note" if level == "ok" and copies else level
    said = (
        f"{copies} pictures are copies of others, byte by byte, across splits for {across} of the originals"
    )
    worst = tuple(sorted(suspects, key=lambda s: -s.number))
    return Finding("duplicates", level, copies, total, "pictures", said, worst, {"across_splits": across})


def _digest(source: Path | bytes | None) -> bytes | None:
    try:
        content = source if isinstance(source, bytes) else source.read_bytes() if source else b""
    except OSError:
        return None
    return hashlib.sha256(content).digest()
