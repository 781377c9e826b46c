import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hourglass.core.skeleton import COCO17, LSP14, MPII16
from hourglass.inference.poses.csv_table import from_pandas, load_csv, save_csv, to_pandas
from hourglass.inference.poses.pose import Pose
from inference.poses.people_drawn import ODD, plain, some_poses

QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pose(image_id: str | None = "a.jpg", shift: float = 0.0, **changes: Any) -> Pose:
    points = np.arange(28, dtype=np.float32).reshape(14, 2) + np.float32(shift)
    values = {"keypoints": points, "scores": np.linspace(0, 1, 14, dtype=np.float32), "skeleton": LSP14}
    return Pose(**{**values, "box": np.array([1, 2, 30, 30], np.float32), "image_id": image_id, **changes})


@QUICK
@given(poses=some_poses(named=False))
def test_any_poses_come_back_from_csv_to_the_printed_digits(poses: list[Pose], tmp_path: Path) -> None:
    save_csv(poses, tmp_path / "joints.csv")
    back = load_csv(tmp_path / "joints.csv", ODD)
    assert plain(back) == plain([Pose.from_dict(pose.to_dict()) for pose in poses])
    # What was read is written again byte for byte.
    save_csv(back, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "joints.csv").read_bytes()


@QUICK
@given(poses=some_poses(named=False))
def test_any_poses_come_back_from_pandas(poses: list[Pose]) -> None:
    pytest.importorskip("pandas")
    assert plain(from_pandas(to_pandas(poses), ODD)) == plain(
        [Pose.from_dict(pose.to_dict()) for pose in poses]
    )


def test_a_row_says_what_a_spreadsheet_reads(tmp_path: Path) -> None:
    poses = [pose(), pose(shift=100), pose('say "hi", ü.png')]
    save_csv(poses, tmp_path / "deep" / "joints.csv")
    with (tmp_path / "deep" / "joints.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 14
    assert rows[15] == {
        "image": "a.jpg",
        "person": "1",
        "joint": "right_knee",
        "x": "102.0",
        "y": "103.0",
        "score": "0.0769",
        "box_x": "1.0",
        "box_y": "2.0",
        "box_width": "30.0",
        "box_height": "30.0",
    }
    assert (rows[28]["image"], rows[28]["person"]) == ('say "hi", ü.png', "0")


def test_pandas_reads_the_same_table_from_the_file_as_it_is_given(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    spread = np.tile(np.eye(2, dtype=np.float32), (14, 1, 1))
    sure = pose("b, c.jpg", confidences=np.full(14, 0.5, np.float32), covariances=spread, box_score=0.75)
    poses = [pose(), sure]
    save_csv(poses, tmp_path / "joints.csv")
    frame = to_pandas(poses)
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "joints.csv"), frame)
    assert frame["confidence"].isna().sum() == 14
    # In any order.
    shuffled = frame.sample(frac=1, random_state=0)
    by_name = {pose.image_id: pose.to_dict() for pose in from_pandas(shuffled)}
    assert by_name == {pose.image_id: pose.to_dict() for pose in poses}
    # Numbers as names, as pandas reads them; with a gap it makes floats of them.
    first = frame[frame["image"] == "a.jpg"]
    assert from_pandas(first.assign(image=7))[0].image_id == "7"
    assert from_pandas(first.assign(image=7.0))[0].image_id == "7"
    assert from_pandas(first.assign(image=float("nan")))[0].image_id is None
    assert from_pandas(first.drop(columns="image"))[0].image_id is None


def test_nobody_is_a_header_alone(tmp_path: Path) -> None:
    save_csv([], tmp_path / "none.csv")
    assert load_csv(tmp_path / "none.csv") == []
    pytest.importorskip("pandas")
    assert list(to_pandas([]).columns)[:3] == ["image", "person", "joint"]
    assert from_pandas(to_pandas([])) == []


def test_the_built_in_skeleton_with_these_joints_is_found_by_their_names(tmp_path: Path) -> None:
    save_csv([pose()], tmp_path / "joints.csv")
    assert load_csv(tmp_path / "joints.csv")[0].skeleton is LSP14
    with pytest.raises(ValueError, match=r"joints\.csv, line 14: skeleton 'coco17' has no joint 'neck'"):
        load_csv(tmp_path / "joints.csv", COCO17)
    text = (tmp_path / "joints.csv").read_text().replace("neck", "gills")
    (tmp_path / "joints.csv").write_text(text)
    with pytest.raises(
        ValueError, match=r"gills, head_top, which are those of no built-in skeleton; give sk"
    ):
        load_csv(tmp_path / "joints.csv")


