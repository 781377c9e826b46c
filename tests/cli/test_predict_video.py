import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from hourglass.cli import predict_video as module
from hourglass.cli.predict_video import VideoOptions, is_video, output_stem, predict_video
from hourglass.inference.predictor import Predictor
from hourglass.inference.video.container import reason
from hourglass.inference.video.track import Follower
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

app = typer.Typer()
loaded: list[Predictor] = []


@app.command()
def predict(
    path: str,
    out: Path,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
    csv: Path | None = None,
    overlay: bool = True,
    every: int = 1,
    start: str | None = None,
    end: str | None = None,
    smooth: str | None = None,
    resume: bool = False,
    fps: float | None = None,
    frame_size: str | None = None,
    box: str | None = None,
) -> None:
    """As `hourglass predict` hands a video on."""
    options = VideoOptions(every, start, end, smooth, resume, fps, frame_size, csv)
    assert is_video([path], options)

    def make() -> Predictor:
        loaded.append(dot_predictor())
        return loaded[-1]

    x, y, w, h = (float(v) for v in (box or "0,0,0,0").split(","))
    predict_video(path, options, make, out, json_path, overlay, ((x, y, w, h),) if box else None)


def run(*words: str | Path | float) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def rows_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [dotted([triangle(30 + 2 * i, 48)]) for i in range(20)]
    return write_clip(
        tmp_path_factory.mktemp("walk") / "walk.mp4", images, key_every=1, b_frames=0, sound="aac"
    )


@needs_av
def test_a_clip_gives_a_drawn_video_and_joints(clip: Path, tmp_path: Path) -> None:
    done = run(clip, tmp_path / "out", "--csv", tmp_path / "t.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["walk_joints.jsonl", "walk_pose.mp4"]
    rows = rows_of((tmp_path / "out" / "walk_joints.jsonl").read_text())
    assert [row["frame"] for row in rows] == list(range(20))
    # Smoothed by default, with what was found beside it.
    assert "found_x" in rows[0]["people"][0]["joints"]["red"]
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 3 * 20
    assert packets(tmp_path / "out" / "walk_pose.mp4", "audio") == packets(clip, "audio")
    assert "20 frames of" in done.stderr
    assert "px/s^2 (savitzky-golay)" in done.stderr
    assert all(name in done.stderr for name in ("walk_pose.mp4", "walk_joints.jsonl", "t.csv"))


@needs_av
def test_every_option_for_videos_changes_something(clip: Path, tmp_path: Path) -> None:
    words = (
        "--every",
        2,
        "--start",
        "0:00.2",
        "--end",
        0.6,
        "--smooth",
        "none",
        "--json",
        tmp_path / "j.jsonl",
    )
    done = run(clip, tmp_path / "out", *words, "--no-overlay", "--box", "14,31,32,26")
    assert done.exit_code == 0
    # Nothing is drawn, so there is no folder for it.
    assert [p.name for p in tmp_path.iterdir()] == ["j.jsonl"]
    rows = rows_of((tmp_path / "j.jsonl").read_text())
    assert [row["frame"] for row in rows] == [5, 7, 9, 11, 13]
    assert "found_x" not in rows[0]["people"][0]["joints"]["red"]
    assert "jitter" not in done.stderr
    one = run(clip, tmp_path / "out", "--smooth", "one-euro", "--end", 0.3)
    assert "(one-euro)" in one.stderr


@needs_av
def test_lines_go_to_standard_output_as_frames_are_done(clip: Path, tmp_path: Path) -> None:
    done = run(clip, tmp_path / "out", "--json", "-", "--end", 0.2, "--no-overlay")
    assert done.exit_code == 0
    assert [row["frame"] for row in rows_of(done.stdout)] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "out").exists()


@needs_av
def test_a_broken_frame_is_named_and_the_exit_code_is_1(clip: Path, tmp_path: Path) -> None:
    done = run(break_packet(clip, 9), tmp_path)
    assert done.exit_code == 1
    assert "failed: frame 9 (0.360 s): Invalid data found" in done.stderr
    assert "1 of 20 frames are broken" in done.stderr
    assert len(video_frames(tmp_path / "broken_walk_pose.mp4")) == 19


