"""`hourglass evaluate-finder`, and `hourglass evaluate --detector`: photos without a given box."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hourglass.cli.main import app
from inference.detection.yolox_files import finished_file

# In photos of 128 px, which the detector takes as they are.
DETS = [(10, 10, 110, 115, 0.9), (60, 10, 126, 60, 0.8)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = ["nose", "left_hip", "right_hip"]
    joints = {"keypoints": [60, 20, 2, 50, 90, 2, 70, 90, 2], "num_keypoints": 3, "area": 5000}
    people: list[dict[str, Any]] = [
        {"id": 1, "image_id": 1, "bbox": [10, 10, 100, 104], **joints},
        {"id": 2, "image_id": 2, "bbox": [40, 5, 88, 60], "iscrowd": 1, **joints},
        {"id": 3, "image_id": 2, "bbox": [4, 4, 20, 20], **joints},
    ]
    for person in people:
        person |= {"category_id": 1, "iscrowd": person.get("iscrowd", 0)}
    images = [{"id": n, "file_name": f"{n}.png", "width": 128, "height": 128} for n in (1, 2)]
    category = {"id": 1, "name": "person", "keypoints": names, "skeleton": [], "sigmas": [0.1, 0.1, 0.1]}
    for image in images:
        Image.new("RGB", (128, 128), "grey").save(tmp_path / str(image["file_name"]))
    content = {"images": images, "annotations": people, "categories": [category]}
    (tmp_path / "people.json").write_text(json.dumps(content))
    finished_file(tmp_path / "yolox.onnx", DETS, [0, 0], 128)
    return tmp_path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_recall_and_false_boxes_of_a_detector(data: Path) -> None:
    """Both photos get both boxes. In the first one is right; in the second the other lies in the crowd."""
    done = run(
        *("evaluate-finder", data / "yolox.onnx", "--root", data, "--annotations", data / "people.json"),
        *("--figure", data / "curve.png", "--json", "-", "--most-false", "1"),
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["photos"] == 2
    assert report["people"] == {"small": 1, "medium": 0, "large": 1, "all": 2}
    assert report["recall"] == {"small": 0.0, "medium": None, "large": 100.0, "all": 50.0}
    at = {row["threshold"]: row for row in report["curve"]}
    # 0.9: one right, one wrong (that of the second photo); 0.8: one more wrong, one in the crowd.
    assert at[0.95]["large"] == 0.0
    assert at[0.85]["large"] == 100.0
    assert at[0.85]["false_per_photo"] == 0.5
    assert at[0.5]["false_per_photo"] == 1.0
    with Image.open(data / "curve.png") as figure:
        assert figure.size[0] > 1000
    table = run(
        *("evaluate-finder", data / "yolox.onnx", "--root", data, "--annotations", data / "people.json"),
        *("--json", data / "report.json"),
    )
    assert "large" in table.output
    assert json.loads((data / "report.json").read_text())["detector"] == str(data / "yolox.onnx")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say where the photos lie"),
        (("--root", "DATA", "--annotations", "DATA/none.json"), "there is no file"),
        (("none", "--root", "DATA", "--annotations", "DATA/people.json"), "none finds nobody"),
        (("best", "--root", "DATA", "--annotations", "DATA/people.json"), "there is no detector best"),
    ],
)
def test_mistakes_are_one_sentence(data: Path, words: tuple[str, ...], message: str) -> None:
    failed = run("evaluate-finder", *(word.replace("DATA", str(data)) for word in words))
    assert isinstance(failed.exception, ValueError | OSError)
    assert message in str(failed.exception)
