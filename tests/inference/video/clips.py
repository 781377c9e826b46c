"""Small videos for tests, and a network that finds coloured dots; nothing here is ours but what it feeds."""

from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import Skeleton
from hourglass.inference.predictor import Predictor
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts

RGB = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: the extra `video`")

HEIGHT, WIDTH = 64, 96
BITS = 8


def numbered(index: int, height: int = HEIGHT, width: int = WIDTH) -> RGB:
    """A frame that tells its number: eight bars, black or white, over a red left and a blue right half."""
    image = np.full((height, width, 3), (0, 0, 200), np.uint8)
    image[:, : width // 2] = (200, 0, 0)
    bar = width // BITS
    for bit in range(BITS):
        image[: height // 2, bit * bar : (bit + 1) * bar] = 255 * ((index >> bit) & 1)
    return image


def number_of(image: RGB) -> int:
    """The number in a frame that has been through a codec."""
    height, width = image.shape[:2]
    bar = width // BITS
    middles = [image[height // 4, bit * bar + bar // 2].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, value in enumerate(middles) if value > 127)


def sound_wave(seconds: float) -> npt.NDArray[np.float32]:
    time_s = np.arange(int(48_000 * seconds)) / 48_000
    return np.stack([0.3 * np.sin(2 * np.pi * 440 * time_s)] * 2).astype(np.float32)


def write_clip(
    path: Path,
    frames: Sequence[RGB] | int = 40,
    pts_ms: Sequence[int] | None = None,
    sound: str = "",
    rotation: int = 0,
    codec: str = "libx264",
    key_every: int = 12,
    b_frames: int = 2,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A video of frames, or of so many numbered ones: 25 a second, or at the given milliseconds."""
    import av

    images = [numbered(i) for i in range(frames)] if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", options=options or {}) as container:
        x264 = {"crf": "12", "preset": "veryfast", "bf": str(b_frames)} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=25, options=x264)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, 25) if pts_ms is None else Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        audio: Any = container.add_stream(sound, rate=48_000) if sound else None
        for i, image in enumerate(images):
            frame: Any = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = i if pts_ms is None else pts_ms[i]
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            wave = sound_wave((len(images) / 25) if pts_ms is None else pts_ms[-1] / 1000)
            size = audio.codec_context.frame_size or 1024
            for start in range(0, wave.shape[1] - size + 1, size):
                part: Any = av.AudioFrame.from_ndarray(wave[:, start : start + size].copy(), "fltp", "stereo")
                part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[int, bytes]]:
    """(time stamp, bytes) of every packet of a kind of stream, `video` or `audio`."""
    import av

    with av.open(str(path)) as container:
        chosen: Any = getattr(container.streams, kind)[0]
        return [(int(p.pts or 0), bytes(p)) for p in container.demux(chosen) if p.size]


def video_frames(path: Path) -> list[tuple[float, RGB]]:
    """(seconds, picture) of every frame, as PyAV alone decodes them."""
    import av

    with av.open(str(path)) as container:
        decoded: Any = container.decode(video=0)
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in decoded]


def break_packet(path: Path, frame: int) -> Path:
    """Random bytes over the packet that shows frame `frame`, in a file of its own."""
    import av

    with av.open(str(path)) as container:
        rows: list[Any] = [(p.pts, p.pos, p.size) for p in container.demux(video=0) if p.size]
    _, pos, size = sorted(rows)[frame]
    data = bytearray(path.read_bytes())
    data[pos : pos + size] = np.random.default_rng(frame).integers(0, 256, size, dtype=np.uint8).tobytes()
    broken = path.with_name(f"broken_{path.name}")
    broken.write_bytes(data)
    return broken


DOTS = Skeleton("dots", ("red", "green", "blue"), limbs=(("red", "green"), ("green", "blue")))
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)


class DotFinder(nn.Module):
    """Stands for a perfect network: one coloured disc for each joint."""

    output = "heatmap"
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.from_numpy(COLOURS.astype(np.float32)))

    def forward(self, image: Tensor) -> list[Tensor]:
        apart = image.float()[:, None] - self.colours[None, :, :, None, None]  # type: ignore[index]
        alike = torch.exp(-(apart / 120).square().sum(2))
        return [nn.functional.avg_pool2d(nn.functional.avg_pool2d(alike, 5, 1, 2), 4)]


def dot_predictor() -> Predictor:
    facts = WeightFacts("dots", NetworkRecipe(), DOTS, 64, (0.5,) * 3, (0.25,) * 3, box_margin=1.6)
    return Predictor(DotFinder(), facts, "cpu", "fp32", flip_test=False, batch_size=4)


def dotted(people: Sequence[Points], height: int = 96, width: int = 128, radius: float = 4.0) -> RGB:
    """People as three discs each, (3, 2) pixels, on grey."""
    image = np.full((height, width, 3), 128, np.uint8)
    y, x = np.mgrid[:height, :width]
    for points in people:
        for (cx, cy), colour in zip(points, COLOURS, strict=True):
            image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = colour
    return image


def triangle(x: float, y: float, size: float = 15.0) -> Points:
    """A person's three joints around a place."""
    return np.array([(x - size, y + size / 2), (x, y - size), (x + size, y + size / 2)])
