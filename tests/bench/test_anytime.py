"""Fewer stacks: what a network loses by them is what its earlier stages answer, scored by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hourglass.bench.anytime import HEAD, TOLERANCES, measure_anytime, numbers
from hourglass.cli.main import app
from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.records import load_records
from hourglass.evaluation.evaluate import predict_records, score
from hourglass.models.anytime import FirstStacks
from hourglass.models.build import build_network
from hourglass.recipe.data import DataRecipe
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights


def saved(folder: Path, stacks: int) -> Path:
    path = folder / f"tiny{stacks}.safetensors"
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=stacks, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_weights(path, build_network(recipe, LSP14).state_dict(), facts, half=False)
    return path


@pytest.fixture(scope="module")
def people() -> list[PersonRecord]:
    return load_records(DataRecipe("synthetic", people=6), "val")[:4]


def test_each_number_of_stacks_scores_as_that_stage_does(
    tmp_path: Path, people: list[PersonRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, 3)
    monkeypatch.setattr("hourglass.bench.anytime.choose_precision", lambda *_: torch.float32)
    seen: list[tuple[int, int]] = []
    rows = measure_anytime(str(path), people, 2, lambda *done: seen.append(done))
    assert [row["stacks"] for row in rows] == ["1", "2", "3", *(f"auto, {t:g}" for t in TOLERANCES)]
    assert seen == [(i, len(rows)) for i in range(len(rows))]

    from hourglass.weights.load import load_network

    network, facts = load_network(path)
    for k in (1, 2, 3):
        predictions = predict_records(FirstStacks(network.eval(), k).eval(), facts, people, flip_test=False)
        own = float(score(predictions, people)["metrics"]["PCK@0.2"]["mean"])
        assert rows[k - 1]["pck"] == pytest.approx(own, abs=1e-6)
        assert rows[k - 1]["mean_stacks"] == k
    assert rows[2]["faster_than_all"] == 1
    for row in rows[3:]:
        assert 2 <= row["mean_stacks"] <= 3
    used = [row["mean_stacks"] for row in rows[3:]]
    assert used == sorted(used, reverse=True), "a wider tolerance can't take more stacks"
    assert all(len(line) == len(HEAD) for line in numbers(rows))
    assert all(np.isfinite(row["ms"]) and row["ms"] > 0 for row in rows)


def test_one_stack_has_nothing_to_leave_out(tmp_path: Path, people: list[PersonRecord]) -> None:
    with pytest.raises(ValueError, match="has one answer"):
        measure_anytime(str(saved(tmp_path, 1)), people, 2)
    with pytest.raises(ValueError, match="nobody"):
        measure_anytime(str(saved(tmp_path, 2)), [], 2)


def test_the_command_writes_json_and_a_figure(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        [
            *("benchmark", "anytime", str(saved(tmp_path, 2)), "--data", "synthetic", "--people", "3"),
            *("--rounds", "2", "--figure", str(tmp_path / "f" / "a.svg"), "--json", "-"),
        ],
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["people"] for row in rows] == [3] * (2 + len(TOLERANCES))
    assert "<svg" in (tmp_path / "f" / "a.svg").read_text()
