"""A source by the name a user gives: a video file, a camera's number, pictures, or standard input."""

import re
import sys
from pathlib import Path
from typing import BinaryIO, cast

from hourglass.inference.inputs_outputs import IMAGE_SUFFIXES
from hourglass.inference.video.decode import camera_clip, file_clip, stream_clip
from hourglass.inference.video.frames import Clip, Selection, exact_rate, has_number, picture_clip, raw_clip

_ENDINGS = """
    mp4 m4v mov mkv webm avi mpg mpeg ts m2ts mts wmv flv 3gp 3g2 ogv mxf vob h264 264 hevc h265 ivf y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""A file with one of these endings is a video."""

STANDARD_INPUT = "-"
SEQUENCE_FPS = 25.0


def kind_of(name: str, sequence: bool = False) -> str:
    """`file`, `camera`, `pipe` or `pictures`, or "" for what is no video.

    A name that exists is what it is; else a number is a camera, and a name with %d or %04d numbered pictures.
    `sequence` makes a video of a folder or glob of pictures.
    """
    if name == STANDARD_INPUT:
        return "pipe"
    path = Path(name)
    if path.is_file():
        return "file" if path.suffix.lower() in VIDEO_SUFFIXES else ""
    if not path.exists():
        if re.fullmatch(r"\d{1,3}", name):
            return "camera"
        if has_number(name):
            return "pictures"
        if path.suffix.lower() in VIDEO_SUFFIXES and not sequence:
            return "file"
    pictures = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES or not path.suffix
    return "pictures" if sequence and pictures else ""


def open_clip(
    name: str,
    selection: Selection | None = None,
    fps: float | None = None,
    frame_size_px: tuple[int, int] | None = None,
    with_sound: bool = True,
) -> Clip:
    """Open a source.

    Args:
        name: a video file; a camera's number; a folder, glob or printf pattern of pictures; or `-`.
        selection: which frames; all by default.
        fps: of pictures in files (25 by default), of raw frames on standard input, or asked of a camera.
        frame_size_px: width and height of raw frames on standard input, or asked of a camera.
        with_sound: pass the sound on.

    Raises ValueError, naming the option, for one that means nothing here; VideoError, naming the source,
    when it can't be read; FileNotFoundError when there is none.
    """
    wanted = selection or Selection()
    rate = None if fps is None else exact_rate(fps)
    kind = kind_of(name, sequence=fps is not None) or "file"
    if kind == "camera":
        return camera_clip(int(name), frame_size_px, rate, wanted)
    if kind == "pictures":
        if frame_size_px is not None:
            raise ValueError("--frame-size is for raw frames and cameras: pictures in files tell their size")
        return picture_clip(name, rate or exact_rate(SEQUENCE_FPS), wanted)
    if kind == "pipe" and frame_size_px is not None:
        if rate is None:
            raise ValueError("raw frames on standard input carry no times: give --fps as well")
        return raw_clip(_standard_input(), frame_size_px, rate, wanted)
    for option, value in (("--fps", fps), ("--frame-size", frame_size_px)):
        if value is not None:
            raise ValueError(f"{option} is not for {name}: a video file tells its own")
    if kind == "pipe":
        return stream_clip(_standard_input(), wanted, with_sound)
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no video file {name}")
    return file_clip(path, wanted, with_sound)


def _standard_input() -> BinaryIO:
    """Standard input without a buffer.

    Python aborts at its end when another thread waits within the buffer's lock, as a reader may after Ctrl-C.
    """
    buffered = sys.stdin.buffer
    return cast(BinaryIO, getattr(buffered, "raw", buffered))
