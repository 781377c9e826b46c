import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hourglass.core.skeleton import COCO17, LSP14, Skeleton
from hourglass.inference.poses.pose import Pose, coco_image_id, save_coco

PAIR = Skeleton(name="pair", joints=("left_eye", "right_eye"), flip_pairs=(("left_eye", "right_eye"),))


def pose(**changes: Any) -> Pose:
    values: dict[str, Any] = {
        "keypoints": np.array([[10.25, 20.5], [30, 40]], np.float32),
        "scores": np.array([0.5, 0.25], np.float32),
        "skeleton": PAIR,
        "box": np.array([1, 2, 50, 50], np.float32),
        "image_id": "000000000139.jpg",
    }
    return Pose(**{**values, **changes})


def _twice(matrix: list[list[float]]) -> Any:
    return np.array([matrix, matrix], np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": np.zeros((3, 2), np.float32)}, r"139\.jpg: keypoints has shape \(3, 2\)"),
        ({"scores": np.zeros((2, 1), np.float32)}, "scores has shape"),
        ({"box": np.zeros(3, np.float32)}, "box has shape"),
        ({"scores": np.array([1, np.nan], np.float32)}, "scores holds a number that is not finite"),
        ({"heatmaps": (np.zeros((3, 4, 4), np.float32),)}, r"heatmaps\[0\] has shape \(3, 4, 4\)"),
        ({"confidences": np.zeros(3, np.float32)}, r"confidences has shape \(3,\), expected \(2,\)"),
        ({"confidences": np.array([0.5, np.nan], np.float32)}, "confidences holds a number that is not"),
        ({"confidences": np.array([0.5, 1.01], np.float32)}, "confidences holds a number outside 0 to 1"),
        (
            {"covariances": np.zeros((2, 2), np.float32)},
            r"covariances has shape \(2, 2\), expected \(2",
        ),
        ({"covariances": _twice([[1, 0.5], [0, 1]])}, "covariances holds a matrix that is not symmetric"),
        ({"covariances": _twice([[1, 2], [2, 1]])}, "covariances holds a matrix that is not"),
    ],
)
def test_contradictions_are_refused_at_birth(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pose(**changes)


def test_the_score_is_the_mean_of_the_joints() -> None:
    assert pose().score == 0.375


def test_a_pose_survives_json_with_its_own_skeleton_and_with_a_known_one() -> None:
    back = Pose.from_dict(json.loads(json.dumps(pose().to_dict())))
    np.testing.assert_array_equal(back.keypoints, pose().keypoints)
    np.testing.assert_array_equal(back.scores, pose().scores)
    np.testing.assert_array_equal(back.box, pose().box)
    assert (back.skeleton, back.image_id) == (PAIR, "000000000139.jpg")

    known = pose(
        skeleton=LSP14, keypoints=np.ones((14, 2), np.float32), scores=np.ones(14, np.float32)
    ).to_dict()
    assert known["skeleton"] == "lsp14"
    assert Pose.from_dict(known).skeleton is LSP14
    assert known["joints"]["head_top"] == {"x": 1.0, "y": 1.0, "score": 1.0}


def test_confidences_and_covariances_travel_with_the_joints_where_there_are_any() -> None:
    whole = pose(
        confidences=np.array([0.75, 0.123456], np.float32),
        covariances=np.array([[[4, 1.5], [1.5, 9]], [[1, 1], [1, 1]]], np.float32),
    )
    raw = json.loads(json.dumps(whole.to_dict()))
    assert raw["joints"]["right_eye"] == {
        "x": 30.0,
        "y": 40.0,
        "score": 0.25,
        "confidence": 0.1235,
        "covariance": [[1.0, 1.0], [1.0, 1.0]],
    }
    back = Pose.from_dict(raw)
    assert back.confidences is not None
    assert back.covariances is not None
    np.testing.assert_allclose(back.confidences, [0.75, 0.1235], rtol=1e-6)
    np.testing.assert_array_equal(back.covariances, whole.covariances)
    assert Pose.from_dict(back.to_dict()).to_dict() == raw

    assert set(pose().to_dict()["joints"]["left_eye"]) == {"x", "y", "score"}
    del raw["joints"]["left_eye"]["confidence"]
    with pytest.raises(ValueError, match="'confidence' is missing"):
        Pose.from_dict(raw)


@settings(deadline=None)
@given(st.lists(st.floats(-300, 300, width=32), min_size=4, max_size=4))
def test_any_covariance_is_still_one_after_the_rounding_of_a_file(factor: list[float]) -> None:
    half = np.array(factor, np.float64).reshape(2, 2)
    whole = pose(covariances=_twice((half @ half.T).tolist()))
    assert Pose.from_dict(whole.to_dict()).covariances is not None
    thin = pose(covariances=_twice((half[:1].T @ half[:1]).tolist()))
    assert Pose.from_dict(thin.to_dict()).covariances is not None


def test_a_joint_is_sure_by_its_confidence_or_else_by_its_score() -> None:
    assert pose().sure().tolist() == [True, False]  # scores 0.5 and 0.25 against 0.3
    assert pose().sure(0.2).tolist() == [True, True]
    said = pose(confidences=np.array([0.45, 0.5], np.float32))
    assert said.sure().tolist() == [False, True]
    assert said.sure(0.4).tolist() == [True, True]

    # Drawn hollow, what is below shows through; and nothing is taken from the data.
    grey = np.full((60, 60, 3), 90, np.uint8)
    drawn = said.draw(grey)
    assert drawn[20, 10].tolist() == [90, 90, 90]
    assert drawn[40, 30].tolist() != [90, 90, 90]
    assert len(said.to_dict()["joints"]) == 2


def test_a_dict_that_is_no_pose_is_refused_by_field() -> None:
    raw = pose().to_dict()
    with pytest.raises(ValueError, match="right_eye"):
        Pose.from_dict({**raw, "joints": {"left_eye": {"x": 1, "y": 2, "score": 1}}})
    with pytest.raises(ValueError, match="skeleton 'octopus' is not one of"):
        Pose.from_dict({**raw, "skeleton": "octopus"})


def test_coco_rows_follow_cocos_result_format(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    save_coco([pose(), pose(image_id="b.png")], path)
    first, second = json.loads(path.read_text())
    assert first == {
        "image_id": 139,
        "category_id": 1,
        "keypoints": [10.25, 20.5, 0.5, 30.0, 40.0, 0.25],
        "score": 0.375,
    }
    assert second["image_id"] == "b.png"
    with pytest.raises(ValueError, match="pose 0 has no image_id"):
        save_coco([pose(image_id=None)], path)
    with pytest.raises(OSError, match="cannot write"):
        save_coco([pose()], tmp_path)


def test_cocos_own_evaluator_reads_what_is_written(tmp_path: Path) -> None:
    evaluator = pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 180, (17, 2)).astype(np.float32)
    truth = {
        "info": {},
        "images": [{"id": 7, "width": 200, "height": 200}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": 0,
                "area": 160.0 * 160.0,
                "bbox": [20, 20, 160, 160],
                "num_keypoints": 17,
                "keypoints": np.column_stack([points, np.full(17, 2)]).ravel().tolist(),
            }
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = pose(skeleton=COCO17, keypoints=points, scores=np.ones(17, np.float32), image_id="7.jpg")
    save_coco([found], tmp_path / "found.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = evaluator.COCO(str(tmp_path / "truth.json"))
        score = evaluator.COCOeval_faster(data, data.loadRes(str(tmp_path / "found.json")), "keypoints")
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(1.0)


def test_an_image_is_called_by_its_number_where_its_name_is_one() -> None:
    assert coco_image_id("folder/000000000139.jpg") == 139
    assert coco_image_id("photo.jpg") == "photo.jpg"


def test_drawing_takes_a_file_or_an_array_and_leaves_it_alone(tmp_path: Path) -> None:
    grey = np.full((60, 60), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    drawn = pose().draw(tmp_path / "grey.png")
    assert drawn.shape == (60, 60, 3)
    assert (drawn != 128).any()
    np.testing.assert_array_equal(pose().draw(grey), drawn)
    assert (grey == 128).all()


def test_a_heatmap_panel_needs_kept_heatmaps() -> None:
    with pytest.raises(ValueError, match="keep_heatmaps=True"):
        pose().heatmap_panel()
    kept = pose(heatmaps=(np.zeros((2, 8, 8), np.float32),), crop=np.zeros((32, 32, 3), np.uint8))
    assert kept.heatmap_panel().shape[2] == 3


def test_a_panel_over_the_picture_shows_heat_where_the_joint_is() -> None:
    heat = np.zeros((2, 64, 64), np.float32)
    heat[:, 48, 16] = 1
    # The crop hangs over the left and the top edge; cells are 4 pixels of the picture.
    found = pose(
        box=np.array([-56, -128, 256, 256], np.float32),
        heatmaps=(heat,),
        crop=np.zeros((256, 256, 3), np.uint8),
    )
    picture = np.zeros((200, 200, 3), np.uint8)
    panel = found.heatmap_panel(picture).astype(int)
    # The cell's middle is at (16 + 0.5) * 4 - 0.5 - 56 = 9.5 and (48 + 0.5) * 4 - 0.5 - 128 = 65.5. The part
    # inside is 200 wide and 128 high; the joints' tile shows a square of 200 around it, 292 px large.
    tile = panel[8:300, 8:300]
    weight = tile.sum(2) * (tile.max(2) > 60)
    rows, columns = np.indices(weight.shape)
    x, y = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert x == pytest.approx(10 / 200 * 292, abs=2)
    assert y == pytest.approx((66 + 36) / 200 * 292, abs=2)
