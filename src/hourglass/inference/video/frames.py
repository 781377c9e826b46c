"""Frames in order, which of them are asked for, and those that lie in no container: files, raw pixels."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB
from hourglass.data.loading.images import ImageError, read_image
from hourglass.inference.inputs_outputs import expand


class VideoError(ValueError):
    """A video that can't be read or written; the message names it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source, upright.

    Args:
        index: counted from 0 in the whole source, whatever part of it is asked for.
        time_s: seconds since the source's first frame.
        pts: the source's own time stamp, in units of `Clip.time_base`.
        image: (H, W, 3) uint8 RGB; None where the frame is broken, or no longer needed.
        error: why it is broken, or "".
        sound: packets of sound that the source holds between the frame before and this one.
    """

    index: int
    time_s: float
    pts: int
    image: RGB | None
    error: str = ""
    sound: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Sound:
    """Packets of sound behind the last frame."""

    packets: tuple[Any, ...]


Item = Frame | Sound


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are asked for.

    Args:
        every: the first frame in the range, and every so-manieth after it.
        start_s: the range begins with the first frame at or after this time.
        end_s: and ends before this time; None is the end of the source.

    Raises ValueError naming the option that is out of range.
    """

    every: int = 1
    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"--every is {self.every}; it must be 1 or more")
        if not 0 <= self.start_s < float("inf"):
            raise ValueError(f"--start is {self.start_s:g} s; it can't be negative or endless")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise ValueError(f"--end ({self.end_s:g} s) must come after --start ({self.start_s:g} s)")

    def rows(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Indices of the frames asked for, among frames at rising times (N,)."""
        first = int(np.searchsorted(times_s, self.start_s - _SAME_S))
        past = len(times_s)
        if self.end_s is not None:
            past = int(np.searchsorted(times_s, self.end_s - _SAME_S))
        return np.arange(first, past, self.every, dtype=np.int64)

    def holds(self, time_s: float) -> bool:
        """Whether a time lies in the range."""
        return time_s >= self.start_s - _SAME_S and not self.is_past(time_s)

    def is_past(self, time_s: float) -> bool:
        """Whether a time lies behind the range."""
        return self.end_s is not None and time_s >= self.end_s - _SAME_S


_SAME_S = 1e-6
"""Times this close are the same: 0.12 s, typed, has to mean frame 3 at 25 frames/s."""


@dataclass(eq=False)
class Clip:
    """A source that has been opened; `frames` may be asked for once.

    Args:
        name: what to call it.
        identity: what tells it from another one of the same name, for resuming; "" where it can't be read
            twice.
        produce: gives the frames asked for that come after a frame index (None: all), then perhaps sound.
        total: how many frames are asked for, where that is known.
        rate: nominal frames per second.
        time_base: unit of the frames' `pts`, in seconds.
        live: it goes on while nobody reads (a camera), and Ctrl-C is its natural end.
        sounds: PyAV's streams of sound.
        aspect: width over height of a stored pixel where that is not 1.
        stored_px: width and height as stored, before frames are turned upright; None where they never are.
        damage: what is wrong with the source as a whole, in one sentence; "" where nothing is.
        close: frees what is open.
    """

    name: str
    identity: str
    produce: Callable[[int | None], Iterator[Item]]
    total: int | None
    rate: Fraction
    time_base: Fraction
    live: bool = False
    sounds: tuple[Any, ...] = ()
    aspect: Fraction | None = None
    stored_px: tuple[int, int] | None = None
    damage: str = ""
    close: Callable[[], None] = field(default=lambda: None)


def parse_time(text: str, option: str) -> float:
    """Seconds from `12.5`, `1:02.5` or `1:00:02.5`; raises ValueError naming the option."""
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    whole = all(float(n).is_integer() for n in numbers[:-1])
    if not 1 <= len(numbers) <= 3 or min(numbers) < 0 or not np.isfinite(numbers).all() or not whole:
        raise ValueError(f"{option} {text!r} is not a time: give seconds (12.5) or h:mm:ss (0:01:02.5)")
    if any(n >= 60 for n in numbers[1:]):
        raise ValueError(f"{option} {text!r} is not a time: after a colon come less than 60")
    seconds = 0.0
    for n in numbers:
        seconds = 60 * seconds + n
    return seconds


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from `640x480`; raises ValueError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--frame-size {text!r} is not WIDTHxHEIGHT, such as 640x480")
    return int(parts[0]), int(parts[1])


def exact_rate(fps: float) -> Fraction:
    """A frame rate as the fraction that is meant: 29.97 is 30000/1001. Raises ValueError naming `--fps`."""
    if not 0 < fps <= 10_000:
        raise ValueError(f"--fps is {fps:g}; it must be positive and 10000 at most")
    for whole in (24, 30, 48, 60, 120, 240):
        ntsc = Fraction(whole * 1000, 1001)
        if abs(float(ntsc) - fps) < 0.006 and fps != whole:
            return ntsc
    return Fraction(fps).limit_denominator(10_000)


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
