import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import typer
from scipy.io import savemat
from typer.testing import CliRunner, Result

from hourglass.cli.evaluate import evaluate
from hourglass.core.skeleton import LSP14, MPII16, Skeleton
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import save_weights
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import network_from_facts

app = typer.Typer()
app.command()(evaluate)


def tiny_weights(path: Path, skeleton: Skeleton) -> Path:
    facts = WeightFacts(
        name=f"tiny_{skeleton.name}",
        network=NetworkRecipe(stacks=1, features=8, depth=2),
        skeleton=skeleton,
        input_px=32,
        mean=(0.4, 0.4, 0.4),
        std=(0.2, 0.2, 0.2),
    )
    torch.manual_seed(0)
    save_weights(path, network_from_facts(facts).state_dict(), facts)
    return path


def tiny_lspet(root: Path, people: int = 5) -> Path:
    rng = np.random.default_rng(0)
    joints = np.ones((14, 3, 8000 + people))
    joints[:, :2] = rng.uniform(5, 90, (14, 2, 8000 + people))
    savemat(root / "joints.mat", {"joints": joints})
    (root / "images").mkdir()
    for number in range(8001, 8001 + people):
        picture = rng.integers(0, 256, (96, 100, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"im{number:05d}.jpg"), picture)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", LSP14))


@pytest.fixture(scope="module")
def lspet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_lspet(tmp_path_factory.mktemp("lspet")))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})