@needs_av
def test_a_file_that_ends_early_is_named_and_the_exit_code_is_1(clip: Path, tmp_path: Path) -> None:
    images = [dotted([triangle(30 + 2 * i, 48)]) for i in range(20)]
    path = write_clip(
        tmp_path / "cut.mp4", images, options={"movflags": "faststart"}, key_every=1, b_frames=0
    )
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    done = run(path, tmp_path / "out")
    assert done.exit_code == 1
    assert "ends early: its header promises 0.80 s" in done.stderr
    assert len(video_frames(tmp_path / "out" / "cut_pose.mp4")) > 5


@needs_av
def test_a_run_goes_on_where_it_was_killed(clip: Path, tmp_path: Path) -> None:
    run(clip, tmp_path / "whole")
    lines = (tmp_path / "whole" / "walk_joints.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out").mkdir()
    joints = tmp_path / "out" / "walk_joints.jsonl"
    joints.write_text("".join(lines[:8]) + lines[8][:50])
    done = run(clip, tmp_path / "out", "--resume")
    assert done.exit_code == 0
    assert "20 frames" in done.stderr
    assert "8 of them done before" in done.stderr
    assert joints.read_text() == "".join(lines)
    # Under other options, the box of the first frame among them, it is refused.
    for words in (("--every", "2"), ("--smooth", "none"), ("--box", "14,31,32,26"), ("--end", "0.5")):
        refused = run(clip, tmp_path / "out", "--resume", *words)
        assert isinstance(refused.exception, ValueError)
        assert "was begun as [walk.mp4" in str(refused.exception)
    assert joints.read_text() == "".join(lines)


@needs_av
def test_ctrl_c_says_how_to_go_on(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow, calls = Follower.__call__, [0]

    def struck(self: Any, image: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:
            signal.raise_signal(signal.SIGINT)  # in this thread, which is not the main one
        time.sleep(0.03)
        return follow(self, image)

    monkeypatch.setattr(Follower, "__call__", struck)
    done = run(clip, tmp_path, "--smooth", "none")
    assert done.exit_code == 130
    assert "stopped by Ctrl-C after" in done.stderr
    assert "--resume goes on from here" in done.stderr
    count = len((tmp_path / "walk_joints.jsonl").read_text().splitlines())
    assert 0 < count < 20
    assert len(video_frames(tmp_path / "walk_pose.mp4")) == count
    assert run(clip, tmp_path, "--smooth", "none", "--resume").exit_code == 0
    assert len(video_frames(tmp_path / "walk_pose.mp4")) == 20


def test_raw_frames_on_standard_input(tmp_path: Path) -> None:
    data = b"".join(dotted([triangle(30 + 2 * i, 48)]).tobytes() for i in range(6))

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, ["-", str(tmp_path), "--no-overlay", *words], input=data)

    done = command("--frame-size", "128x96", "--fps", "10")
    assert done.exit_code == 0
    rows = rows_of((tmp_path / "stdin_joints.jsonl").read_text())
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(6) / 10)
    np.testing.assert_allclose(rows[3]["people"][0]["joints"]["green"]["x"], 36, atol=1)
    with pytest.raises(ValueError, match="--resume needs"):
        raise command("--frame-size", "128x96", "--fps", "10", "--resume").exception or AssertionError


def test_numbered_pictures(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(5):
        Image.fromarray(dotted([triangle(30 + 2 * i, 48)])).save(tmp_path / f"shot_{i:03d}.png")
    done = run(tmp_path / "shot_%03d.png", tmp_path / "out", "--no-overlay", "--fps", 12.5)
    assert done.exit_code == 0
    rows = rows_of((tmp_path / "out" / "shot_joints.jsonl").read_text())
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(5) * 0.08)