def test_a_table_of_a_spreadsheet_without_boxes_is_read_too(tmp_path: Path) -> None:
    save_csv([pose()], tmp_path / "joints.csv")
    with (tmp_path / "joints.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [f'{row["score"]},note,"{row["joint"]}",p,{row["y"]},{row["x"]}' for row in reversed(rows)]
    text = "\r\n".join(["score,remark,joint,person,y,x", *lines, "", ""])
    (tmp_path / "excel.csv").write_bytes(text.encode("utf-8-sig"))
    (found,) = load_csv(tmp_path / "excel.csv")
    np.testing.assert_array_equal(found.keypoints, pose().keypoints)
    # The joints lie in the middles of the pixels (0, 1) to (26, 27).
    np.testing.assert_array_equal(found.box, [0, 1, 27, 27])
    assert found.image_id is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("28.0,29.0", "28.0", r"t\.csv, line 2 has 9 cells, but the first line names 10 columns"),
        ("28.0,29.0", "much,29.0", r"t\.csv, line 2: 'x' is 'much', not a number"),
        ("28.0,29.0", "28.0,", r"t\.csv, line 2: 'y' is empty"),
        ("28.0,29.0", "28.0,nan", r"t\.csv, line 2: 'y' is 'nan', not a finite number"),
        ("28.0,29.0", "1e39,29.0", r"t\.csv, line 2: 'x' is '1e39', not a finite number"),
        ("right_knee", "right_ankle", r"line 3: person 0 of a\.jpg has the joint 'right_ankle' already"),
        ("head_top", "", r"line 15: 'joint' is empty"),
        ("a.jpg,0,right_ankle", "a.jpg,,right_ankle", r"line 2: 'person' is empty"),
        (
            "a.jpg,0,right_ankle",
            "a.jpg,9,right_ankle",
            r"line 2: the person who begins here of a\.jpg has no",
        ),
        ("0.0,1.0,2.0,30.0,30.0", "0.0,1.5,2.0,30.0,30.0", r"line 3: 'box_x' is not that of the person's"),
        ("score,", "certainty,", r"t\.csv has no column 'score'; it has image, person"),
        ("box_height", "height", r"t\.csv has no column 'box_height'"),
        ("image,", "person,", r"t\.csv has the column 'person' twice"),
        ("image,", '"image,', r"t\.csv is not a CSV file that can be read: unexpected end"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_column(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    save_csv([pose(shift=28)], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    assert old in text
    (tmp_path / "t.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_csv(tmp_path / "t.csv")


def test_a_confidence_is_had_by_all_joints_and_a_probability(tmp_path: Path) -> None:
    save_csv([pose(confidences=np.full(14, 0.25, np.float32))], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace(",0.25,", ",,", 1))
    with pytest.raises(ValueError, match=r"line 2: 'confidence' is empty"):
        load_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(text.replace(",0.25,", ",2.5,", 1))
    with pytest.raises(ValueError, match=r"line 2: of the person who begins here, .* outside 0 to 1"):
        load_csv(tmp_path / "t.csv")


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load_csv(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_bytes(b"\n\n")
    with pytest.raises(ValueError, match=r"empty\.csv is empty"):
        load_csv(tmp_path / "empty.csv")
    with pytest.raises(ValueError, match="pose 1 has the skeleton 'mpii16', not 'lsp14'"):
        save_csv(
            [
                pose(),
                pose(
                    skeleton=MPII16, keypoints=np.zeros((16, 2), np.float32), scores=np.ones(16, np.float32)
                ),
            ],
            tmp_path / "t.csv",
        )
    with pytest.raises(OSError, match="cannot write"):
        save_csv([pose()], tmp_path)


def test_rows_of_a_frame_are_named_by_their_index() -> None:
    pytest.importorskip("pandas")
    frame = to_pandas([pose()])
    frame.loc[5, "y"] = float("nan")
    with pytest.raises(ValueError, match="row 5: 'y' is empty"):
        from_pandas(frame)