def report(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def refused(*arguments: object) -> str:
    """The message of the ValueError or OSError that the command line turns into one sentence."""
    result = run(*arguments)
    assert isinstance(result.exception, (ValueError, OSError)), result.output
    return str(result.exception)


def test_json_on_standard_output_is_alone_there_and_complete(
    weights: str, lspet: str, tmp_path: Path
) -> None:
    told = report(weights, "--root", lspet, "--out", tmp_path, "--threshold", 0.2, "--threshold", 0.5)
    assert set(told["metrics"]) == {"PCK@0.2", "PCK@0.5"}
    assert set(told["metrics"]["PCK@0.2"]) == {"mean", "pooled", *LSP14.joints}
    assert 0 <= told["metrics"]["PCK@0.2"]["mean"] <= told["metrics"]["PCK@0.5"]["mean"] <= 100
    assert told["people"] == told["people_counted"] == 5
    assert told["joints"] == dict.fromkeys(LSP14.joints, 5)
    expected = {
        "weights": "tiny_lsp14",
        "skeleton": "lsp14",
        "data": "lspet",
        "root": lspet,
        "split": "val",
        "flip_test": True,
        "precision": "fp32",
        "input_px": 32,
        "decoding": "dark",
        "batch_size": 32,
        "predictions": str(tmp_path / "predictions.json"),
        "extremes": str(tmp_path / "extremes.png"),
    }
    assert {key: told[key] for key in expected} == expected
    assert told["seconds"] > 0
    assert told["people_per_s"] > 0


def test_the_table_shows_what_the_json_file_holds(weights: str, lspet: str, tmp_path: Path) -> None:
    result = run(
        weights, "--root", lspet, "--out", tmp_path / "out", "--json", tmp_path / "deep" / "score.json"
    )
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "deep" / "score.json").read_text())
    lines = {" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()}
    scores = told["metrics"]["PCK@0.2"]
    assert f"left knee 5 {scores['left_knee']:.1f}" in lines
    assert f"mean of joints 70 {scores['mean']:.1f}" in lines
    assert "5 people" in lines
    assert "tiny_lsp14 on lspet val" in result.stdout
    assert (tmp_path / "out" / "extremes.png").read_bytes().startswith(b"\x89PNG")


def test_scoring_the_predictions_again_needs_no_weights_and_gives_the_same(
    weights: str, lspet: str, tmp_path: Path
) -> None:
    first = report(weights, "--root", lspet, "--out", tmp_path)
    file = first["predictions"]
    before = Path(file).read_bytes()
    again = report("--predictions", file, "--root", lspet, "--out", tmp_path / "again")
    for key in ("metrics", "people", "people_counted", "joints", "weights", "skeleton", "data", "split"):
        assert again[key] == first[key]
    assert Path(file).read_bytes() == before
    sheets = [Path(told["extremes"]).read_bytes() for told in (first, again)]
    assert sheets[0] == sheets[1]
    assert run("--predictions", file, "--root", lspet, "--out", tmp_path / "again").exit_code == 0


def test_only_the_first_people(weights: str, lspet: str, tmp_path: Path) -> None:
    told = report(weights, "--root", lspet, "--out", tmp_path, "--people", 2, "--no-flip-test")
    assert told["people"] == 2
    assert told["flip_test"] is False


def test_each_option_of_the_network_changes_the_answer(weights: str, lspet: str, tmp_path: Path) -> None:
    def answer(*options: str) -> Any:
        report(weights, "--root", lspet, "--out", tmp_path, *options)
        return json.loads((tmp_path / "predictions.json").read_text())["people"]

    plain = answer()
    assert answer() == plain
    assert answer("--no-flip-test") != plain
    assert answer("--precision", "bf16") != plain
    # Another batch size sums in another order at most.
    for one, other in zip(answer("--batch-size", "2", "--device", "cpu"), plain, strict=True):
        assert np.allclose(one["keypoints"], other["keypoints"], atol=0.5)


def two_stacks(path: Path) -> str:
    facts = WeightFacts(
        name="two",
        network=NetworkRecipe(stacks=2, features=8, depth=2),
        skeleton=LSP14,
        input_px=32,
        mean=(0.4, 0.4, 0.4),
        std=(0.2, 0.2, 0.2),
    )
    torch.manual_seed(1)
    save_weights(path, network_from_facts(facts).state_dict(), facts)
    return str(path)


def test_every_stage_is_scored_and_drawn(lspet: str, tmp_path: Path) -> None:
    weights, figure = two_stacks(tmp_path / "two.safetensors"), tmp_path / "deep" / "f.svg"
    good = (weights, "--root", lspet, "--out", tmp_path)
    told = report(*good, "--each-stage", "--figure", figure)
    first, last = told["stages"]
    groups = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean"]
    assert list(first) == list(last) == groups
    scores = told["metrics"]["PCK@0.2"]
    assert last["mean"] == scores["mean"]
    assert last["knee"] == pytest.approx((scores["left_knee"] + scores["right_knee"]) / 2, abs=1e-3)
    assert first != last
    text = figure.read_text()
    assert all(word in text for word in ("stage 1", "stage 2", "wrist", "distance / torso"))
    assert "stages" not in report(*good)
    result = run(*good, "--each-stage")
    assert "PCK@0.2 stage by stage: two on lspet val" in result.stdout


def test_the_last_stage_of_a_file_of_predictions_is_drawn_too(
    weights: str, lspet: str, tmp_path: Path
) -> None:
    file = report(weights, "--root", lspet, "--out", tmp_path)["predictions"]
    place = tmp_path / "f.png"
    told = report("--predictions", file, "--root", lspet, "--out", tmp_path, "--figure", place)
    assert told["figure"] == str(place)
    assert cv2.imread(str(place)) is not None


def test_synthetic_people_need_no_data(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path / "w.safetensors", MPII16)
    told = report(weights, "--data", "synthetic", "--people", 2, "--out", tmp_path)
    assert (told["people"], told["skeleton"]) == (2, "mpii16")


def test_weights_of_another_skeleton_are_refused(lspet: str, tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path / "w.safetensors", Skeleton("mouse", ("snout", "tail")))
    message = refused(weights, "--root", lspet, "--out", tmp_path)
    assert "the skeletons lsp14 and mouse have 0 joints in common" in message


def test_what_cannot_be_done_is_refused_by_name(weights: str, lspet: str, tmp_path: Path) -> None:
    good = (weights, "--root", lspet, "--out", tmp_path / "out")
    (tmp_path / "file").write_text("")
    assert "not both" in refused(*good, "--predictions", tmp_path / "file")
    assert "--precision 'fp8'" in refused(*good, "--precision", "fp8")
    assert "the device must be auto, cpu, cuda or cuda:N, got 'abacus'" in refused(
        *good, "--device", "abacus"
    )
    assert "data.name: 'imagenet'" in refused(*good, "--data", "imagenet")
    assert "no weights 'hg99'" in refused("hg99", *good[1:])
    assert "must be positive" in refused(*good, "--threshold", 0)
    assert "file" in refused(weights, "--root", lspet, "--out", tmp_path / "file")
    assert "is a folder" in refused(*good, "--json", tmp_path)
    assert "--figure" in refused(*good, "--figure", tmp_path)
    stages = "--each-stage"
    assert "runs the whole network" in refused(*good, stages, "--stacks", 1)
    assert "holds its last answer alone" in refused("--predictions", tmp_path / "file", stages)
    boxes = ("--boxes", tmp_path / "file", "--data", "coco", "--annotations", tmp_path / "file")
    assert "is about PCK" in refused(*good, stages, *boxes)
    assert "file" in refused("--predictions", tmp_path / "file", "--root", lspet, "--out", tmp_path / "out")
    assert "gone" in refused("--predictions", tmp_path / "gone", "--root", lspet, "--out", tmp_path / "out")
    assert "gone" in refused(weights, "--root", tmp_path / "gone", "--out", tmp_path / "out")
    assert "split 'dusk'" in refused(*good, "--split", "dusk")


def test_cuda_that_is_not_there_is_refused(weights: str, lspet: str, tmp_path: Path) -> None:
    device = f"cuda:{torch.cuda.device_count()}"
    assert repr(device) in refused(weights, "--root", lspet, "--out", tmp_path, "--device", device)


def test_help_shows_an_example_and_does_not_wait_for_torch() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "hourglass evaluate --data synthetic --people 64" in " ".join(result.stdout.split())
    code = "import sys, hourglass.cli.evaluate; sys.exit('torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)}
    )
