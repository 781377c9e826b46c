import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.inference.video.frames import Clip, Frame, Item, Selection
from hourglass.inference.video.joints_log import Record
from hourglass.inference.video.open_video import open_clip
from hourglass.inference.video.pipeline import DEPTH, Outputs, Progress, run_video
from hourglass.inference.video.smooth import OneEuro, SavitzkyGolay, Smoothing
from hourglass.inference.video.track import Follower
from hourglass.inference.video.writer import VideoWriter
from inference.video.clips import (
    break_packet,
    dot_predictor,
    dotted,
    needs_av,
    packets,
    triangle,
    video_frames,
    write_clip,
)
from processes import running

pytestmark = needs_av

FRAMES = 30


def places() -> list[np.ndarray]:
    """A person who crosses the picture and trembles."""
    rng = np.random.default_rng(0)
    return [
        triangle(25 + 2.5 * i, 48 + 6 * np.sin(i / 4)) + rng.normal(0, 0.6, (3, 2)) for i in range(FRAMES)
    ]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(
        tmp_path_factory.mktemp("walk") / "walk.mp4", [dotted([place]) for place in places()], sound="aac"
    )


def run(source: Path, out: Path, smoothing: Smoothing = None, video: bool = True, **options: Any) -> Progress:
    clip = open_clip(str(source), options.pop("selection", None))
    outputs = Outputs(out / "joints.jsonl", out / "joints.csv", out / "walk_pose" if video else None)
    return run_video(clip, dot_predictor(), outputs, "r", smoothing, **options)


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_joints_of_every_frame_a_table_and_a_drawn_video(clip_file: Path, tmp_path: Path) -> None:
    done = run(clip_file, tmp_path)
    assert (done.done, done.broken, done.known, done.interrupted) == (FRAMES, 0, 0, False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["joints.csv", "joints.jsonl", "walk_pose.mp4"]
    rows = rows_of(tmp_path / "joints.jsonl")
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(FRAMES) / 25, atol=1e-6)
    for row, place in zip(rows, places(), strict=True):
        joints = row["people"][0]["joints"]
        found = [(joints[name]["x"], joints[name]["y"]) for name in ("red", "green", "blue")]
        np.testing.assert_allclose(found, place, atol=1.5)
    assert len((tmp_path / "joints.csv").read_text().splitlines()) == 1 + 3 * FRAMES
    # The video shows the same frames with something drawn on the joints, and the sound as it was.
    shown = video_frames(tmp_path / "walk_pose.mp4")
    np.testing.assert_allclose([t for t, _ in shown], np.arange(FRAMES) / 25, atol=1e-6)
    for (_, drawn), (_, before), place in zip(shown, video_frames(clip_file), places(), strict=True):
        x, y = place[1].round().astype(int)
        change = np.abs(drawn.astype(int) - before).sum(2)
        assert change[y - 2 : y + 3, x - 2 : x + 3].mean() > 60
        assert change[:10, :10].mean() < 12
    assert packets(tmp_path / "walk_pose.mp4", "audio") == packets(clip_file, "audio")


