import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from hourglass.cli.calibrate import calibrate
from hourglass.core.skeleton import LSP14
from hourglass.evaluation.evaluate import load_predictions, save_predictions
from hourglass.inference.predictor import Predictor
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import load_weights, save_weights
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import network_from_facts

app = typer.Typer()
app.command()(calibrate)

FACTS = WeightFacts(
    name="tiny",
    network=NetworkRecipe(stacks=1, features=8, depth=2),
    skeleton=LSP14,
    input_px=32,
    mean=(0.4, 0.4, 0.4),
    std=(0.2, 0.2, 0.2),
)
MADE = ("--data", "synthetic", "--people", 12)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    save_weights(path, network_from_facts(FACTS).state_dict(), FACTS)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1  # of the runner; main() makes it 2 and a sentence
    assert isinstance(result.exception, ValueError | OSError)
    return str(result.exception)


def test_weights_come_back_with_a_calibration_and_the_same_tensors(weights: Path, tmp_path: Path) -> None:
    out, figure, file = tmp_path / "deep" / "new.safetensors", tmp_path / "d.svg", tmp_path / "r.json"
    result = run(weights, *MADE, "--out", out, "--diagram", figure, "--json", file)
    assert result.exit_code == 0, result.output
    assert "head top" in result.stdout
    assert str(out) in result.stdout
    report: dict[str, Any] = json.loads(file.read_text())
    facts = load_weights(out)[1]
    assert facts.calibration is not None
    assert replace(facts, calibration=None) == FACTS
    assert facts.calibration.data == "synthetic val"
    assert list(facts.calibration.temperatures) == [row["temperature"] for row in report["joints"].values()]
    before, after = load_file(weights), load_file(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "<svg" in figure.read_text()[:400]

    predictor = Predictor.from_pretrained(out, device="cpu")
    (pose,) = predictor(torch.zeros(40, 40, 3, dtype=torch.uint8).numpy())
    assert pose.confidences is not None
    (bare,) = Predictor.from_pretrained(weights, device="cpu")(np.zeros((40, 40, 3), np.uint8))
    assert bare.confidences is None


def test_json_alone_goes_to_standard_output_and_nothing_is_written(weights: Path) -> None:
    before = weights.read_bytes()
    result = run(weights, *MADE, "--folds", 3, "--json", "-")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["weights"], told["folds"], told["out"], told["split"]) == ("tiny", 3, None, "val")
    assert set(told["kinds"]) == {"score", "temperature", "temperature_and_offset"}
    assert set(told["joints"]) == set(LSP14.joints)
    assert weights.read_bytes() == before


def test_predictions_from_a_file_give_the_same(weights: Path, tmp_path: Path) -> None:
    from hourglass.data.loading.records import load_records
    from hourglass.evaluation.evaluate import predict_records
    from hourglass.recipe.data import DataRecipe
    from hourglass.weights.load import load_network

    network, facts = load_network(weights)
    records = load_records(DataRecipe(name="synthetic", skeleton="lsp14", people=12), "val")
    found = predict_records(network, facts, records)
    save_predictions(tmp_path / "p.json", found)
    assert load_predictions(tmp_path / "p.json").weights == "tiny"
    first = json.loads(run(weights, *MADE, "--json", "-").stdout)
    again = json.loads(run(weights, *MADE, "--predictions", tmp_path / "p.json", "--json", "-").stdout)
    assert again == first

    save_predictions(tmp_path / "q.json", replace(found, weights="others"))
    assert "q.json was predicted by others, not tiny" in refused(
        weights, *MADE, "--predictions", tmp_path / "q.json"
    )


def test_all_sets_of_a_recipe_are_taken_together(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "sets.yaml"
    source = "{{name: synthetic, label: {0}, train_split: {0}, val_split: {0}, share: 0.5}}"
    one, other = source.format("val"), source.format("test")
    file.write_text(f"data: {{skeleton: lsp14, people: 4, sources: [{one}, {other}]}}")
    result = run(weights, "--recipe", file, "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["people"] == 8
    assert report["data"] == "val val, test test"
    assert report["split"] == "val"
    plain = tmp_path / "one.yaml"
    plain.write_text("data: {name: synthetic}")
    assert "has no data.sources" in refused(weights, "--recipe", plain)
    assert "--predictions are of one set" in refused(weights, "--recipe", file, "--predictions", plain)


def test_mistakes_are_told_before_the_network_runs(weights: Path, tmp_path: Path) -> None:
    assert "--out w.pth must end in .safetensors" in refused(weights, *MADE, "--out", "w.pth")
    assert "--diagram d.gif must end in .png" in refused(weights, *MADE, "--diagram", "d.gif")
    assert f"--json {tmp_path} is a folder" in refused(weights, *MADE, "--json", tmp_path)
    exported = tmp_path / "w.onnx"
    exported.write_bytes(b"")
    assert "was exported and can't be given a calibration" in refused(exported, *MADE)
    assert "data.root (--root) is missing" in refused(weights, "--data", "lspet")
    assert "there are no weights 'hg9'" in refused("hg9", *MADE)


def test_weights_without_heatmaps_are_refused(tmp_path: Path) -> None:
    network = NetworkRecipe(build="deeppose", stacks=1, backbone="resnet34", width=8, view_px=64)
    facts = replace(FACTS, network=network, input_px=64)
    save_weights(tmp_path / "w.safetensors", network_from_facts(facts).state_dict(), facts)
    assert "tiny answers with coordinates" in refused(tmp_path / "w.safetensors", *MADE)
    (pose,) = Predictor.from_pretrained(tmp_path / "w.safetensors", device="cpu")(
        torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()
    )
    assert (pose.confidences, pose.covariances) == (None, None)
