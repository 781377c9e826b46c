import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import LSP14
from hourglass.inference.poses.csv_table import load_csv
from hourglass.inference.poses.pose import Pose
from hourglass.inference.video.joints_log import (
    Journal,
    Person,
    Record,
    as_written,
    from_line,
    read_records,
    to_line,
    write_csv,
)
from inference.video.clips import DOTS


def pose(seed: int) -> Pose:
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0, 200, (3, 2)).astype(np.float32)
    box = np.array([10.123456, 20, 64, 64], np.float32)
    return as_written(Pose(joints, rng.uniform(0, 1, 3).astype(np.float32), DOTS, box))


def record(frame: int, smoothed: bool = False) -> Record:
    people = []
    for number in range(2):
        found = pose(10 * frame + number)
        place = as_written(Pose(found.keypoints + 1, found.scores, DOTS, found.box)).keypoints
        people.append(Person(number, found, moved=number == 1, keypoints=place if smoothed else None))
    return Record(frame, round(frame / 30, 6), tuple(people))


@pytest.mark.parametrize("smoothed", [False, True])
def test_a_line_says_all_and_is_read_back_alike(smoothed: bool) -> None:
    written = record(7, smoothed)
    line = to_line(written, "run a")
    assert "\n" not in line
    row = json.loads(line)
    assert (row["frame"], row["time_s"], row["run"]) == (7, 0.233333, "run a")
    assert [p["person"] for p in row["people"]] == [0, 1]
    joint = row["people"][0]["joints"]["green"]
    shift = 1 if smoothed else 0
    assert joint["x"] == pytest.approx(float(pose(70).keypoints[1, 0]) + shift, abs=1e-3)
    assert ("found_x" in joint) == smoothed
    again, run = from_line(line)
    assert run == "run a"
    # Not one digit changes, so that a resumed run counts on with the same numbers.
    assert to_line(again, "run a") == line
    for before, after in zip(written.people, again.people, strict=True):
        assert (before.number, before.moved) == (after.number, after.moved)
        np.testing.assert_array_equal(before.found.keypoints, after.found.keypoints)
        np.testing.assert_array_equal(before.found.box, after.found.box)
        np.testing.assert_array_equal(before.pose.keypoints, after.pose.keypoints)


def test_a_broken_frame_has_a_line_too() -> None:
    line = to_line(Record(3, 0.12, error="its picture is damaged"), "r")
    expected = {"frame": 3, "time_s": 0.12, "run": "r", "error": "its picture is damaged", "people": []}
    assert json.loads(line) == expected
    assert from_line(line)[0].error == "its picture is damaged"


def test_a_built_in_skeleton_is_written_by_its_name() -> None:
    found = Pose(
        np.zeros((14, 2), np.float32), np.zeros(14, np.float32), LSP14, np.array([0, 0, 9, 9], np.float32)
    )
    assert json.loads(to_line(Record(0, 0.0, (Person(0, found),)), "r"))["people"][0]["skeleton"] == "lsp14"


def test_a_half_last_line_goes_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    journal = Journal(path, "r", resume=False)
    lines = [journal.add(record(i)) for i in range(4)]
    # Every line is there at once, for whoever looks or kills.
    assert path.read_text() == "".join(line + "\n" for line in lines)
    journal.close()
    whole = path.read_bytes()
    for cut in (1, 2, len(lines[3]) // 2, len(lines[3])):
        path.write_bytes(whole[:-cut])
        again = Journal(path, "r", resume=True)
        assert again.last == 2
        assert sorted(again.known) == [0, 1, 2]
        again.add(record(3))
        again.close()
        assert path.read_bytes() == whole


def test_a_half_line_longer_than_a_block_and_no_line_at_all(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    line = to_line(record(0), "r") + "\n"
    path.write_text(line + "x" * 200_000)
    journal = Journal(path, "r", resume=True)
    journal.close()
    assert path.read_text() == line
    path.write_text("x" * 200_000)
    journal = Journal(path, "r", resume=True)
    journal.close()
    assert (path.read_text(), journal.last) == ("", None)


def test_without_resume_a_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "new" / "joints.jsonl"
    for _ in range(2):
        journal = Journal(path, "r", resume=False)
        journal.add(record(0))
        journal.close()
    assert len(path.read_text().splitlines()) == 1


def test_a_file_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    journal = Journal(path, "every 2", resume=False)
    journal.add(record(0))
    journal.close()
    with pytest.raises(ValueError, match=r"joints\.jsonl was begun as \[every 2\].*\[every 3\]"):
        Journal(path, "every 3", resume=True)
    path.write_text('{"frame": 0}\n' + path.read_text())
    with pytest.raises(ValueError, match=r"joints\.jsonl, line 1: .*people"):
        Journal(path, "every 2", resume=True)
    path.write_text("[not json\n")
    with pytest.raises(ValueError, match=r"joints\.jsonl, line 1"):
        list(read_records(path))


def test_the_table_has_a_row_for_each_joint(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    journal = Journal(path, "r", resume=False)
    for item in (record(0, True), Record(1, 0.04, error="gone"), record(2, True)):
        journal.add(item)
    journal.close()
    write_csv(path, tmp_path / "joints.csv")
    with open(tmp_path / "joints.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "time_s", "person", "joint", "x", "y", "score"]
    assert [(r["frame"], r["person"], r["joint"]) for r in rows] == [
        (f, p, j) for f in "02" for p in "01" for j in DOTS.joints
    ]
    # The table holds what is drawn: the smoothed joints.
    np.testing.assert_allclose(float(rows[4]["x"]), record(0, True).people[1].pose.keypoints[1, 0], atol=1e-3)
    np.testing.assert_allclose(float(rows[4]["score"]), pose(1).scores[1], atol=1e-4)
    assert rows[6]["time_s"] == "0.066667"
    # The reader of tables takes it, frame by frame.
    assert [(p.image_id, p.to_dict()["joints"]) for p in load_csv(tmp_path / "joints.csv", DOTS)] == [
        (f, p.pose.to_dict()["joints"]) for f in "02" for p in record(int(f), True).people
    ]


def test_the_table_has_confidences_and_covariances_where_the_network_gives_them(tmp_path: Path) -> None:
    count = len(DOTS)
    spread = np.tile(np.array([[4, 1], [1, 9]], np.float32), (count, 1, 1))
    sure = replace(pose(0), confidences=np.full(count, 0.5, np.float32), covariances=spread)
    journal = Journal(tmp_path / "joints.jsonl", "r", resume=False)
    journal.add(Record(0, 0.0, (Person(0, sure),)))
    journal.close()
    write_csv(journal.path, tmp_path / "joints.csv")
    with open(tmp_path / "joints.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert list(row)[3:] == ["joint", "x", "y", "score", "confidence", "cov_xx", "cov_xy", "cov_yy"]
    assert list(row.values())[-4:] == ["0.5", "4.0", "1.0", "9.0"]