@pytest.mark.parametrize("smoothing", [None, OneEuro(), SavitzkyGolay()])
@pytest.mark.parametrize("video", [True, False])
def test_a_run_that_is_resumed_equals_one_run(
    clip_file: Path, tmp_path: Path, smoothing: Smoothing, video: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(clip_file, whole, smoothing, video)
    lines = (whole / "joints.jsonl").read_text().splitlines(keepends=True)
    parts.mkdir()
    # What a killed process leaves: eleven whole lines, half a twelfth, and an unfinished video.
    (parts / "joints.jsonl").write_text("".join(lines[:11]) + lines[11][:200])
    if video:
        (parts / ".walk_pose.part.mp4").write_bytes(b"half a video")
    predicted = []
    follow = Follower.__call__

    def counted(self: Any, image: Any) -> Any:
        predicted.append(1)
        return follow(self, image)

    monkeypatch.setattr(Follower, "__call__", counted)
    done = run(clip_file, parts, smoothing, video, resume=True)
    assert (done.known, done.done, len(predicted)) == (11, FRAMES, FRAMES - 11)
    assert (parts / "joints.jsonl").read_bytes() == (whole / "joints.jsonl").read_bytes()
    assert (parts / "joints.csv").read_bytes() == (whole / "joints.csv").read_bytes()
    assert sorted(p.name for p in parts.iterdir()) == sorted(p.name for p in whole.iterdir())
    if video:
        same = zip(video_frames(parts / "walk_pose.mp4"), video_frames(whole / "walk_pose.mp4"), strict=True)
        assert all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in same)
    # And once more, when nothing is left to do.
    done = run(clip_file, parts, smoothing, video, resume=True)
    assert (done.known, done.done) == (FRAMES, FRAMES)
    assert (parts / "joints.jsonl").read_bytes() == (whole / "joints.jsonl").read_bytes()


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hourglass.inference.video import pipeline
from hourglass.inference.video.open_video import open_clip
from hourglass.inference.video.smooth import SavitzkyGolay
from inference.video.clips import dot_predictor
follow = pipeline.Follower.__call__
def slow(self, image):
    time.sleep(0.1)
    return follow(self, image)
pipeline.Follower.__call__ = slow
out = Path(sys.argv[3])
outputs = pipeline.Outputs(out / "joints.jsonl", out / "joints.csv", out / "walk_pose")
print("begin", flush=True)
done = pipeline.run_video(open_clip(sys.argv[2]), dot_predictor(), outputs, "r", SavitzkyGolay())
print(done.done, done.interrupted, flush=True)
"""


@contextmanager
def slow_run(clip_file: Path, out: Path) -> "Iterator[subprocess.Popen[str]]":
    """A run in a process of its own, that has written six lines."""
    words = [sys.executable, "-c", SLOW, Path(__file__).parents[2], clip_file, out]
    with running(words, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            path = out / "joints.jsonl"
            if path.exists() and path.read_text().count("\n") >= 6:
                break
            time.sleep(0.02)
        yield process


@pytest.mark.parametrize("how", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT])
def test_a_killed_or_interrupted_process_can_be_resumed(
    clip_file: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with slow_run(clip_file, tmp_path) as process:
        process.send_signal(how)
        said, _ = process.communicate(timeout=60)
    text = (tmp_path / "joints.jsonl").read_text()
    assert 6 <= text.count("\n") < FRAMES
    if how == signal.SIGINT:
        # Ctrl-C leaves whole files: the joints, their table, and the video up to here.
        count = text.count("\n")
        assert text.endswith("\n")
        assert said.split() == ["begin", str(count), "True"]
        assert len((tmp_path / "joints.csv").read_text().splitlines()) == 1 + 3 * count
        assert len(video_frames(tmp_path / "walk_pose.mp4")) == count
    else:
        assert not (tmp_path / "walk_pose.mp4").exists()
    run(clip_file, tmp_path, SavitzkyGolay(), resume=True)
    run(clip_file, tmp_path / "whole", SavitzkyGolay())
    for name in ("joints.jsonl", "joints.csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(video_frames(tmp_path / "walk_pose.mp4")) == FRAMES


SILENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hourglass.inference.video.pipeline import Outputs, run_video
from hourglass.inference.video.open_video import open_clip
from hourglass.inference.video.smooth import SavitzkyGolay
from inference.video.clips import dot_predictor
done = run_video(open_clip("-", None, 25, (128, 96)), dot_predictor(), Outputs(Path(sys.argv[2])), "r",
                 SavitzkyGolay(), watch=lambda progress: print("at work", flush=True))
print(done.done, done.interrupted, flush=True)
"""