@needs_av
def test_mistakes_are_found_before_the_network_is_loaded(clip: Path, tmp_path: Path) -> None:
    before = len(loaded)
    for words, text in (
        (("--smooth", "kalman"), "--smooth 'kalman' is not one of"),
        (("--start", "soon"), "--start 'soon' is not a time"),
        (("--start", "3", "--end", "2"), "must come after --start"),
        (("--start", "60"), "no frame of .* lies between --start and --end"),
        (("--every", "0"), "--every is 0"),
        (("--fps", "30"), "--fps is not for"),
        (("--frame-size", "4by4"), "--frame-size '4by4'"),
        (("--resume", "--json", "-"), "give --json a file"),
        (("--csv", tmp_path), "--csv .* is a folder"),
    ):
        failed = run(clip, tmp_path / "out", *words)
        assert failed.exception is not None
        with pytest.raises(ValueError, match=text):
            raise failed.exception
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write into .*file"):
        raise run(clip, tmp_path / "out", "--csv", tmp_path / "file" / "t.csv").exception or AssertionError
    assert len(loaded) == before
    missing = run(tmp_path / "none.mp4", tmp_path / "out")
    assert isinstance(missing.exception, FileNotFoundError)
    box = run(clip, tmp_path / "out", "--box", "900,900,5,5")
    assert "lies outside the picture" in str(box.exception)


def test_without_pyav_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "walk.mp4").write_bytes(b"any")
    failed = run(tmp_path / "walk.mp4", tmp_path / "out")
    assert isinstance(failed.exception, ValueError)
    assert str(failed.exception).startswith("video needs more than is installed (av is not installed): ")
    assert str(failed.exception).endswith("-m pip install -c constraints.txt -e '.[video]'")


def test_what_is_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.mp4").touch()
    plain, rated = VideoOptions(), VideoOptions(fps=10)
    assert is_video([str(tmp_path / "b.mp4")], plain)
    assert is_video(["0"], plain)
    assert is_video(["-"], plain)
    assert is_video([str(tmp_path)], rated)
    assert not is_video([str(tmp_path)], plain)
    assert not is_video([str(tmp_path / "a.jpg"), str(tmp_path)], plain)
    with pytest.raises(ValueError, match=r"b\.mp4 is a video: give one video alone"):
        is_video([str(tmp_path / "a.jpg"), str(tmp_path / "b.mp4")], plain)
    with pytest.raises(ValueError, match=r"--every, --fps: only for a video, and .*a\.jpg is none"):
        is_video([str(tmp_path / "a.jpg")], VideoOptions(every=2, fps=3, csv=Path("t.csv")))
    assert not is_video([str(tmp_path / "a.jpg")], VideoOptions(csv=Path("t.csv")))


def test_every_option_for_videos_alone_counts_as_given() -> None:
    options = VideoOptions(2, "1", "2", "none", True, 5.0, "4x4", Path("x"))
    named = ["--every", "--start", "--end", "--smooth", "--resume", "--fps", "--frame-size"]
    assert options.given() == named
    assert VideoOptions().given() == []


def test_what_results_are_called(tmp_path: Path) -> None:
    (tmp_path / "50% off.mp4").touch()
    assert output_stem(str(tmp_path / "50% off.mp4")) == "50% off"
    assert output_stem("clips/walk.mp4") == "walk"
    assert output_stem("-") == "stdin"
    assert output_stem("1") == "camera1"
    assert output_stem("day/shot_%04d.png") == "shot"
    assert output_stem("day/shot-*.png") == "shot"
    assert output_stem(str(tmp_path / "day" / "%04d.png")) == "day"
    assert output_stem(str(tmp_path)) == tmp_path.name


def test_ffmpegs_words_without_its_numbers() -> None:
    class Failure(Exception):
        strerror = "Invalid data found when processing input"
        log: Any = (16, "mov", "moov atom not found\n")

    assert reason(Failure()) == "Invalid data found when processing input (moov atom not found)"
    Failure.log = None
    assert reason(Failure()) == "Invalid data found when processing input"
    assert reason(ValueError("two\nlines")) == "two lines"


def test_the_default_smoothing_is_a_known_one() -> None:
    from hourglass.inference.video.smooth import SMOOTHINGS

    assert module.SMOOTH in SMOOTHINGS
