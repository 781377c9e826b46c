import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17, LSP14, MPII16
from hourglass.data.formats.coco import load_records, read_file
from hourglass.inference.poses.coco import (
    from_coco,
    from_coco_annotations,
    load_coco,
    load_coco_annotations,
    save_coco_annotations,
    to_coco_annotations,
)
from hourglass.inference.poses.pose import Pose, save_coco
from inference.poses.people_drawn import NAMES, ODD, plain, some_poses

QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pose(image_id: str | None = "a.jpg", **changes: Any) -> Pose:
    values = {
        "keypoints": np.arange(28, dtype=np.float32).reshape(14, 2),
        "scores": np.linspace(0, 1, 14, dtype=np.float32),
        "skeleton": LSP14,
        "box": np.array([-1.5, 2, 30, 30], np.float32),
        "image_id": image_id,
    }
    return Pose(**{**values, **changes})


def people17(rng: np.random.Generator, name: str) -> Pose:
    points = rng.uniform(20, 180, (17, 2)).astype(np.float32)
    scores = rng.uniform(0.1, 1, 17).astype(np.float32)
    return pose(name, skeleton=COCO17, keypoints=points, scores=scores)


@QUICK
@given(poses=some_poses(), empty=st.lists(NAMES, max_size=2), skeleton=st.sampled_from([None, ODD]))
def test_any_poses_and_empty_pictures_come_back_from_annotations(
    poses: list[Pose], empty: list[str], skeleton: Any
) -> None:
    pictures = {name: (3, 5) if i % 2 else None for i, name in enumerate(empty)}
    if not poses:
        skeleton = ODD
    content = to_coco_annotations(poses, pictures, skeleton)
    back, found = from_coco_annotations(json.loads(json.dumps(content, allow_nan=False)))
    printed = [Pose.from_dict(pose.to_dict()) for pose in poses]
    assert plain(back) == plain(printed)
    assert found == {**pictures, **{p.image_id: pictures.get(p.image_id) for p in poses if p.image_id}}
    assert to_coco_annotations(back, found, skeleton) == to_coco_annotations(printed, pictures, skeleton)


@QUICK
@given(poses=some_poses())
def test_any_joints_and_scores_come_back_from_results(poses: list[Pose], tmp_path: Path) -> None:
    save_coco(poses, tmp_path / "results.json")
    back = load_coco(tmp_path / "results.json", ODD)
    for pose, found in zip(poses, back, strict=True):
        assert plain([found])[0]["joints"] == {
            name: {key: joint[key] for key in ("x", "y", "score")}
            for name, joint in Pose.from_dict(pose.to_dict()).to_dict()["joints"].items()
        }
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [p.image_id for p in back] == [str(row["image_id"]) for row in rows]
    assert [p.to_coco(0)["keypoints"] for p in back] == [row["keypoints"] for row in rows]


def test_an_annotation_is_cocos_and_no_joint_is_dropped() -> None:
    content = to_coco_annotations([pose()], {"a.jpg": (40, 50), "b.jpg": (6, 7)}, threshold=0.5)
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 40, "height": 50},
        {"id": 2, "file_name": "b.jpg", "width": 6, "height": 7},
    ]
    (entry,) = content["annotations"]
    assert entry["keypoints"][:6] == [0, 1, 1, 2, 3, 1]
    assert entry["keypoints"][2::3] == [1] * 7 + [2] * 7
    assert entry["num_keypoints"] == 14
    # The joints lie in the pixels (0, 1) to (26, 27).
    assert (entry["bbox"], entry["area"], entry["iscrowd"]) == ([0, 1, 27, 27], 729, 0)
    assert (entry["id"], entry["image_id"], entry["category_id"], entry["score"]) == (1, 1, 1, 0.5)
    (category,) = content["categories"]
    assert category["keypoints"] == list(LSP14.joints)
    assert category["skeleton"] == [[a + 1, b + 1] for a, b in LSP14.limb_indices]


def test_confidences_are_what_the_threshold_is_held_against() -> None:
    sure = pose(confidences=np.linspace(1, 0, 14, dtype=np.float32))
    (entry,) = to_coco_annotations([sure], threshold=0.5)["annotations"]
    assert entry["keypoints"][2::3] == [2] * 7 + [1] * 7