def test_a_pipe_that_gives_nothing_more_is_left_by_ctrl_c(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SILENT, str(Path(__file__).parents[2]), str(tmp_path / "j")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(words, 120, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"".join(dotted([place]).tobytes() for place in places()[:8]))
        process.stdin.flush()
        for _ in range(15):  # it has begun, and then waits for more
            assert process.stdout.readline() == b"at work\n"
        process.send_signal(signal.SIGINT)
        said, errors = process.stdout.read(), process.stderr.read()
        # It ends as it should, not in an abort of the interpreter, and keeps nothing that can't be resumed.
        assert (process.wait(60), errors) == (0, b"")
    done, interrupted = said.split()[-2:]
    assert interrupted == b"True"
    assert int(done) == len(rows_of(tmp_path / "j")) > 3


@pytest.mark.parametrize("smoothing", [None, SavitzkyGolay()])
def test_a_broken_frame_is_told_skipped_and_written_down(tmp_path: Path, smoothing: Smoothing) -> None:
    # Every frame is a key frame, so the loss is of one alone.
    images = [dotted([place]) for place in places()]
    source = break_packet(write_clip(tmp_path / "walk.mp4", images, key_every=1, b_frames=0), 14)
    told: list[Record] = []
    done = run(source, tmp_path, smoothing, on_broken=told.append)
    assert (done.done, done.broken) == (FRAMES, 1)
    assert [(record.frame, record.time_s) for record in told] == [(14, 0.56)]
    rows = rows_of(tmp_path / "joints.jsonl")
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert [row["frame"] for row in rows if row.get("error")] == [14]
    assert [len(row["people"]) for row in rows] == [0 if i == 14 else 1 for i in range(FRAMES)]
    # The video holds the frame before a little longer.
    times_s = [t for t, _ in video_frames(tmp_path / "walk_pose.mp4")]
    np.testing.assert_allclose(times_s, [i / 25 for i in range(FRAMES) if i != 14], atol=1e-6)
    # A resumed run knows of it still.
    assert run(source, tmp_path, smoothing, resume=True).broken == 1


def test_a_part_of_a_clip(clip_file: Path, tmp_path: Path) -> None:
    run(clip_file, tmp_path, selection=Selection(3, 0.4, 0.9), start_s=0.4)
    assert [row["frame"] for row in rows_of(tmp_path / "joints.jsonl")] == [10, 13, 16, 19, 22]
    times_s = [t for t, _ in video_frames(tmp_path / "walk_pose.mp4")]
    np.testing.assert_allclose(times_s, np.arange(5) * 0.12, atol=1e-6)


def endless(made: list[int]) -> Clip:
    """A source that never ends and counts what it gave."""
    image = dotted([triangle(60, 48)])

    def produce(after: int | None) -> Iterator[Item]:
        while True:
            made[0] += 1
            yield Frame(made[0] - 1, made[0] / 25, made[0], image)
            time.sleep(0.0005)

    return Clip("endless", "endless", produce, None, Fraction(25), Fraction(1, 25))


def no_threads() -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(t.name.startswith("hourglass-video") for t in threading.enumerate()):
            return True
        time.sleep(0.01)
    return False


def test_a_slow_writer_holds_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, written = [0], [0]
    ahead: list[int] = []
    add = VideoWriter.add

    def slow(self: VideoWriter, *words: Any) -> None:
        time.sleep(0.02)
        ahead.append(made[0] - written[0])
        written[0] += 1
        if written[0] == 25:
            signal.raise_signal(signal.SIGINT)
        add(self, *words)

    monkeypatch.setattr(VideoWriter, "add", slow)
    outputs = Outputs(tmp_path / "j.jsonl", None, tmp_path / "v")
    golay = SavitzkyGolay(9.0, 6)
    done = run_video(endless(made), dot_predictor(), outputs, "r", golay)
    assert done.interrupted
    assert no_threads()
    assert done.peaks == (DEPTH, DEPTH)
    # Two queues, one frame in each hand, and what the smoothing waits for.
    assert max(ahead) <= 2 * DEPTH + 3 + golay.half_window_frames + 1
    assert len(rows_of(tmp_path / "j.jsonl")) == len(video_frames(tmp_path / "v.mp4"))


CAMERA = """
import signal, sys, threading, time
from fractions import Fraction
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hourglass.inference.video.frames import Clip, Frame
from hourglass.inference.video.pipeline import Outputs, run_video
from hourglass.inference.video.smooth import SavitzkyGolay
from inference.video.clips import dot_predictor, dotted, triangle
image, struck = dotted([triangle(60, 48)]), []
def produce(after):
    number = 0
    while True:
        yield Frame(number, number / 25, number + 1, image)
        number += 1
        time.sleep(0.0005)
def watch(progress):
    if progress.done > 20 and not struck:
        struck.append(True)
        signal.raise_signal(signal.SIGINT)
clip = Clip("endless", "", produce, None, Fraction(25), Fraction(1, 25), live=True)
out = Path(sys.argv[2])
outputs = Outputs(out / "j.jsonl", None, out / "v")
done = run_video(clip, dot_predictor(), outputs, "r", SavitzkyGolay(), watch=watch)
left = [t.name for t in threading.enumerate() if t.name.startswith("hourglass-video")]
print(done.done, done.dropped, done.interrupted, len(left), flush=True)
"""


def test_a_camera_drops_what_nobody_has_time_for_and_ends_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CAMERA, str(Path(__file__).parents[2]), str(tmp_path)]
    process = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (process.returncode, process.stderr) == (0, "")
    done, dropped, interrupted, left = process.stdout.split()
    assert (interrupted, left) == ("True", "0")
    assert int(dropped) > 0
    rows = rows_of(tmp_path / "j.jsonl")
    # Ctrl-C is a camera's natural end: the frames that the smoothing held back come too.
    assert len(rows) == int(done) == len(video_frames(tmp_path / "v.mp4"))
    frames = [row["frame"] for row in rows]
    assert frames == sorted(set(frames))
    assert frames[-1] >= len(frames)


