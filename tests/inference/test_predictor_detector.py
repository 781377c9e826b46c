"""A predictor with a detector: who is looked at, what a person's box scored, and who is left out."""

from typing import Any

import numpy as np
import pytest

from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from inference.test_predictor import DotFinder, Points, box_of, facts, finder, paint, person

PEOPLE = [person(110, 160, 150), person(420, 210, 230)]
IMAGE = paint(PEOPLE, 400, 600)
BOXES = [box_of(truth) for truth in PEOPLE]


def with_detector(answer: Any, nms_oks: float | None = 0.9) -> Predictor:
    return Predictor(DotFinder(), facts(), "cpu", "fp32", detector=lambda image: answer, nms_oks=nms_oks)


def apart(pose: Pose, truth: Points) -> float:
    return float(np.abs(pose.keypoints - truth).max())


def test_a_picture_without_boxes_holds_whom_the_detector_finds() -> None:
    poses = with_detector((BOXES, [0.75, 0.5]))(IMAGE)
    assert [apart(pose, truth) < 0.6 for pose, truth in zip(poses, PEOPLE, strict=True)] == [True, True]
    assert [pose.box_score for pose in poses] == [0.75, 0.5]
    expected = finder()[0](IMAGE, boxes=BOXES)
    for pose, same in zip(poses, expected, strict=True):
        np.testing.assert_array_equal(pose.keypoints, same.keypoints)
        assert same.box_score is None


def test_who_finds_nobody_gives_no_poses() -> None:
    predictor = with_detector([])
    assert predictor(IMAGE) == []
    assert predictor([IMAGE, IMAGE], boxes=[None, BOXES[:1]])[0] == []
    assert len(predictor([IMAGE, IMAGE], boxes=[None, BOXES[:1]])[1]) == 1


def test_boxes_that_are_given_come_before_the_detector() -> None:
    (pose,) = with_detector([])(IMAGE, boxes=BOXES[0])
    assert apart(pose, PEOPLE[0]) < 0.6


def test_a_person_who_is_found_twice_is_there_once() -> None:
    x, y, w, h = BOXES[0]
    doubled = [BOXES[1], BOXES[0], [x - 2, y + 3, w + 3, h - 2]]
    poses = with_detector((doubled, [0.9, 0.8, 0.7]))(IMAGE)
    assert [pose.box_score for pose in poses] == [0.9, 0.8]
    assert len(with_detector(doubled)(IMAGE)) == 2
    assert len(with_detector(doubled, nms_oks=None)(IMAGE)) == 3


def test_given_boxes_keep_a_pose_each_unless_asked() -> None:
    doubled = [BOXES[1], BOXES[0], BOXES[0]]
    predictor = with_detector([])
    assert len(predictor(IMAGE, boxes=doubled)) == 3
    assert len(predictor(IMAGE, boxes=doubled, nms_oks=0.9)) == 2
    assert [len(p) for p in predictor([IMAGE], boxes=[doubled], nms_oks=0.9)] == [2]
    (pose, _) = predictor.answer([predictor.prepare(IMAGE, BOXES, box_scores=[0.25, 0.5])])[0]
    assert pose.box_score == 0.25


def test_a_bad_answer_names_the_picture_and_nothing_is_predicted(tmp_path: Any) -> None:
    from PIL import Image

    Image.fromarray(IMAGE).save(tmp_path / "team.png")
    predictor = with_detector([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"^team\.png: from the detector: boxes must have the shape"):
        predictor([tmp_path / "team.png"])
    assert isinstance(predictor.network, DotFinder)
    assert predictor.network.passes == 0


def test_thresholds_and_detectors_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        with_detector([], nms_oks=1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        with_detector([])(IMAGE, boxes=BOXES, nms_oks=-1)
    with pytest.raises(ValueError, match="2 boxes came with 1 scores"):
        with_detector([]).prepare(IMAGE, BOXES, box_scores=[1.0])
    with pytest.raises(
        FileNotFoundError,
        match="no detector best: give weights of a people finder, an ONNX file of YOLOX, or people_finder",
    ):
        Predictor(DotFinder(), facts(), "cpu", "fp32", detector="best")


def test_a_boxs_score_travels_with_the_pose() -> None:
    (pose,) = with_detector([[*BOXES[0], 0.123456]])(IMAGE)
    assert pose.to_dict()["box_score"] == 0.1235
    assert Pose.from_dict(pose.to_dict()).box_score == pytest.approx(0.1235)
    (plain,) = finder()[0](IMAGE, boxes=BOXES[0])
    assert "box_score" not in plain.to_dict()
    with pytest.raises(ValueError, match="box_score is nan"):
        Pose(plain.keypoints, plain.scores, plain.skeleton, plain.box, box_score=float("nan"))


def test_boxes_may_be_supervisions_detections() -> None:
    supervision = pytest.importorskip("supervision")
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in BOXES], np.float64)
    found = supervision.Detections(xyxy=corners, confidence=np.array([0.5, 0.25]))
    poses = finder()[0](IMAGE, boxes=found)
    assert [pose.box_score for pose in poses] == [0.5, 0.25]
    expected = finder()[0](IMAGE, boxes=BOXES)
    for pose, same in zip(poses, expected, strict=True):
        np.testing.assert_array_equal(pose.keypoints, same.keypoints)
    assert finder()[0](IMAGE, boxes=supervision.Detections.empty()) == []
    assert [len(p) for p in finder()[0]([IMAGE, IMAGE], boxes=[found, None])] == [2, 1]
