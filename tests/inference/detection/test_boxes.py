from typing import Any

import numpy as np
import pytest
import torch

from hourglass.inference.detection.boxes import box_rows, detect, from_detections

IMAGE = np.zeros((100, 200, 3), np.uint8)
ONE = [10.0, 20.0, 30.0, 40.0]
TWO = [50.0, 20.0, 30.0, 40.0]


@pytest.mark.parametrize(
    ("answer", "boxes", "scores"),
    [
        ([], 0, None),
        (np.empty((0, 4)), 0, None),
        (np.empty((0, 5)), 0, ()),
        (([], []), 0, ()),
        ((np.empty((0, 4)), np.empty(0)), 0, ()),
        ([ONE, TWO], 2, None),
        ((ONE, TWO), 2, None),
        (ONE, 1, None),
        ([*ONE, 0.5], 1, (0.5,)),
        ([[*ONE, 0.5], [*TWO, 0.25]], 2, (0.5, 0.25)),
        (([ONE, TWO], [0.5, 0.25]), 2, (0.5, 0.25)),
        ((np.array([ONE]), np.array([[0.5]])), 1, (0.5,)),
        (([ONE, TWO], None), 2, None),
        (torch.tensor([ONE, TWO]), 2, None),
        ((torch.tensor([ONE]), torch.tensor([0.5])), 1, (0.5,)),
    ],
)
def test_every_form_of_an_answer_is_understood(
    answer: Any, boxes: int, scores: tuple[float, ...] | None
) -> None:
    found, given = detect(lambda image: answer, IMAGE)
    np.testing.assert_array_equal(found, np.array([ONE, TWO])[:boxes].reshape(boxes, 4))
    assert given == scores


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "no boxes but None; for nobody it must give an empty list"),
        ("people", "boxes must be rows of four or five numbers"),
        ([["a", 1, 2, 3]], "boxes must be rows of four or five numbers"),
        ([[1, 2, 3], [1, 2]], "boxes must be rows of four or five numbers"),
        ({"boxes": [ONE]}, "boxes must be rows of four or five numbers"),
        (7, r"must have the shape \(N, 4\) or \(N, 5\), not \(\)"),
        ([[1, 2, 3]], r"must have the shape \(N, 4\) or \(N, 5\), not \(1, 3\)"),
        (([[*ONE, 0.5]], [0.5]), r"must have the shape \(N, 4\), not \(1, 5\)"),
        (([ONE], [0.5, 0.6]), "1 boxes came with 2 scores"),
        (([ONE], ["sure"]), "scores must be numbers"),
        ([[*ONE, np.inf]], "score is not finite"),
        ([[10, 20, -30, 40]], "the box 10,20,-30,40 is not finite with a positive width"),
        ([[10, np.nan, 30, 40]], "not finite"),
        ([[300, 20, 30, 40]], "the box 300,20,30,40 lies outside the picture of 200 x 100 px"),
        (torch.ones((1, 4), requires_grad=True), "boxes must be rows"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.jpg: from the detector: .*{message}") as caught:
        detect(lambda image: answer, IMAGE, "a.jpg: ")
    assert "\n" not in str(caught.value)


def test_the_detector_sees_the_picture_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 255, (10, 12, 3), dtype=np.uint8)

    def detector(picture: Any) -> list[Any]:
        np.testing.assert_array_equal(picture, image)
        return [ONE]

    with pytest.raises(ValueError, match="outside the picture of 12 x 10 px"):
        detect(detector, image)


def test_one_box_is_a_row() -> None:
    assert box_rows([1, 2, 3, 4], 10, 10).shape == (1, 4)
    assert box_rows([], 10, 10).shape == (0, 4)


class Detections:
    """What a `supervision.Detections` shows of itself."""

    def __init__(self, xyxy: list[list[float]], confidence: list[float] | None) -> None:
        self.xyxy = np.array(xyxy, np.float32).reshape(-1, 4)
        self.confidence = None if confidence is None else np.array(confidence, np.float32)


def test_detections_of_supervision_are_corners() -> None:
    boxes, scores = from_detections(Detections([[10, 20, 40, 100]], [0.5]))
    assert boxes.tolist() == [[10, 20, 30, 80]]
    assert scores.tolist() == [0.5]
    assert from_detections(Detections([], None))[0].shape == (0, 4)
    assert from_detections([[1, 2, 3, 4]]) == ([[1, 2, 3, 4]], None)
    image = np.zeros((100, 100, 3), np.uint8)
    found, sure = detect(lambda _: Detections([[10, 20, 40, 100]], [0.5]), image)
    assert found.tolist() == [[10, 20, 30, 80]]
    assert sure == (0.5,)
    with pytest.raises(ValueError, match="lies outside"):
        detect(lambda _: Detections([[110, 20, 140, 100]], None), image)


def test_supervisions_own_detections() -> None:
    supervision = pytest.importorskip("supervision")
    found = supervision.Detections(xyxy=np.array([[10.0, 20, 40, 100]]), confidence=np.array([0.5]))
    boxes, scores = from_detections(found)
    assert boxes.tolist() == [[10, 20, 30, 80]]
    assert scores.tolist() == [0.5]
    assert from_detections(supervision.Detections.empty())[0].shape == (0, 4)