@pytest.mark.parametrize("stage", ["reader", "network", "writer"])
def test_an_error_in_any_thread_ends_all_and_leaves_whole_files(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [0]
    clip = endless(made)
    (tmp_path / "v.mp4").write_bytes(b"the one before")

    def fail(count: int) -> None:
        if count == 7:
            raise OSError(f"the {stage} broke")

    if stage == "reader":
        inner = clip.produce

        def produce(after: int | None) -> Iterator[Item]:
            for item in inner(after):
                fail(made[0])
                yield item

        clip.produce = produce
    else:
        owner, name = (Follower, "__call__") if stage == "network" else (VideoWriter, "add")
        inside, calls = getattr(owner, name), [0]

        def broken(self: Any, *words: Any) -> Any:
            calls[0] += 1
            fail(calls[0])
            return inside(self, *words)

        monkeypatch.setattr(owner, name, broken)
    outputs = Outputs(tmp_path / "j.jsonl", tmp_path / "j.csv", tmp_path / "v")
    with pytest.raises(OSError, match=f"the {stage} broke"):
        run_video(clip, dot_predictor(), outputs, "r")
    assert no_threads()
    # Lines that were done stay, and no half video takes the place of a good one.
    assert (tmp_path / "j.jsonl").read_text().count("\n") == len(rows_of(tmp_path / "j.jsonl"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j.jsonl", "v.mp4"]
    assert (tmp_path / "v.mp4").read_bytes() == b"the one before"


def test_lines_are_given_out_as_they_come_without_a_file(clip_file: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    clip = open_clip(str(clip_file), Selection(end_s=0.2))
    done = run_video(clip, dot_predictor(), Outputs(csv=tmp_path / "t.csv", emit=lines.append), "r")
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2, 3, 4]
    assert done.done == 5
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_resuming_needs_something_to_go_on_with(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--resume needs a file of joints"):
        run_video(open_clip(str(clip_file)), dot_predictor(), Outputs(), "r", resume=True)
    camera = replace(endless([0]), identity="", live=True)
    with pytest.raises(ValueError, match="can be read again, not endless"):
        run_video(camera, dot_predictor(), Outputs(tmp_path / "j"), "r", resume=True)