def test_pycocotools_reads_both_files(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(0)
    poses = [people17(rng, name) for name in ("7.jpg", "7.jpg", "000000000009.jpg")]
    ids = {"7.jpg": 7, "000000000009.jpg": 9, "11.jpg": 11}
    sizes = dict.fromkeys(ids, (200, 200))
    save_coco_annotations(poses, tmp_path / "truth.json", sizes, threshold=0, image_ids=ids)
    save_coco(poses, tmp_path / "found.json")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(tmp_path / "truth.json"))
        found = truth.loadRes(str(tmp_path / "found.json"))
        score = evaluation.COCOeval(truth, found, "keypoints")
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(1)
    assert sorted(truth.getImgIds()) == [7, 9, 11]
    assert truth.loadCats([1])[0]["name"] == "person"
    for entry, expected in zip(truth.loadAnns(truth.getAnnIds(imgIds=[7])), poses[:2], strict=True):
        triples = np.reshape(entry["keypoints"], (17, 3))
        np.testing.assert_allclose(triples[:, :2], expected.keypoints, atol=1e-4)
        assert (triples[:, 2] == 2).all()


def test_our_own_reader_takes_the_poses_for_training(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 50)).save(tmp_path / "a.jpg")
    save_coco_annotations([pose()], tmp_path / "a.json", {"a.jpg": (40, 50)})
    (record,) = load_records(tmp_path / "a.json", tmp_path)
    np.testing.assert_array_equal(record.keypoints, pose().keypoints)
    assert record.skeleton == LSP14
    assert record.side_px == pytest.approx(27 * 1.25)
    assert read_file(tmp_path / "a.json").names == ("a.jpg",)


