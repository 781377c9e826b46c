"""The commands and the code in docs/weights.md, run as they are written."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from hourglass.cli.main import app
from hourglass.inference.inputs_outputs import write_picture
from hourglass.synthetic.render import render
from hourglass.weights.convert.published_sources import SOURCES
from hourglass.weights.load import load_network

GUIDE = Path(__file__).parents[3] / "docs" / "weights.md"


def blocks(language: str = "") -> list[str]:
    """What stands between the fences of one language; every second fence closes."""
    parts = re.split(r"^```(\w*)\n", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [parts[i + 1] for i in range(1, len(parts), 4) if parts[i] == language]


def test_commands_and_code_run_in_their_order(
    others: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = others.bearpaw(others.Writer(), stacks=1, depth=1, f=8)
    torch.save(state, "hg2.pth")
    (tmp_path / "runs").mkdir()
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "a.png", render(1, height=64, width=64).image)
    commands = [shlex.split(line) for block in blocks() for line in block.splitlines()]
    assert all(command[0] == "hourglass" for command in commands)
    ran = []
    for command in commands:
        if "evaluate" in command or "hub" in command or "owner/name" in command:
            continue  # they need MPII, or the hub: see test_end_to_end and test_hub
        if "runs/mine" in command:
            (tmp_path / "runs" / "mine").mkdir()
            (tmp_path / "hg2.safetensors").rename(tmp_path / "runs" / "mine" / "best.safetensors")
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, (command, done.output, done.exception)
        ran.append(command[1])
    assert ran == ["convert", "predict", "convert", "convert"]
    assert load_network("shared")[1].source == "bearpaw/pytorch-pose: hg2.pth"
    predict = ["predict", "photos", "--weights", "shared", "--json", "joints.json"]
    assert CliRunner().invoke(app, predict).exit_code == 0
    assert json.loads(Path("joints.json").read_text())["weights"] == "hg2"

    refuse, load = blocks("python")
    torch.save({"state_dict": state, "extra": Path("x")}, "old.pth.tar")
    for code in (refuse, load):
        exec(compile(code, str(GUIDE), "exec"), {})  # the guide's own code, which is what is tested
    assert torch.load("state_dict.pth", weights_only=True).keys() == state.keys()


def test_every_source_has_its_row() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for name, kind in SOURCES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert kind.project in row
        assert kind.licence in row
