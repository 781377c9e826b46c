import io
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.inference.video import container
from hourglass.inference.video.container import upright
from hourglass.inference.video.frames import Clip, Frame, Selection, Sound, VideoError
from hourglass.inference.video.open_video import kind_of, open_clip
from inference.video.clips import HEIGHT, WIDTH, needs_av, number_of, numbered, packets, write_clip

pytestmark = needs_av


def read(clip: Clip, after: int | None = None) -> list[Frame]:
    frames = [item for item in clip.produce(after) if isinstance(item, Frame)]
    clip.close()
    return frames


def told(frames: list[Frame]) -> list[int]:
    """The numbers that the pictures themselves tell."""
    return [number_of(frame.image) for frame in frames if frame.image is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return write_clip(folder / "plain.mp4")


@pytest.mark.parametrize("ending", ["avi", "mkv", "mov", "mp4", "ts", "webm"])
def test_every_frame_comes_once_with_its_number_and_time(folder: Path, ending: str) -> None:
    codec = {"avi": "mpeg4", "webm": "libvpx"}.get(ending, "libx264")
    clip = open_clip(str(write_clip(folder / f"all.{ending}", codec=codec)))
    assert clip.total == 40
    assert clip.rate == 25
    frames = read(clip)
    assert told(frames) == [f.index for f in frames] == list(range(40))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(40) / 25, atol=1.1e-3)
    assert {f.image.shape for f in frames if f.image is not None} == {(HEIGHT, WIDTH, 3)}
    assert clip.damage == ""


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(every=7), list(range(0, 40, 7))),
        (Selection(start_s=0.8), list(range(20, 40))),
        (Selection(start_s=0.81), list(range(21, 40))),
        (Selection(end_s=0.2), [0, 1, 2, 3, 4]),
        (Selection(every=3, start_s=0.52, end_s=1.0), [13, 16, 19, 22]),
        (Selection(start_s=1.56), [39]),
        (Selection(start_s=7.0), []),
    ],
)
@pytest.mark.parametrize("ending", ["avi", "mkv", "mp4"])
def test_every_start_and_end(folder: Path, ending: str, selection: Selection, expected: list[int]) -> None:
    path = folder / f"part.{ending}"
    if not path.exists():
        write_clip(path, codec="mpeg4" if ending == "avi" else "libx264")
    clip = open_clip(str(path), selection)
    assert clip.total == len(expected)
    frames = read(clip)
    assert told(frames) == [f.index for f in frames] == expected
    np.testing.assert_allclose([f.time_s for f in frames], np.array(expected) / 25, atol=1.1e-3)


def test_reading_goes_on_behind_a_frame(plain: Path) -> None:
    assert told(read(open_clip(str(plain), Selection(every=5)), after=20)) == [25, 30, 35]


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_a_variable_frame_rate_keeps_its_times(folder: Path, ending: str) -> None:
    # Two pictures that follow at once, a pause of half a second, and a first one that doesn't come at 0.
    pts_ms = [120 + t for t in (0, 10, 50, 90, 590, 600, 640, 1000, 1033, 1066)]
    path = write_clip(folder / f"vfr.{ending}", 10, pts_ms=pts_ms)
    times_s = (np.array(pts_ms) - pts_ms[0]) / 1000
    frames = read(open_clip(str(path)))
    assert told(frames) == list(range(10))
    np.testing.assert_allclose([f.time_s for f in frames], times_s, atol=1e-3)
    late = read(open_clip(str(path), Selection(every=2, start_s=0.055, end_s=1.03)))
    assert told(late) == [3, 5, 7]
    np.testing.assert_allclose([f.time_s for f in late], times_s[[3, 5, 7]], atol=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_rotation_flag_turns_pictures_upright(folder: Path, degrees: int) -> None:
    # Stored pixels are `numbered`, and the flag says by how much a player turns them counter-clockwise.
    path = write_clip(folder / f"turned{degrees}.mp4", 6, rotation=degrees)
    frames = read(open_clip(str(path)))
    assert len(frames) == 6
    for i, frame in enumerate(frames):
        assert frame.image is not None
        expected = np.rot90(numbered(i), degrees // 90)
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 12
    straight = read(open_clip(str(write_clip(folder / "straight.mp4", 1))))[0].image
    assert straight is not None
    assert np.abs(straight.astype(int) - numbered(0)).mean() < 12


def test_all_eight_display_matrices() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    one = 1 << 16
    signs = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
    for a, b, c, d in [*((p, 0, 0, q) for p, q in signs), *((0, p, q, 0) for p, q in signs)]:
        shown = upright(image, np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30], np.int32))
        # Every pixel, put where the matrix says, moved so that all places are positive.
        places = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(2) for x in range(3)}
        low_x, low_y = min(x for x, _ in places), min(y for _, y in places)
        for (x, y), pixel in places.items():
            assert (shown[y - low_y, x - low_x] == pixel).all()
    assert upright(image, None) is image


def test_colours_come_back(folder: Path) -> None:
    frame = read(open_clip(str(write_clip(folder / "colour.mp4", 1))))[0]
    assert frame.image is not None
    np.testing.assert_allclose(frame.image[50, 10], (200, 0, 0), atol=14)
    np.testing.assert_allclose(frame.image[50, 80], (0, 0, 200), atol=14)


