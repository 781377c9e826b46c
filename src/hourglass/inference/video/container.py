"""Video containers and cameras through PyAV: how they are opened, and an index of a file's frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core import files
from hourglass.core.arrays import RGB
from hourglass.inference.video.frames import Selection, VideoError

_DEMUX_FAILURES = 16
"""So many errors of the container in a row, and it is given up."""
_UNTAGGED = 2
_HD_ROWS = 720


def load_av() -> Any:
    """PyAV; raises VideoError saying how to get it."""
    try:
        import av
    except ImportError as error:
        raise VideoError("video needs PyAV: pip install -e '.[video]'") from error
    return av


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its error numbers and its own function names."""
    text = files.reason(error)
    # A tuple whose last part, or its last part, is the sentence.
    log: Any = getattr(error, "log", None)
    while isinstance(log, tuple) and log:
        log = log[-1]
    return " ".join((f"{text} ({log.strip()})" if isinstance(log, str) and log.strip() else text).split())


@contextmanager
def _listening() -> Iterator[list[Any]]:
    """What FFmpeg logs as errors in this thread meanwhile, which it otherwise throws away."""
    av = load_av()
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(level)


def upright(image: RGB, matrix: npt.NDArray[np.int32] | None) -> RGB:
    """A stored picture as it is to be shown, by its 3 x 3 display matrix (9,), row by row in 16.16.

    A point (x, y) is shown at (a x + c y, b x + d y), where a, b are the first two numbers and c, d the
    fourth and fifth; that is a multiple of 90 degrees and perhaps a mirroring, and anything else counts as
    the nearest of those.
    """
    if matrix is None or not np.asarray(matrix).any():
        return image
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    turned = image.swapaxes(0, 1) if swap else image
    left_right, up_down = (c, b) if swap else (a, d)
    turned = turned[:, ::-1] if left_right < 0 else turned
    turned = turned[::-1] if up_down < 0 else turned
    return np.ascontiguousarray(turned)


def to_image(frame: Any) -> RGB:
    """A decoded frame as (H, W, 3) uint8 RGB, upright."""
    try:
        data: Any = frame.side_data["DISPLAYMATRIX"]
        matrix = np.frombuffer(bytes(data), np.int32)
    except KeyError:
        matrix = None
    # Untagged colours are BT.709's in high definition, as players take them.
    untagged = int(frame.colorspace) == _UNTAGGED and int(frame.height) >= _HD_ROWS
    pixels = frame.to_ndarray(format="rgb24", src_colorspace="ITU709" if untagged else None)
    return upright(np.ascontiguousarray(pixels, np.uint8), matrix)


@dataclass(frozen=True, eq=False)
class Index:
    """All frames of a file: their time stamps (N,), rising, or None where the container has none to trust."""

    pts: npt.NDArray[np.int64] | None
    damage: str = ""


def read_index(container: Any, video: Any, selection: Selection) -> Index:
    """Read a container's packets, without decoding, up to the end of the range.

    Raises VideoError when there are no packets of pictures.
    """
    stamps: list[int | None] = []
    time_base = Fraction(video.time_base)
    end_s, lowest, cut_short, failure = 0.0, None, False, ""
    # FFmpeg's containers tell of damage in their log only.
    with _listening() as log:
        for packet in packets(container, None):
            if isinstance(packet, str):
                failure = failure or packet
                continue
            if packet.pts is not None and packet.size:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != video.index or not packet.size or packet.is_discard:
                continue
            stamps.append(packet.pts)
            if packet.pts is not None:
                lowest = packet.pts if lowest is None else min(lowest, packet.pts)
            if lowest is not None and packet.dts is not None and selection.end_s is not None:
                # No packet is shown before it is decoded, so what comes from here on lies behind the end.
                cut_short = selection.is_past(float((packet.dts - lowest) * time_base))
                if cut_short:
                    break
    if not stamps:
        raise VideoError("its stream of pictures is empty")
    damage = "" if cut_short else _early_end(container, video, end_s)
    said = [line for _, name, line in log if name == container.format.name]
    fault = failure or (" ".join(said[0].split()) if said else "")
    if fault and not damage:
        damage = f"the file is damaged ({fault})"
    known = [pts for pts in stamps if pts is not None]
    if len(known) < len(stamps) or len(set(known)) < len(known):
        return Index(None, damage)
    return Index(np.array(sorted(known), np.int64), damage)


def _early_end(container: Any, video: Any, end_s: float) -> str:
    """A sentence where the header promises more than the file holds."""
    if not container.duration or not {"mov", "matroska"} & set(container.format.name.split(",")):
        return ""
    promised_s = (container.duration + max(container.start_time or 0, 0)) / 1e6
    if promised_s - end_s <= max(0.1, float(2 / rate_of(video))):
        return ""
    return f"the file ends early: its header promises {promised_s:.2f} s, and {end_s:.2f} s are there"


def packets(container: Any, streams: Any) -> Iterator[Any]:
    """A container's packets, all or of some streams, with a str in between for what can't be read."""
    av = load_av()
    failures = 0
    while failures < _DEMUX_FAILURES:
        try:
            for packet in container.demux() if streams is None else container.demux(streams):
                failures = 0
                yield packet
            return
        except av.FFmpegError as error:
            failures += 1
            yield reason(error)


def rate_of(video: Any) -> Fraction:
    """A stream's nominal frames per second; 25 where it doesn't say."""
    for rate in (video.average_rate, video.guessed_rate):
        if rate:
            return Fraction(rate)
    return Fraction(25)


def open_container(file: Any, name: str, **options: Any) -> tuple[Any, Any]:
    """A container and its stream of pictures; raises VideoError, naming it, when it has none."""
    av = load_av()
    try:
        with _listening():
            container = av.open(file, "r", **options)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{name} can't be read as video: {reason(error)}") from error
    # An album's cover is a stream of pictures by name only.
    streams = [s for s in container.streams.video if not s.disposition & 0x400]
    if not streams or streams[0].codec_context is None:
        kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
        container.close()
        raise VideoError(f"{name} holds no video that can be decoded: it holds {', '.join(kinds)}")
    return container, streams[0]
