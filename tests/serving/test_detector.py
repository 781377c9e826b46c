"""A server with a detector: pictures without boxes hold whom it finds, within the limits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.inference.detection.yolox import DetectorError
from hourglass.inference.predictor import Predictor

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

PNG = {"Content-Type": "image/png"}
FOUND = np.array([[10, 10, 40, 80, 0.75], [60, 10, 40, 80, 0.5]])


def test_a_picture_without_boxes_holds_whom_the_detector_finds(
    make_client: Any, predictor: Predictor, png: bytes
) -> None:
    predictor.detector = lambda image: FOUND
    client = make_client(predictor)
    people = client.post("/v1/pose", content=png, headers=PNG).json()["images"][0]["people"]
    assert [person["box_score"] for person in people] == [0.75, 0.5]
    told = client.post("/v1/pose", params={"boxes": "1,2,30,40"}, content=png, headers=PNG).json()
    assert len(told["images"][0]["people"]) == 1
    assert "box_score" not in told["images"][0]["people"][0]


def test_nobody_is_an_answer_too(make_client: Any, predictor: Predictor, png: bytes) -> None:
    predictor.detector = lambda image: []
    told = make_client(predictor).post("/v1/pose", content=png, headers=PNG)
    assert (told.status_code, told.json()["images"][0]["people"]) == (200, [])


def test_more_people_than_a_request_may_ask_for_are_refused(
    make_client: Any, predictor: Predictor, png: bytes
) -> None:
    predictor.detector = lambda image: FOUND
    client = make_client(predictor, max_boxes=3)
    assert client.post("/v1/pose", content=png, headers=PNG).status_code == 200
    told = client.post("/v1/pose", files=[("images", ("a.png", png, "image/png"))] * 2)
    assert told.status_code == 413
    assert told.json()["error"]["message"] == "4 people are found up to picture 2; 3 is the most"


def test_a_detector_that_fails_says_nothing_of_its_file(
    make_client: Any, predictor: Predictor, png: bytes, tmp_path: Path
) -> None:
    def fail(image: Any) -> Any:
        raise DetectorError(f"{tmp_path}/yolox.onnx failed: out of memory")

    predictor.detector = fail
    told = make_client(predictor).post("/v1/pose", content=png, headers=PNG)
    assert told.status_code == 500
    assert str(tmp_path) not in told.text
