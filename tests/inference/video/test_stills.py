import io
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hourglass.inference.video.frames import (
    Frame,
    Selection,
    exact_rate,
    numbered_files,
    parse_size,
    parse_time,
)
from hourglass.inference.video.open_video import open_clip
from inference.video.clips import number_of, numbered


def frames_of(name: str, selection: Selection | None = None, **options: object) -> list[Frame]:
    clip = open_clip(name, selection, **options)  # type: ignore[arg-type]
    return [item for item in clip.produce(None) if isinstance(item, Frame)]


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Pictures 8 to 12, unpadded, so that the order of names is not that of numbers."""
    for i in range(8, 13):
        Image.fromarray(numbered(i)).save(tmp_path / f"shot{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("pattern", ["shot%d.png", "shot%02d.png", "shot*.png", ""])
def test_pictures_in_files_by_number(shots: Path, pattern: str) -> None:
    if pattern == "shot%02d.png":
        for i in (8, 9):
            (shots / f"shot{i}.png").rename(shots / f"shot0{i}.png")
    clip = open_clip(str(shots / pattern), Selection(every=2), fps=10)
    frames = [item for item in clip.produce(None) if isinstance(item, Frame)]
    assert clip.total == 3
    assert [number_of(f.image) for f in frames if f.image is not None] == [8, 10, 12]
    assert [f.index for f in frames] == [0, 2, 4]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.2, 0.4])
    assert [f.pts * clip.time_base for f in frames] == [0, Fraction(1, 5), Fraction(2, 5)]


def test_numbered_pictures_run_at_25_by_default_and_a_broken_one_is_told(shots: Path) -> None:
    (shots / "shot10.png").write_bytes(b"not a picture")
    frames = frames_of(str(shots / "shot%d.png"), Selection(start_s=0.04, end_s=0.16))
    assert [f.time_s for f in frames] == pytest.approx([0.04, 0.08, 0.12])
    assert [f.image is None for f in frames] == [False, True, False]
    assert "shot10.png" in frames[1].error


def test_patterns_that_match_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*x%d\.png"):
        numbered_files(str(tmp_path / "x%d.png"))
    with pytest.raises(FileNotFoundError, match="in the file's name"):
        numbered_files(str(tmp_path / "%d" / "x.png"))
    (tmp_path / "x1.png").touch()
    # %03d means three digits at least.
    with pytest.raises(FileNotFoundError, match="no file matches"):
        numbered_files(str(tmp_path / "x%03d.png"))


class Trickle(io.BytesIO):
    """A pipe that gives a little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 1, 1000))


def test_raw_frames_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join(numbered(i).tobytes() for i in range(9)) + b"\0" * 100
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Trickle(data)})())
    frames = frames_of("-", Selection(every=2, start_s=0.1), fps=10, frame_size_px=(96, 64))
    assert [f.index for f in frames] == [1, 3, 5, 7, 9]
    assert [number_of(f.image) for f in frames if f.image is not None] == [1, 3, 5, 7]
    assert frames[-1].error == "the frame has 100 of 18432 bytes"
    assert [f.time_s for f in frames] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert (frames[0].image == numbered(1)).all()  # type: ignore[union-attr]


def test_raw_frames_need_a_rate() -> None:
    with pytest.raises(ValueError, match="give --fps as well"):
        open_clip("-", frame_size_px=(64, 64))
    with pytest.raises(ValueError, match="--frame-size is for raw frames and cameras"):
        open_clip("shot%d.png", frame_size_px=(64, 64))


def test_times_and_sizes_as_they_are_typed() -> None:
    assert parse_time("12.5", "--start") == 12.5
    assert parse_time("1:02.5", "--start") == 62.5
    assert parse_time("1:00:02", "--start") == 3602
    for bad in ("", "x", "-1", "1:75", "1:2:3:4", "1.5:20", "nan", "inf"):
        with pytest.raises(ValueError, match=r"--end .* is not a time"):
            parse_time(bad, "--end")
    assert parse_size("640x480") == parse_size("640X480") == (640, 480)
    for bad in ("640", "640x", "0x4", "axb", "1x2x3", "-4x4"):
        with pytest.raises(ValueError, match="--frame-size"):
            parse_size(bad)
    assert exact_rate(29.97) == Fraction(30000, 1001)
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(30) == 30
    assert exact_rate(12.5) == Fraction(25, 2)
    for rate in (0.0, -1.0, float("nan"), 1e6):
        with pytest.raises(ValueError, match="--fps"):
            exact_rate(rate)


@pytest.mark.parametrize(
    ("every", "start_s", "end_s", "word"),
    [(0, 0.0, None, "--every"), (1, -1.0, None, "--start"), (1, 2.0, 2.0, "--end")],
)
def test_selections_that_hold_nothing(every: int, start_s: float, end_s: float | None, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Selection(every, start_s, end_s)


def test_a_selection_by_brute_force() -> None:
    times_s = np.array([0.0, 0.01, 0.5, 0.52, 0.9, 1.4, 1.41])
    for every in (1, 2, 3):
        for start_s in (0.0, 0.3, 0.52, 2.0):
            for end_s in (None, 0.6, 1.41):
                if end_s is not None and end_s <= start_s:
                    continue
                inside = [i for i, t in enumerate(times_s) if t >= start_s and (end_s is None or t < end_s)]
                assert Selection(every, start_s, end_s).rows(times_s).tolist() == inside[::every]
