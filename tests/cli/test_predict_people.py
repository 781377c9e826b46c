"""Many people in one picture: from a detector's ONNX file, from its boxes in JSON and CSV, and in a video."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from hourglass.cli.predict import predict
from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights
from inference.detection.yolox_files import finished_file
from inference.video.clips import dotted, needs_av, triangle, write_clip

app = typer.Typer()
app.command()(predict)

DETS = [(8, 6, 40, 56, 0.9), (8, 6, 40, 56, 0.8), (40, 6, 72, 56, 0.5), (30, 10, 50, 30, 0.2)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=2, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_weights(path, build_network(recipe, LSP14).state_dict(), facts)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "team.png")
    return tmp_path / "team.png"


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return finished_file(tmp_path / "yolox.onnx", DETS, [0, 0, 0, 0], 80)


def run(photo: Path, weights: Path, *words: str | Path | float) -> Result:
    fixed = ("--weights", weights, "--precision", "fp32", "--no-overlay", "--json", "-")
    return CliRunner().invoke(app, [str(word) for word in (photo, *fixed, *words)])


def people(done: Result) -> list[Any]:
    assert done.exit_code == 0, done.output
    found: list[Any] = json.loads(done.stdout)["images"][0]["people"]
    return found


def test_a_detector_finds_everybody_once(weights: Path, photo: Path, detector: Path) -> None:
    found = people(run(photo, weights, "--detector", detector))
    assert [person["box_score"] for person in found] == [0.9, 0.5]
    assert [person["box"] for person in found] == [[-7.25, -0.25, 62.5, 62.5], [24.75, -0.25, 62.5, 62.5]]
    assert "box_score" not in people(run(photo, weights))[0]
    all_of_them = people(run(photo, weights, "--detector", detector, "--nms", 1))
    assert [person["box_score"] for person in all_of_them] == [0.9, 0.8, 0.5]
    sure = people(run(photo, weights, "--detector", detector, "--min-score", 0.85))
    assert [person["box_score"] for person in sure] == [0.9]
    with_all = people(run(photo, weights, "--detector", detector, "--min-score", 0, "--nms", 1))
    assert len(with_all) == 4


def test_a_detector_that_finds_nobody_gives_a_picture_without_people(
    weights: Path, photo: Path, tmp_path: Path
) -> None:
    assert people(run(photo, weights, "--detector", finished_file(tmp_path / "n.onnx", [], [], 80))) == []


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_detectors_file_is_the_same_as_the_detector(
    weights: Path, photo: Path, detector: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"boxes.{kind}"
    boxes = [((x, y, right - x, low - y), score) for x, y, right, low, score in DETS]
    if kind == "json":
        rows = [{"file_name": "team.png", "bbox": box, "score": score} for box, score in boxes]
        path.write_text(json.dumps(rows))
    else:
        lines = [",".join(str(v) for v in ("team.png", *box, score)) for box, score in boxes]
        path.write_text("\n".join(["file,x,y,w,h,score", *lines]))
    words = ("--boxes", path, "--min-score", 0.3)
    assert people(run(photo, weights, *words)) == people(run(photo, weights, "--detector", detector))
    assert len(people(run(photo, weights, *words, "--nms", 1))) == 3
    assert people(run(photo, weights, "--boxes", path, "--min-score", 0.95)) == []


def test_boxes_on_the_command_line_stay_unless_asked(weights: Path, photo: Path) -> None:
    words = ("--box", "8,6,32,50", "--box", "8,6,32,50")
    assert len(people(run(photo, weights, *words))) == 2
    assert len(people(run(photo, weights, *words, "--nms", 0.9))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--detector", "yolov9"), "no detector yolov9: give weights of a people finder, an ONNX"),
        (("--detector", "x", "--box", "1,2,3,4"), "--box and --detector each say where the people are"),
        (("--boxes", "x.json", "--box", "1,2,3,4"), "--box and --boxes each say"),
        (("--min-score", "0.5", "--box", "1,2,3,4"), "--min-score is about the boxes of a detector"),
        (("--min-score", "0.5", "--detector", "none"), "--min-score is about the boxes of a detector"),
        (("--min-score", "1.5"), "--min-score 1.5 must lie between 0 and 1"),
        (("--detector", "yolox-s", "--min-score", "2"), "--min-score 2 must lie between 0 and 1"),
        (("--nms", "0.5", "--detector", "none"), "--nms is about several people in a picture"),
        (("--detector", "yolox-s", "--nms", "1.5"), "--nms 1.5 must lie between 0 and 1"),
        (("--detector", "yolox-s", "--detect-every", "9"), "--detect-every: only for a video"),
    ],
)
def test_options_that_cannot_be_met_are_one_sentence(
    weights: Path, photo: Path, words: tuple[str, ...], message: str
) -> None:
    failed = run(photo, weights, *words)
    assert isinstance(failed.exception, ValueError | OSError)
    assert message in str(failed.exception)


@needs_av
def test_a_video_with_a_detector_follows_everybody(weights: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "walk.mp4", [dotted([triangle(30 + i, 48)]) for i in range(6)])
    dets = [(10, 20, 50, 70, 0.9), (70, 20, 110, 70, 0.8)]
    detector = finished_file(tmp_path / "yolox.onnx", dets, [0, 0], 128)
    done = run(clip, weights, "--detector", detector, "--detect-every", 3)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [person["person"] for person in rows[0]["people"]] == [0, 1]
    assert [person["box_score"] for person in rows[0]["people"]] == [0.9, 0.8]
    assert f"detector {detector} None None 3" in rows[0]["run"]
    alone = run(clip, weights, "--detect-every", 3, "--detector", "none")
    assert "--detect-every is about the people whom a detector finds" in str(alone.exception)
