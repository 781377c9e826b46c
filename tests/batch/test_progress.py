import json
from pathlib import Path

import pytest

from hourglass.batch.follow import Bar, BatchError, clock, describe, how_far, in_one_sentence, write_summary
from hourglass.batch.options import BatchProgress, Summary

SUMMARY = Summary("out", "tiny", 1200, 1300, 2, 40, 5, 3, 2, 3723.4, 0.32)


def test_how_far_it_is() -> None:
    assert how_far(BatchProgress(0, None, 0, 0, 0, 1.0)) == "0"
    assert how_far(BatchProgress(1200, 50000, 1300, 3, 0, 100.0)) == (
        "1,200 of 50,000, 3 failed, 12.0 images/s, 1:07:47 left"
    )
    assert how_far(BatchProgress(500, None, 500, 0, 7, 10.0)) == "500, 50.0 images/s"


def test_hours_minutes_and_seconds() -> None:
    assert [clock(s) for s in (0, 59.6, 3723, 360000)] == ["0:00:00", "0:01:00", "1:02:03", "100:00:00"]


def test_the_end_in_one_sentence() -> None:
    assert describe(SUMMARY) == (
        "1,200 images, 1,300 people, 2 failed, 40 skipped as done before, 1:02:03, 0.32 images/s: out"
    )


def test_in_a_log_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as bar:
        for seconds in range(1, 95):
            bar.report(BatchProgress(seconds, 100, seconds, 0, 0, float(seconds)))
    out, error = capsys.readouterr()
    assert out == ""
    assert error.splitlines() == [
        f"hourglass: {s} of 100, 1.0 images/s, 0:{(100 - s) // 60:02d}:{(100 - s) % 60:02d} left"
        for s in (30, 60, 90)
    ]


def test_what_stopped_ray_is_told_by_its_innermost_cause() -> None:
    try:
        try:
            raise RuntimeError("Ray's first line\nthe device is gone")
        except RuntimeError as error:
            raise KeyError("pages of Ray's own words") from error
    except KeyError as error:
        said = in_one_sentence(error)
    assert isinstance(said, BatchError)
    assert str(said) == (
        "the batch stopped (RuntimeError: the device is gone); what is written stays, and the same command "
        "goes on"
    )
    # Ray marks its own mistakes by a cause that says nothing.
    hollow = ValueError("no such attribute")
    hollow.__cause__ = Exception()
    assert "(ValueError: no such attribute)" in str(in_one_sentence(hollow))
    stop = KeyboardInterrupt()
    assert in_one_sentence(stop) is stop


def test_the_summary_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_summary(SUMMARY, tmp_path / "s.json")
    write_summary(SUMMARY, Path("-"))
    written = json.loads((tmp_path / "s.json").read_text())
    assert written == json.loads(capsys.readouterr().out)
    assert (written["images"], written["images_per_second"], written["output"]) == (1200, 0.32, "out")
