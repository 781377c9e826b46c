"""The drawn video: H.264, the source's own time stamps, and its sound packet by packet as it was."""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hourglass.core.arrays import RGB
from hourglass.inference.video.container import load_av, reason
from hourglass.inference.video.frames import Clip, VideoError

ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
"""Encoders of H.264, the first one that FFmpeg was built with is used."""

_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "20"}}
_CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
_BT709 = 1
_LIMITED = 1


def encoder_name() -> str:
    """The H.264 encoder that is used here; raises VideoError when FFmpeg was built without one."""
    av = load_av()
    for name in ENCODERS:
        with suppress(ValueError, LookupError, av.FFmpegError):
            av.Codec(name, "w")
            return name
    raise VideoError(f"this build of FFmpeg encodes no H.264 (none of {', '.join(ENCODERS)})")


def choose_suffix(sounds: Sequence[Any]) -> tuple[str, tuple[Any, ...], str]:
    """The container for a source's sounds: its ending, the sounds that fit, and a sentence where some don't.

    MP4 where it takes all of them as they are, else Matroska, else QuickTime.
    """
    av = load_av()
    fitting: dict[str, list[Any]] = {}
    for suffix, kind in _CONTAINERS.items():
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            fitting[suffix] = [s for s in sounds if _adds(trial, s)]
        if len(fitting[suffix]) == len(sounds):
            return suffix, tuple(sounds), ""
    best = max(fitting, key=lambda suffix: len(fitting[suffix]))
    left = [s.codec_context.name for s in sounds if s not in fitting[best]]
    return (
        best,
        tuple(fitting[best]),
        f"the sound ({', '.join(left)}) fits no container for H.264 as it is and is left out",
    )


def _adds(container: Any, stream: Any) -> bool:
    av = load_av()
    try:
        container.add_stream_from_template(stream)
    except (ValueError, av.FFmpegError):
        return False
    return True


class VideoWriter:
    """Frames to a video file, which gets its name when `finish` is called, whole.

    The size is the first frame's, a row or column more where that is odd (H.264 has even sizes); frames of
    another size are fitted in.

    Args:
        path: ends in .mp4, .mkv or .mov; a temporary neighbour is written.
        clip: where the frames and sounds come from.
        sounds: those of the clip's sounds that the container takes.
        start_s: the source's time at which the video begins; what lies before is not written.

    Raises VideoError naming the file when it can't be written.
    """

    def __init__(self, path: Path, clip: Clip, sounds: Sequence[Any] = (), start_s: float = 0.0) -> None:
        self.path = path
        self.frames = 0
        self._clip = clip
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._container: Any = None
        self._stream: Any = None
        self._templates = sounds
        self._outputs: dict[int, Any] = {}
        self._shift_s = Fraction(start_s).limit_denominator(1_000_000)
        self._origin_s: Fraction | None = None
        self._last_pts: int | None = None
        self._waiting: list[Any] = []
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, image: RGB, time_s: float, pts: int, sound: Sequence[Any] = ()) -> None:
        """Write a frame (H, W, 3) uint8 RGB, and the packets of sound before it."""
        av = load_av()
        if self._container is None:
            self._open(image.shape[1], image.shape[0])
        if self._origin_s is None:
            self._origin_s = Fraction(pts) * self._clip.time_base - Fraction(time_s).limit_denominator(
                1_000_000
            )
        try:
            picture = av.VideoFrame.from_ndarray(
                _fitted(image, self._stream.width, self._stream.height), "rgb24"
            )
            frame = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            shifted = pts - self._shift(self._clip.time_base)
            frame.pts = shifted if self._last_pts is None else max(shifted, self._last_pts + 1)
            frame.time_base = self._clip.time_base
            self._last_pts = frame.pts
            self._container.mux(self._stream.encode(frame))
            self.sound([*self._waiting, *sound])
            self._waiting.clear()
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"cannot write {self.path}: {reason(error)}") from error
        self.frames += 1

    def sound(self, packets: Sequence[Any]) -> None:
        """Write packets of sound as they are."""
        if self._container is None:
            # A sound before the first picture waits for the size of that.
            self._waiting.extend(packets)
            return
        for packet in packets:
            output = self._outputs.get(packet.stream_index)
            if output is None:
                continue
            shift = self._shift(packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = output
            self._container.mux_one(packet)

    def finish(self) -> bool:
        """Close the file and put it in place; False, and no file, where there was no frame."""
        av = load_av()
        if self._container is None:
            return False
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"cannot write {self.path}: {reason(error)}") from error
        self._container = None
        os.replace(self._part, self.path)
        return True

    def discard(self) -> None:
        """Close and remove what isn't finished."""
        if self._container is not None:
            with suppress(Exception):  # it is thrown away, whatever closing says
                self._container.close()
            self._container = None
        self._part.unlink(missing_ok=True)

    def _shift(self, time_base: Fraction) -> int:
        """Units by which time stamps are lowered, so that the part asked for begins at 0."""
        if not self._shift_s:
            return 0
        return round(((self._origin_s or Fraction(0)) + self._shift_s) / Fraction(time_base))

    def _open(self, width: int, height: int) -> None:
        av = load_av()
        name = encoder_name()
        try:
            container = av.open(str(self._part), "w", format=_CONTAINERS[self.path.suffix])
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"cannot write {self.path}: {reason(error)}") from error
        rate = self._clip.rate.limit_denominator(100_000)
        stream = container.add_stream(name, rate=rate, options=_OPTIONS.get(name, {}))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._clip.time_base
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if self._clip.aspect is not None:
            lying = self._clip.stored_px == (height, width) and width != height
            context.sample_aspect_ratio = 1 / self._clip.aspect if lying else self._clip.aspect
        for template in self._templates:
            self._outputs[template.index] = container.add_stream_from_template(template)
        self._container, self._stream = container, stream
        try:
            container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"cannot write {self.path}: {reason(error)}") from error


def _fitted(image: RGB, width: int, height: int) -> RGB:
    """An image in a frame of another size: the last row and column repeated, or scaled onto black."""
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return np.ascontiguousarray(image)
    down, right = height - rows, width - columns
    if 0 <= down <= 1 and 0 <= right <= 1:
        return np.ascontiguousarray(np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge"))
    scale = min(width / columns, height / rows)
    size = max(round(columns * scale), 1), max(round(rows * scale), 1)
    canvas = np.zeros((height, width, 3), np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return canvas