def test_annotations_of_others_become_poses() -> None:
    category = {"id": 3, "name": "pair", "keypoints": ["left_eye", "right_eye"]}
    entries: list[dict[str, Any]] = [
        {"id": 5, "bbox": [10, 20, 40, 30], "keypoints": [12, 25, 2, 0, 0, 0]},
        {"id": 6, "keypoints": [1, 2, 1, 3, 8, 2]},
        {"id": 7, "keypoints": [4, 5, 1, 0, 0, 0]},
        {"id": 8, "keypoints": [0, 0, 0, 0, 0, 0]},
        {"id": 9, "keypoints": [1, 1, 2, 1, 1, 2], "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 2, "file_name": "b.jpg", "width": 60, "height": 70}, {"id": 1}],
        "annotations": [{**entry, "image_id": 2, "category_id": 3} for entry in entries],
        "categories": [category],
    }
    poses, pictures = from_coco_annotations(content)
    assert pictures == {"1": None, "b.jpg": (60, 70)}
    assert [p.image_id for p in poses] == ["b.jpg"] * 3
    np.testing.assert_array_equal([p.scores for p in poses], [[1, 0], [1, 1], [1, 0]])
    np.testing.assert_array_equal(poses[1].keypoints, [[1, 2], [3, 8]])
    # 1.25 times the longer side, around the middle of the box, or of the joints; one joint is a pixel.
    np.testing.assert_array_equal(poses[0].box, [30 - 25, 35 - 25, 50, 50])
    np.testing.assert_allclose(poses[2].box, [4, 5, 1, 1])
    assert poses[1].box[2] == poses[1].box[3] >= 6


def test_what_a_labeller_changed_counts() -> None:
    content = to_coco_annotations([pose(), pose()])
    first, second = content["annotations"]
    first["keypoints"][:6] = [100, 101, 2, 0, 0, 0]
    (moved, _), _ = from_coco_annotations(content)
    np.testing.assert_array_equal(moved.keypoints[:2], [[100, 101], [0, 0]])
    np.testing.assert_allclose(moved.scores[:3], [0, 0, 2 / 13], atol=1e-4)
    del second["hourglass"]
    (plain_one, _), _ = from_coco_annotations(content)
    np.testing.assert_array_equal(plain_one.scores[:3], [1, 0, 1])


def test_ids_are_kept_and_counted_on() -> None:
    content = to_coco_annotations([pose("x.jpg"), pose("y.jpg")], {"z.jpg": None}, image_ids={"y.jpg": 40})
    assert {i["file_name"]: i["id"] for i in content["images"]} == {"z.jpg": 41, "x.jpg": 42, "y.jpg": 40}


def test_results_name_pictures_by_number_or_name() -> None:
    rows = [pose().to_coco(139), pose().to_coco("b.png")]
    assert [p.image_id for p in from_coco(rows, LSP14)] == ["139", "b.png"]
    found = from_coco(rows, LSP14, {139: "000000000139.jpg"})
    assert [p.image_id for p in found] == ["000000000139.jpg", "b.png"]
    np.testing.assert_array_equal(found[0].box, [0, 1, 27, 27])
    assert from_coco([], LSP14) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1, 2, 3]}, r"r\.json: row 1: 'keypoints' is not numbers of shape \(42,\)"),
        ({"keypoints": [float("nan")] * 42}, r"r\.json: row 1: right_ankle is not a finite number"),
        ({"keypoints": ["a"] * 42}, r"r\.json: row 1: 'keypoints' is not numbers"),
        ({"keypoints": [0, 0, 1e39] * 14}, r"row 1: the score of right_ankle lies"),
        ({"image_id": None}, r"r\.json: row 1: 'image_id' is None, not a number or a name"),
    ],
)
def test_results_at_fault_are_named_by_row(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps([pose().to_coco(1), {**pose().to_coco(2), **change}]))
    with pytest.raises(ValueError, match=message):
        load_coco(tmp_path / "r.json", LSP14)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_coco(tmp_path / "none.json", LSP14)
    (tmp_path / "a.json").write_text(json.dumps(to_coco_annotations([pose()])))
    with pytest.raises(ValueError, match="is not a list of objects, as COCO results are"):
        load_coco(tmp_path / "a.json", LSP14)
    (tmp_path / "r.json").write_text(json.dumps([pose().to_coco(1)]))
    with pytest.raises(ValueError, match=r"r\.json holds a JSON list"):
        load_coco_annotations(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pose_scores", [1, 2], r"annotation 1: a\.jpg: scores has shape \(2,\)"),
        ("pose_scores", "high", r"annotation 1: could not convert"),
        ("pose_box", {"x": 1}, r"annotation 1: "),
        ("pose_confidences", [2.0] * 14, "annotation 1: .*outside 0 to 1"),
        ("pose_box_score", [1], "annotation 1: "),
    ],
)
def test_damaged_additions_are_named_by_annotation(column: str, value: Any, message: str) -> None:
    content = to_coco_annotations([pose()])
    content["hourglass"]["columns"][column] = "|O"
    content["annotations"][0]["hourglass"]["columns"][column] = value
    with pytest.raises(ValueError, match=message):
        from_coco_annotations(content)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pose 1 has no image_id"):
        to_coco_annotations([pose(), pose(None)])
    with pytest.raises(ValueError, match="no poses to tell the skeleton"):
        to_coco_annotations([])
    with pytest.raises(ValueError, match="pose 0 has the skeleton 'lsp14', not 'mpii16'"):
        to_coco_annotations([pose()], skeleton=MPII16)
    with pytest.raises(OSError, match="cannot write"):
        save_coco_annotations([pose()], tmp_path)


@pytest.mark.realdata
def test_cocos_own_people_become_the_poses_that_pycocotools_reads(real_data: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    (file,) = (real_data / "coco" / "annotations").glob("person_keypoints_*.json")
    poses, pictures = load_coco_annotations(file)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(file))
    theirs = [e for e in truth.dataset["annotations"] if e["num_keypoints"] and not e["iscrowd"]]
    assert len(pictures) == len(truth.dataset["images"])
    for pose, entry in zip(poses, theirs, strict=True):
        triples = np.reshape(entry["keypoints"], (17, 3))
        np.testing.assert_array_equal(pose.keypoints, triples[:, :2])
        np.testing.assert_array_equal(pose.scores, triples[:, 2] > 0)
        assert pose.image_id == truth.imgs[entry["image_id"]]["file_name"]
        assert pose.skeleton == COCO17
    save_coco(poses, tmp_path / "found.json")
    with contextlib.redirect_stdout(io.StringIO()):
        score = evaluation.COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "keypoints")
        score.evaluate()
        score.accumulate()
        score.summarize()
    # A score of 1 is shared by all, so a crowd's neighbours don't lower it.
    assert score.stats[0] == pytest.approx(1)
