"""The frames and sounds of one container that are asked for, and clips of files, pipes and cameras."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB
from hourglass.inference.video.container import (
    load_av,
    open_container,
    packets,
    rate_of,
    read_index,
    reason,
    to_image,
)
from hourglass.inference.video.frames import Clip, Frame, Item, Selection, Sound, VideoError

_LATE_S = 1.0
"""Sound lies at most this far from its picture in a container, as far as a cut is concerned."""
_HIDDEN_FRAMES = frozenset({"vp8"})
"""Codecs some of whose packets show no picture, so a packet without one is no loss."""
_PIPES = (
    "from a pipe Matroska and MPEG-TS always work, an MP4 needs its index in front (-movflags faststart), "
    "and raw frames need --frame-size"
)


def file_clip(path: Path, selection: Selection, with_sound: bool) -> Clip:
    """A video file. Raises VideoError, naming it, when it can't be read or holds no video."""
    container, video = open_container(str(path), str(path))
    try:
        index = read_index(container, video, selection)
    except VideoError as error:
        container.close()
        raise VideoError(f"{path}: {error}") from error
    reading = Reading(video, container if with_sound else None, selection)
    total = None

    def produce(after: int | None) -> Iterator[Item]:
        # A container of its own, since the first one has been read and lends its streams to the writer.
        again, pictures = open_container(str(path), str(path))
        with again:
            if index.pts is None:
                yield from reading.counted(again, pictures, after)
            else:
                yield from reading.indexed(again, pictures, index.pts, after)

    if index.pts is not None:
        total = len(selection.rows(reading.times_s(index.pts)))
    return Clip(
        str(path),
        f"{path.name}, {path.stat().st_size} bytes",
        produce,
        total,
        rate_of(video),
        Fraction(video.time_base),
        sounds=reading.sounds,
        aspect=_aspect(video),
        stored_px=(int(video.width), int(video.height)),
        damage=index.damage,
        close=container.close,
    )


def stream_clip(file: BinaryIO, selection: Selection, with_sound: bool) -> Clip:
    """A container that comes through a pipe and can't be wound back."""
    name = "standard input"
    try:
        container, video = open_container(_Forward(file), name)
    except VideoError as error:
        raise VideoError(f"{error}; {_PIPES}") from error
    return _passing_clip(container, video, name, selection, with_sound, live=False)


def camera_clip(
    number: int, size_px: tuple[int, int] | None, rate: Fraction | None, selection: Selection
) -> Clip:
    """A camera by its number, 0 is the first one; raises VideoError when there is none."""
    name = f"camera {number}"
    options = {} if size_px is None else {"video_size": f"{size_px[0]}x{size_px[1]}"}
    if rate is not None:
        options["framerate"] = str(rate)
    if sys.platform.startswith("linux"):
        device, kind = f"/dev/video{number}", "v4l2"
    elif sys.platform == "darwin":
        device, kind = str(number), "avfoundation"
    else:
        raise VideoError(f"{name}: cameras are read on Linux and macOS only; pipe the pictures in instead")
    container, video = open_container(device, f"{name} ({device})", format=kind, options=options)
    return _passing_clip(container, video, name, selection, with_sound=False, live=True)


def _passing_clip(
    container: Any, video: Any, name: str, selection: Selection, with_sound: bool, live: bool
) -> Clip:
    reading = Reading(video, container if with_sound else None, selection)
    return Clip(
        name,
        "",
        lambda after: reading.counted(container, video, after),
        None,
        rate_of(video),
        Fraction(video.time_base),
        live=live,
        sounds=reading.sounds,
        aspect=_aspect(video),
        stored_px=(int(video.width), int(video.height)),
        close=container.close,
    )


def _aspect(video: Any) -> Fraction | None:
    ratio = video.sample_aspect_ratio
    return Fraction(ratio) if ratio and ratio != 1 else None


