"""What every kind of source gives: frames in order, and which of them are asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB


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
