"""`hourglass convert` as a user runs it, and what its files are good for afterwards."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from hourglass.cli.convert import convert
from hourglass.core.skeleton import MPII16
from hourglass.weights.checkpoint import load_weights
from hourglass.weights.load import load_network

app = typer.Typer()
app.command()(convert)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, (ValueError, OSError)), result.output
    return str(result.exception)


@pytest.fixture
def checkpoint(others: SimpleNamespace, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    state = others.princeton(others.Writer(), stacks=1, depth=2, f=8)
    torch.save({"state_dict": {f"model.module.{key}": value for key, value in state.items()}}, path)
    return path


def test_a_conversion_says_what_it_made(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    result = run(
        checkpoint, "--from", "princeton", out, "--input-px", 64, "--name", "mine", "--licence", "MIT"
    )
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "1 stack of 8 features from princeton, 16 joints (mpii16), 64 px" in text
    assert "left out: 18 tensors" in text
    assert "taken to be" not in text
    assert "terms of the weights" not in text
    facts = load_weights(out)[1]
    assert (facts.name, facts.licence, facts.input_px) == ("mine", "MIT", 64)


def test_an_assumption_is_told_and_auto_is_the_default(others: SimpleNamespace, tmp_path: Path) -> None:
    torch.save(others.bearpaw(others.Writer(), stacks=1, depth=1, f=8), tmp_path / "hg.pth")
    told = run(tmp_path / "hg.pth", tmp_path / "a.safetensors")
    assert "taken to be trained on mpii; --data says otherwise" in told.stdout
    assert (
        "terms of the weights: not stated (--licence); code of bearpaw/pytorch-pose: GPL-3.0" in told.stdout
    )
    told = run(tmp_path / "hg.pth", tmp_path / "b.safetensors", "--data", "lsp", "--half")
    assert "taken to be" not in told.stdout
    assert (tmp_path / "b.safetensors").stat().st_size < 0.9 * (tmp_path / "a.safetensors").stat().st_size
    assert (
        load_weights(tmp_path / "a.safetensors")[1].mean != load_weights(tmp_path / "b.safetensors")[1].mean
    )


def test_json_tells_what_was_made(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    told = run(checkpoint, out, "--licence", "MIT", "--json", "-")
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert (report["out"], report["from"], report["licence"]) == (str(out), "princeton", "MIT")
    assert (report["data_set"], report["data_assumed"], report["left_out"]) == ("mpii", False, 18)
    assert (report["network"]["stacks"], report["network"]["depth"]) == (1, 2)
    assert (report["skeleton"], report["joints"]) == ("mpii16", list(MPII16.joints))
    assert (report["input_px"], report["sigma_hm"], report["offset_hm"]) == (256, 1, 0)
    told = run(out, "--to", "state-dict", tmp_path / "sd.pth", "--json", tmp_path / "told.json")
    assert "state dict of" in told.stdout
    report = json.loads((tmp_path / "told.json").read_text())
    assert (report["out"], report["to"]) == (str(tmp_path / "sd.pth"), "state-dict")
    assert report["skeleton"] == "mpii16"
    told = run(out, "--to", "folder", tmp_path / "folder", "--json", "-")
    assert json.loads(told.stdout)["to"] == "folder"


def test_json_has_a_place_before_anything_is_made(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    assert "is a folder, not a file" in refused(checkpoint, out, "--json", tmp_path)
    assert not out.exists()


def test_ours_becomes_a_state_dict_and_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    ours = tmp_path / "weights" / "ours.safetensors"
    run(checkpoint, ours)
    told = run(ours, "--to", "state-dict", tmp_path / "sd.pth")
    assert told.exit_code == 0, told.output
    assert "state dict of checkpoint, eccv with 16 joints" in " ".join(told.stdout.split())
    state = torch.load(tmp_path / "sd.pth", weights_only=True)
    network = load_network(ours)[0]
    assert state.keys() == network.state_dict().keys()
    told = run(ours, "--to", "folder", tmp_path / "folder")
    assert told.exit_code == 0, told.output
    assert (tmp_path / "folder" / "README.md").is_file()
    assert load_network(tmp_path / "folder")[1] == load_network(ours)[1]


def test_the_hub_is_asked_only_when_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    class Hub:
        def create_repo(self, repository: str, private: bool, exist_ok: bool) -> None:
            asked.append((repository, private))

        def upload_folder(self, **options: object) -> str:
            return "https://hub/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    run(checkpoint, tmp_path / "ours.safetensors")
    run(tmp_path / "ours.safetensors", "--to", "folder", tmp_path / "folder")
    assert asked == []
    told = run(tmp_path / "ours.safetensors", "--to", "hub", "me/pose", "--private")
    assert told.stdout.strip() == "https://hub/commit"
    assert asked == [("me/pose", True)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "darknet"), "--from 'darknet' is not one of"),
        (("--to", "onnx"), "--to 'onnx' is not one of state-dict, folder, hub"),
        (("--to", "folder", "--from", "mmpose"), "--from describes another project's checkpoint"),
        (("--to", "folder", "--half"), "--half describes"),
        (("--to", "folder", "--input-px", "0"), "--input-px describes"),
        (("--to", "folder", "--private"), "--private goes with --to hub"),
        (("--private",), "--private goes with --to hub"),
        (("--data", "coco"), "--data 'coco' is no data set of princeton; known are mpii (16 joints)"),
    ],
)
def test_options_that_do_not_fit_are_named(
    checkpoint: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    assert words in refused(checkpoint, tmp_path / "ours.safetensors", *options)
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_dangerous_file_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    class Reduced:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    torch.save({"state_dict": {}, "extra": Reduced()}, tmp_path / "x.pth")
    command = [
        sys.executable,
        "-m",
        "hourglass",
        "convert",
        str(tmp_path / "x.pth"),
        str(tmp_path / "o.safetensors"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "is refused: besides tensors it holds" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
