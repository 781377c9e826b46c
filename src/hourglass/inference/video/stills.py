"""Frames that are no container: numbered pictures in files, and raw pixels from a pipe."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hourglass.data.loading.images import ImageError, read_image
from hourglass.inference.inputs_outputs import expand
from hourglass.inference.video.frames import Clip, Frame, Item, Selection

_NUMBER = re.compile(r"%(0?)(\d*)d")


def has_number(name: str) -> bool:
    """Whether a name is a printf pattern of numbered files, such as `shot/%04d.png`."""
    return len(_NUMBER.findall(name)) == 1


def numbered_files(pattern: str) -> list[Path]:
    """The files behind a printf pattern, by number; raises FileNotFoundError when there are none."""
    path = Path(pattern)
    found = _NUMBER.search(path.name)
    if found is None:
        raise FileNotFoundError(f"{pattern}: the number (%d, %04d) must be in the file's name")
    zero, width = found.groups()
    digits = rf"(\d{{{width},}})" if zero and width else r"(\d+)"
    before, after = path.name[: found.start()], path.name[found.end() :]
    name = re.compile(re.escape(before.replace("%%", "%")) + digits + re.escape(after.replace("%%", "%")))
    folder = path.parent
    matches = (
        [(m, file) for file in folder.iterdir() if (m := name.fullmatch(file.name))]
        if folder.is_dir()
        else []
    )
    if not matches:
        raise FileNotFoundError(f"no file matches {pattern}")
    return [file for _, file in sorted(((int(m[1]), file) for m, file in matches))]


def sequence_files(name: str) -> list[Path]:
    """The pictures of a folder, a glob or a printf pattern, `f10` after `f9`; raises FileNotFoundError."""
    if has_number(name) and not Path(name).exists():
        return numbered_files(name)
    return sorted(expand([name]), key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def picture_clip(name: str, rate: Fraction, selection: Selection) -> Clip:
    """Pictures in files as a video of so many frames per second; frame i is the i-th file.

    A picture that can't be read is a broken frame.
    """
    files = sequence_files(name)
    times_s = np.arange(len(files), dtype=np.float64) / float(rate)
    rows = selection.rows(times_s)

    def produce(after: int | None) -> Iterator[Item]:
        for row in rows[rows > (-1 if after is None else after)].tolist():
            try:
                image, error = read_image(files[row]), ""
            except ImageError as reason:
                image, error = None, str(reason)
            yield Frame(row, float(times_s[row]), row, image, error)

    identity = f"{len(files)} files of {_total_bytes(files)} bytes"
    return Clip(name, identity, produce, len(rows), rate, 1 / rate)


def _total_bytes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def raw_clip(file: BinaryIO, size_px: tuple[int, int], rate: Fraction, selection: Selection) -> Clip:
    """Raw RGB frames, 8 bits a channel, one after the other, as `-f rawvideo -pix_fmt rgb24` writes them.

    A last frame that is cut off is a broken one.
    """
    width, height = size_px
    length = width * height * 3

    def produce(after: int | None) -> Iterator[Item]:
        first: int | None = None
        index = 0
        while data := _read(file, length):
            time_s = float(index / rate)
            if selection.is_past(time_s):
                return
            if selection.holds(time_s):
                first = index if first is None else first
                if (index - first) % selection.every == 0 and index > (-1 if after is None else after):
                    image = None
                    error = f"the frame has {len(data)} of {length} bytes" if len(data) < length else ""
                    if not error:
                        image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                    yield Frame(index, time_s, index, image, error)
            index += 1

    return Clip("standard input", "", produce, None, rate, 1 / rate)


def _read(file: BinaryIO, length: int) -> bytes:
    """So many bytes, fewer only at the end: a pipe gives what it has."""
    parts: list[bytes] = []
    while length and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