class _Forward:
    """A pipe without `seek`, which PyAV would otherwise try on it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class Reading:
    """The frames and sounds of one container that are asked for."""

    def __init__(self, video: Any, sounding: Any, selection: Selection) -> None:
        self.selection = selection
        self.time_base = Fraction(video.time_base)
        self.rate = rate_of(video)
        streams = [] if sounding is None else sounding.streams.audio
        self.sounds = tuple(s for s in streams if s.codec_context is not None)
        self._numbers = [int(video.index), *(int(s.index) for s in self.sounds)]
        self._decoding = True
        self._pending: list[Any] = []
        self._failure = ""

    def times_s(self, pts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray((pts - pts[0]) * float(self.time_base), np.float64)

    def indexed(
        self, container: Any, video: Any, pts: npt.NDArray[np.int64], after: int | None
    ) -> Iterator[Item]:
        """The frames asked for; those that should be there and didn't come are broken."""
        times_s = self.times_s(pts)
        rows = self.selection.rows(times_s)
        waiting = rows[rows > (-1 if after is None else after)].tolist()[::-1]
        if not waiting:
            return
        lookup = {int(stamp): row for row, stamp in enumerate(pts)}
        why: dict[int, str] = {}
        hides = video.codec_context.name in _HIDDEN_FRAMES

        def lost(row: int) -> Iterator[Frame]:
            stamp = int(pts[row])
            if stamp in why or not hides:
                text = why.get(stamp, "no picture came out of it")
                yield self._frame(row, float(times_s[row]), stamp, None, text)

        self._seek(container, video, pts, times_s, waiting[-1])
        for frame, stamp, error in self._events(container, video, int(pts[0])):
            if frame is None:
                if stamp is not None:
                    why[stamp] = error
                continue
            row = lookup.get(-1 if frame.pts is None else int(frame.pts))
            if row is None:
                continue
            while waiting and waiting[-1] < row:
                yield from lost(waiting.pop())
            if waiting and waiting[-1] == row:
                waiting.pop()
                image = None if frame.is_corrupt else to_image(frame)
                text = "its picture is damaged" if frame.is_corrupt else ""
                yield self._frame(row, float(times_s[row]), int(pts[row]), image, text)
            self._decoding = bool(waiting)
        while waiting:
            yield from lost(waiting.pop())
        yield Sound(tuple(self._pending))

    def _seek(
        self,
        container: Any,
        video: Any,
        pts: npt.NDArray[np.int64],
        times_s: npt.NDArray[np.float64],
        row: int,
    ) -> None:
        """Go to the last key frame that is early enough, and for sound a little further back."""
        av = load_av()
        early_s = float(times_s[row]) - (_LATE_S if self.sounds else 0.0)
        if early_s <= 0 or row == 0:
            return
        target = int(pts[max(int(np.searchsorted(times_s, early_s, side="right")) - 1, 0)])
        try:
            container.seek(target, stream=video, backward=True)
            first = next((p for p in container.demux(video) if p.size), None)
            good = first is not None and first.is_keyframe and first.pts is not None and first.pts <= pts[row]
            if good:
                container.seek(target, stream=video, backward=True)
                return
        except av.FFmpegError:
            pass
        container.seek(int(pts[0]) - 1, stream=video, backward=True)

    def counted(self, container: Any, video: Any, after: int | None) -> Iterator[Item]:
        """The frames asked for, numbered as they come."""
        origin: int | None = None
        first: int | None = None
        index, last = -1, -1
        for frame, stamp, error in self._events(container, video, None):
            index += 1
            given = stamp if frame is None else frame.pts
            step = max(int(1 / (self.rate * self.time_base)), 1)
            pts = int(given) if given is not None else last + step
            if origin is not None and pts <= last:
                pts = last + 1
            origin = pts if origin is None else origin
            last = pts
            time_s = float((pts - origin) * self.time_base)
            if self.selection.is_past(time_s):
                break
            if not self.selection.holds(time_s):
                continue
            first = index if first is None else first
            if (index - first) % self.selection.every or index <= (-1 if after is None else after):
                continue
            image = None
            if frame is not None and frame.is_corrupt:
                error = "its picture is damaged"
            elif frame is not None:
                image = to_image(frame)
            yield self._frame(index, time_s, pts, image, error)
        if index < 0 and self._failure:
            raise VideoError(f"no frame can be read: {self._failure}; {_PIPES}")
        yield Sound(tuple(self._pending))

    def _frame(self, index: int, time_s: float, pts: int, image: RGB | None, error: str) -> Frame:
        sound = tuple(self._pending)
        self._pending.clear()
        return Frame(index, time_s, pts, image, error, sound)

    def _events(
        self, container: Any, video: Any, origin: int | None
    ) -> Iterator[tuple[Any, int | None, str]]:
        """Decoded frames, or None with the time stamp (where it has one) and the fault of a broken packet.

        Packets of sound gather aside. `origin` is the first frame's time stamp, the first packet's by
        default.
        """
        av = load_av()
        for packet in packets(container, [container.streams[n] for n in self._numbers]):
            if isinstance(packet, str):
                self._failure = self._failure or packet
                continue
            if packet.stream_index != video.index:
                if packet.pts is not None and packet.size and self._sounds_at(packet, origin):
                    self._pending.append(packet)
                continue
            if origin is None:
                origin = packet.pts
            if not self._decoding and (not self.sounds or self._is_behind(packet, origin)):
                return
            if not self._decoding:
                continue
            try:
                for frame in packet.decode():
                    yield frame, None, ""
            except av.FFmpegError as error:
                yield None, packet.pts, reason(error)

    def _sounds_at(self, packet: Any, origin: int | None) -> bool:
        time_s = float(packet.pts * packet.time_base - (origin or 0) * self.time_base)
        return (self.selection.start_s == 0 and not self.selection.is_past(time_s)) or self.selection.holds(
            time_s
        )

    def _is_behind(self, packet: Any, origin: int | None) -> bool:
        if packet.dts is None:
            return False
        time_s = float((packet.dts - (origin or 0)) * self.time_base)
        return self.selection.is_past(time_s - _LATE_S)
