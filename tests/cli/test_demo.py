import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from hourglass.cli.demo import demo
from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights

app = typer.Typer()
app.command()(demo)


def test_the_demo_writes_pictures_and_joints_and_says_where(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=2, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_weights(tmp_path / "tiny.safetensors", build_network(recipe, LSP14).state_dict(), facts)
    out = tmp_path / "demo"
    words = ["--out", str(out), "--weights", str(tmp_path / "tiny.safetensors"), "--people", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert names == {
        "photo.png",
        "photo_heatmaps.png",
        "people.png",
        "people_heatmaps.png",
        "joints.json",
    }
    for name in names:
        assert str(out / name) in done.stdout
    with Image.open(out / "photo.png") as photo:
        assert photo.size == (512, 600)
    joints = json.loads((out / "joints.json").read_text())
    assert joints["weights"] == "tiny"
    assert set(joints["photo"]["joints"]) == set(LSP14.joints)
    assert len(joints["rendered"]) == 2
    assert all(np.isfinite(person["median_error_px"]) for person in joints["rendered"])


def test_the_demo_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    done = CliRunner().invoke(app, ["--out", str(tmp_path / "taken")])
    assert isinstance(done.exception, OSError)
    with pytest.raises(OSError, match="cannot write into"):
        raise done.exception