@pytest.mark.parametrize(("ending", "codec"), [("mkv", "libopus"), ("mp4", "aac")])
def test_sound_comes_with_the_frames(folder: Path, ending: str, codec: str) -> None:
    path = write_clip(folder / f"sound.{ending}", sound=codec)
    expected = packets(path, "audio")

    def sounds(selection: Selection) -> list[tuple[int, bytes]]:
        clip = open_clip(str(path), selection)
        found: list[Any] = []
        for item in clip.produce(None):
            found += item.packets if isinstance(item, Sound) else item.sound
        rows = [(int(p.pts), bytes(p)) for p in found]
        clip.close()
        return rows

    assert sounds(Selection()) == expected
    assert sounds(Selection(every=9)) == expected
    unit = 1 / 48_000 if ending == "mp4" else 1 / 1000
    part = [row for row in expected if 0.6 <= row[0] * unit < 1.0]
    assert sounds(Selection(start_s=0.6, end_s=1.0)) == part
    assert len(part) > 10
    silent = open_clip(str(path), with_sound=False)
    assert silent.sounds == ()
    silent.close()


class Pipe(io.BytesIO):
    """Bytes that come once."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise OSError("a pipe")


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_a_container_on_standard_input(folder: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(folder / f"piped.{ending}", sound="aac")
    stdin = type("Stdin", (), {"buffer": Pipe(path.read_bytes())})()
    monkeypatch.setattr(sys, "stdin", stdin)
    clip = open_clip("-", Selection(every=4, start_s=0.4, end_s=1.2))
    assert (clip.total, clip.identity, clip.live) == (None, "", False)
    items = list(clip.produce(None))
    frames = [item for item in items if isinstance(item, Frame)]
    assert told(frames) == [f.index for f in frames] == [10, 14, 18, 22, 26]
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(10, 30, 4) / 25, atol=2e-3)
    count = sum(len(item.packets if isinstance(item, Sound) else item.sound) for item in items)
    assert count == pytest.approx(0.8 * 48_000 / 1024, abs=2)
    clip.close()


def test_an_mp4_with_its_index_behind_tells_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = write_clip(folder / "noise.mp4", list(noise))
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Pipe(path.read_bytes())})())
    with pytest.raises(VideoError, match=r"read.*faststart.*--frame-size"):
        read(open_clip("-"))
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Pipe(b"words " * 999)})())
    with pytest.raises(VideoError, match=r"standard input can't be read as video.*faststart.*--frame-size"):
        open_clip("-")


def test_a_camera_is_opened_by_its_number(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    asked: list[tuple[str, str, dict[str, str]]] = []
    real = av.open

    def fake(file: str, mode: str, format: str, options: dict[str, str]) -> Any:
        asked.append((file, format, options))
        return real(str(plain))

    monkeypatch.setattr(av, "open", fake)
    monkeypatch.setattr(sys, "platform", "linux")
    clip = open_clip("2", Selection(end_s=0.2), fps=29.97, frame_size_px=(640, 480))
    assert clip.live
    assert told(read(clip)) == [0, 1, 2, 3, 4]
    monkeypatch.setattr(sys, "platform", "darwin")
    open_clip("0").close()
    assert asked == [
        ("/dev/video2", "v4l2", {"video_size": "640x480", "framerate": "30000/1001"}),
        ("0", "avfoundation", {}),
    ]
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(VideoError, match="camera 0: cameras are read on Linux and macOS only"):
        open_clip("0")


def test_a_camera_that_is_not_there_is_named() -> None:
    if Path("/dev/video97").exists():
        pytest.skip("this machine has a camera 97")
    with pytest.raises(VideoError, match="camera 97"):
        open_clip("97")


def test_pixels_that_are_not_square_are_told(folder: Path) -> None:
    clip = open_clip(str(write_clip(folder / "wide.mp4", 2, aspect=Fraction(4, 3))))
    assert (clip.aspect, clip.stored_px) == (Fraction(4, 3), (WIDTH, HEIGHT))
    clip.close()


def test_what_a_name_means(folder: Path, plain: Path) -> None:
    (folder / "7.mp4").touch()
    assert kind_of(str(plain)) == "file"
    assert kind_of("missing.mkv") == "file"
    assert kind_of("-") == "pipe"
    assert kind_of("0") == "camera"
    assert kind_of("shot/%04d.png") == "pictures"
    assert kind_of(str(folder)) == kind_of("a/*.png") == kind_of("photo.jpg") == ""
    assert kind_of(str(folder), sequence=True) == kind_of("a/*.png", sequence=True) == "pictures"


def test_options_that_mean_nothing_here_are_refused(plain: Path) -> None:
    with pytest.raises(ValueError, match="--fps is not for"):
        open_clip(str(plain), fps=30)
    with pytest.raises(ValueError, match="--frame-size is not for"):
        open_clip(str(plain), frame_size_px=(64, 64))
    with pytest.raises(FileNotFoundError, match=r"no video file .*none\.mp4"):
        open_clip(str(plain.parent / "none.mp4"))


def test_without_pyav_the_error_says_how_to_get_it(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"pip install .*\[video\]'"):
        container.load_av()
    with pytest.raises(VideoError, match=r"pip install .*\[video\]'"):
        open_clip(str(plain))
