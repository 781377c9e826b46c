"""A batch with a detector: the file goes to every worker, and a second run must have the same one."""

import json
from pathlib import Path

import pytest

from batch.samples import encoded, make_photos, rows_of
from batch.test_worker import SETTINGS, items
from hourglass.batch.items import picture_items
from hourglass.batch.options import Answering
from hourglass.batch.run import _detector
from hourglass.batch.worker import BatchJob, Worker
from hourglass.weights.published import bundled_weights
from inference.detection.yolox_files import finished_file

DETS = [(5, 5, 45, 55, 0.9), (5, 5, 45, 55, 0.8), (40, 5, 70, 55, 0.5), (0, 0, 9, 9, 0.1)]


def worker(weights: Path, tmp_path: Path, **answering: float) -> Worker:
    file = finished_file(tmp_path / "yolox.onnx", DETS, [0] * 4, 80)
    asked = Answering(detector=str(file), **answering)  # type: ignore[arg-type]
    content, _, _ = _detector(asked, gpu=False)
    job = BatchJob(
        output=str(tmp_path / "out"),
        base=str(tmp_path / "photos"),
        run="run1",
        weights={weights.name: weights.read_bytes()},
        settings=SETTINGS,
        detector=content,
        detecting={"min_score": asked.min_score, "nms_oks": asked.nms_oks},
    )
    file.unlink()  # a worker on another machine doesn't have it
    return Worker(job)


def test_everybody_whom_the_detector_finds_has_a_row(weights: Path, tmp_path: Path) -> None:
    (name,) = make_photos(tmp_path / "photos", 1)
    worker(weights, tmp_path)(picture_items([name]))
    rows = rows_of(tmp_path / "out")
    assert [(row["person"], round(row["box_score"], 4)) for row in rows] == [(0, 0.9), (1, 0.5)]


def test_its_options_and_boxes_that_are_given_count(weights: Path, tmp_path: Path) -> None:
    make = worker(weights, tmp_path, min_score=0.6, nms_oks=1)
    make(
        items(
            {"image_id": "a", "data": encoded(1)},
            {"image_id": "b", "data": encoded(2), "boxes": [[1, 1, 9, 9]]},
        )
    )
    rows = rows_of(tmp_path / "out")
    assert [(row["image_id"], row["person"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]
    assert rows[2]["box_score"] is None


def test_what_a_second_run_must_agree_with(tmp_path: Path) -> None:
    assert _detector(Answering(detector="none"), gpu=False) == (None, None, "")
    path = bundled_weights()["people_finder"]
    bundled, told, name = _detector(Answering(), gpu=True)
    assert (bundled, name) == (path.read_bytes(), path.name)
    # A run goes on where it was, on other machines: the same network in a file that needs no torch.
    light = path.with_suffix(".onnx")
    assert _detector(Answering(), gpu=False) == (light.read_bytes(), told, light.name)
    assert told is not None
    assert told["name"] == "people_finder.safetensors"
    assert 0 < told["min_score"] < 1
    file = finished_file(tmp_path / "yolox.onnx", DETS, [0] * 4, 80)
    content, said, _ = _detector(Answering(detector=str(file)), gpu=False)
    assert content == file.read_bytes()
    assert said is not None
    assert (said["name"], said["min_score"], said["nms_oks"]) == ("yolox.onnx", 0.3, 0.9)
    assert json.loads(json.dumps(said)) == said
    with pytest.raises(FileNotFoundError, match="no detector best"):
        _detector(Answering(detector="best"), gpu=False)
    file.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"yolox\.onnx can't be read"):
        _detector(Answering(detector=str(file)), gpu=False)
