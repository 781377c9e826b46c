"""Frames to label: where much moves, and where a network is in doubt."""

from pathlib import Path

import numpy as np
import pytest

from hourglass.inference.video.frames import VideoError
from hourglass.inference.video.joints_log import Person
from hourglass.inference.video.pick import by_doubt, by_motion, doubts, pick_frames
from inference.video.clips import RGB, dot_predictor, dotted, needs_av, triangle, write_clip

BUSY = range(100, 140)
GONE = range(170, 176)


def clip_frames() -> list[RGB]:
    """A person who stands, runs in `BUSY`, stands, and whose joints have no colour in `GONE`."""
    frames = []
    for n in range(200):
        x = 30 + 1.6 * min(max(n - BUSY.start, 0), len(BUSY))
        image = dotted([triangle(x, 48)])
        frames.append(image.mean(axis=2, keepdims=True).repeat(3, 2).astype(np.uint8) if n in GONE else image)
    return frames


def numbers(files: list[Path]) -> list[int]:
    return [int(file.stem.rpartition("-")[2]) for file in files]


def test_motion_gives_many_frames_where_much_moves_and_none_twice() -> None:
    change = np.zeros(100)
    change[40:60] = 5
    rows = by_motion(change, 20)
    assert len(set(rows)) == 20
    assert sum(40 <= row < 60 for row in rows) >= 12
    assert min(rows) < 35  # some of what stands still, too
    assert max(rows) > 65
    assert not set(by_motion(change, 20, rows)) & set(rows)
    assert by_motion(np.zeros(10), 5) == [0, 2, 4, 6, 8]  # nothing moves: spread over time
    assert by_motion(np.zeros(3), 5) == [0, 1, 2]


def test_doubt_gives_the_worst_frames_but_not_neighbours() -> None:
    doubt = np.array([0.1, 0.2, 0.9, 0.95, 0.9, 0.1, np.nan, 0.8])
    assert by_doubt(doubt, 2, apart=3) == [3, 7]
    assert by_doubt(doubt, 3, apart=1) == [2, 3, 4]
    assert by_doubt(doubt, 2, taken=[3], apart=3) == [0, 7]
    assert len(by_doubt(doubt, 9)) == 7


def test_a_joint_that_jumps_is_doubtful_though_the_network_is_sure() -> None:
    predictor = dot_predictor()
    places = [triangle(40 + 2 * n, 48) for n in range(7)]
    places[3] = triangle(70, 30)
    people = [(Person(0, predictor(dotted([place]))[0]),) for place in places]
    found = doubts([*people, ()])
    assert found[:7].argmax() == 3
    assert found[3] > found[1] + 0.2
    assert found[7] == 1


@needs_av
def test_frames_are_written_once_under_names_that_stay(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "some [clip].mp4", clip_frames())
    folder = tmp_path / "project"
    folder.mkdir()
    first = pick_frames(str(video), folder, 10, dot_predictor())
    assert len(first) == 10
    assert sum(n in GONE for n in numbers(first)) >= 1
    assert sum(n in BUSY for n in numbers(first)) >= 3
    assert {file.name[:11] for file in first} == {"some [clip]"}
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert pick_frames(str(video), folder, 10) == []
    more = pick_frames(str(video), folder, 14)
    assert len(more) == 4
    assert not {file.name for file in more} & set(before)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    # Another video of the same name is told apart.
    other = tmp_path / "other"
    other.mkdir()
    assert len(pick_frames(str(write_clip(other / video.name, 40)), folder, 5)) == 5


@needs_av
def test_the_picture_is_the_frame_of_its_number(tmp_path: Path) -> None:
    from hourglass.data.loading.images import read_image
    from inference.video.clips import number_of

    written = pick_frames(str(write_clip(tmp_path / "clip.mp4", 120)), tmp_path, 6)
    assert [number_of(read_image(file)) for file in written] == numbers(written)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--frames is 0"):
        pick_frames("clip.mp4", tmp_path, 0)
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    pytest.importorskip("av", reason="the extra `video` is not installed")
    with pytest.raises(VideoError, match=r"clip\.mp4"):
        pick_frames(str(tmp_path / "clip.mp4"), tmp_path, 5)
