"""`hourglass export` from the command line: a file, its table, its JSON, its use, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from hourglass.cli.main import app
from hourglass.core.skeleton import LSP14
from hourglass.export import people, run
from hourglass.export.parity import Tolerance
from hourglass.inference.inputs_outputs import write_picture
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.synthetic.render import render
from hourglass.weights.checkpoint import save_weights
from hourglass.weights.facts import WeightFacts


@pytest.fixture(autouse=True)
def few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "RENDERED", 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=2, features=8, depth=1)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5,) * 3, (0.25,) * 3, licence="CC0-1.0")
    save_weights(path, build_network(recipe, LSP14).state_dict(), facts)
    return path


def export(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *(str(word) for word in words)])


def report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_a_program_is_written_compared_and_used(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = export(
        weights, "--to", "torch-export", "--stacks", "1", "--decode-in-graph", "--json", "made.json"
    )
    assert done.exit_code == 0, done.output
    assert "tiny.pt2: fp32" in done.stdout
    assert "heatmaps, largest relative error" in done.stdout
    assert "decoded in the graph" in done.stdout
    assert "checked on 4 people: rendered people; real photos (--check, --data) tell more" in done.stdout
    assert "converting tiny for torch-export ..." in done.stderr
    made = report(Path("made.json"))
    assert made["files"] == ["tiny.pt2"]
    assert made["bytes"] == Path("tiny.pt2").stat().st_size
    assert (made["passed"], made["rendered"], made["people"], made["stacks"]) == (True, True, 4, "1")
    assert made["heatmaps_max"] < made["tolerance"]["heatmaps"] == 1e-4
    assert made["licence"] == "CC0-1.0"
    write_picture(Path("a.png"), render(1, height=64, width=64).image)
    used = CliRunner().invoke(app, ["predict", "a.png", "--weights", "tiny.pt2", "--json", "-"])
    assert used.exit_code == 0, used.output
    (person,) = json.loads(used.stdout)["images"][0]["people"]
    assert len(person["joints"]) == 14
    words = ("evaluate", "tiny.pt2", "--data", "synthetic", "--people", "4", "--out", "out")
    scored = CliRunner().invoke(app, words)
    assert scored.exit_code == 0, scored.output


def test_photos_are_compared_and_json_alone_is_printed(weights: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", render(1, height=64, width=64).image)
    out = tmp_path / "tiny.pt2"
    done = export(weights, "--to", "torch-export", "--out", out, "--check", tmp_path / "a.png", "--json", "-")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["people"], made["rendered"], made["pck_torch"]) == (1, False, None)
    assert made["checked_on"] == str(tmp_path / "a.png")


def test_beyond_the_tolerance_the_file_is_deleted(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FP32", Tolerance(-1.0, None, None, None, 0.5))
    out = tmp_path / "tiny.pt2"
    words = ("--to", "torch-export", "--out", out, "--json", tmp_path / "made.json")
    done = export(weights, *words)
    assert done.exit_code != 0
    assert isinstance(done.exception, run.ParityError)
    assert "heatmaps differ by" in str(done.exception)
    assert not out.exists()
    made = report(tmp_path / "made.json")
    assert (made["passed"], made["files"]) == (False, [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--to", "tflite"), "--to 'tflite' is not one of onnx, openvino, torch-export, web"),
        (("--to", "onnx", "--out", "a.xml"), r"a\.xml: a file for onnx ends in \.onnx"),
        (("--to", "torch-export", "--int8", "photos"), "torch has no quick int8"),
        (("--check", "a", "--data", "lspet"), "give --check PATH or --data, not both"),
        (("--root", "a"), "--root and --annotations are of --data KIND"),
        (("--runtime", "a"), "--runtime goes with --to web"),
        (("--to", "web", "--out", "a", "--int8", "b"), "--int8 does not go with --to web"),
        (("--to", "web"), "--to web needs a new folder"),
        (("--stacks", "auto"), "--stacks auto needs torch"),
        (("--stacks", "3"), "this network has 2, so give 1 to 2"),
        (("--check", "nowhere"), "there is no file or folder nowhere"),
        (("--json", "."), "--json . is a folder"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    weights: Path, words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=says):
        raise export(weights, *words).exception or AssertionError("it was done")
    assert list(tmp_path.iterdir()) == []


def test_help_teaches() -> None:
    done = CliRunner().invoke(app, ["export", "--help"])
    assert "hourglass export hg2_small_192 --to onnx --half" in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
