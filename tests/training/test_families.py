"""Networks that are trained unlike a stack of hourglasses: in stages, or fed with truth for a while."""

from pathlib import Path

import pytest
import torch

from hourglass.models.deeppose import DeepPose
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training.logs import read_rows
from hourglass.training.loop import BEST, CHECKPOINT, LAST, Interrupted, train
from hourglass.weights.checkpoint import load_checkpoint, load_weights
from hourglass.weights.load import load_network

COMMON = [
    "network.stacks=2",
    "network.features=256",
    "network.depth=4",
    "data.people=16",
    "data.val_people=4",
    "data.input_px=64",
    "target.peak_weight=0",
    "schedule.warmup.steps=2",
    "train.batch_size=4",
    "train.validate_every.steps=6",
    "train.checkpoint_every.steps=100",
    "train.log_every=2",
    "train.length.steps=12",
    "train.precision=fp32",
]
DEEPPOSE = [
    *COMMON,
    *("network.build=deeppose", "network.width=2", "network.view_px=32", "network.dropout=0.1"),
    "target.loss=coordinates",
]
CHAINED = [
    *COMMON,
    *("network.build=chained", "network.width=2", "network.hidden=4"),
    *("target.loss=cross_entropy", "target.truth_share=0.6"),
]


def recipe(keys: list[str]) -> Recipe:
    return load_recipe(bundled_recipes()["synthetic_tiny"], keys)


def assert_same(a: object, b: object) -> None:
    if isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cascade")
    train(recipe(DEEPPOSE), out, "cascade")
    return out


def test_a_cascade_trains_one_stage_after_another(cascade: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(DEEPPOSE), tmp_path / "half", "cascade", stop_after=6)
    half = load_checkpoint(tmp_path / "half" / CHECKPOINT)["network"]
    whole = load_checkpoint(cascade / CHECKPOINT)["network"]
    averaged = load_checkpoint(tmp_path / "half" / CHECKPOINT)["ema"]
    first = [key for key in whole if key.startswith("stages.0.") and "num_batches" not in key]
    second = [key for key in whole if key.startswith("stages.1.") and key.endswith("weight")]
    assert first
    assert second
    # While the second stage learns the first one is as its average was, and nothing else moved it.
    assert all(torch.allclose(whole[key], averaged[key], atol=1e-6) for key in first)
    assert any(not torch.equal(whole[key], half[key]) for key in second)
    assert half["active"].item() == 1
    assert whole["active"].item() == 2
    assert half["displacement_mean"].abs().sum() == 0
    assert whole["displacement_mean"][1].abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 6, 9], ids=["in stage 1", "between", "in stage 2"])
def test_a_resumed_cascade_equals_one_run_bit_for_bit(cascade: Path, tmp_path: Path, stop: int) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(recipe(DEEPPOSE), out, "cascade", stop_after=stop)
    train(recipe(DEEPPOSE), out, "cascade", resume=True)
    for part in ("network", "ema"):
        assert_same(load_checkpoint(out / CHECKPOINT)[part], load_checkpoint(cascade / CHECKPOINT)[part])


def test_a_cascade_restarts_its_learning_rate_with_each_stage(cascade: Path) -> None:
    rates = {r["step"]: r["lr"] for r in read_rows(cascade / "log.jsonl") if r["kind"] == "train"}
    assert rates[6] < rates[4]  # the end of the first stage
    assert rates[8] > rates[6]  # the second begins


def test_loaded_cascades_run_as_many_stages_as_were_trained(cascade: Path, tmp_path: Path) -> None:
    network, facts = load_network(cascade / LAST)
    assert isinstance(network, DeepPose)
    assert network.active_stages == 2
    assert len(network(torch.zeros(1, 3, facts.input_px, facts.input_px))) == 2
    with pytest.raises(Interrupted):
        train(recipe(DEEPPOSE), tmp_path / "half", "cascade", stop_after=6)
    young, _ = load_network(tmp_path / "half" / BEST)
    assert len(young(torch.zeros(1, 3, 64, 64))) == 1


@pytest.mark.slow
def test_a_resumed_chain_equals_one_run_bit_for_bit(tmp_path: Path) -> None:
    train(recipe(CHAINED), tmp_path / "whole", "chain")
    with pytest.raises(Interrupted):
        train(recipe(CHAINED), tmp_path / "run", "chain", stop_after=5)
    train(recipe(CHAINED), tmp_path / "run", "chain", resume=True)
    runs = [load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "run")]
    assert_same(runs[0]["network"], runs[1]["network"])
    train(recipe([*CHAINED, "target.truth_share=0"]), tmp_path / "own", "chain")
    own = load_checkpoint(tmp_path / "own" / CHECKPOINT)["network"]
    assert any(not torch.equal(own[key], runs[0]["network"][key]) for key in own)


def test_validation_says_how_each_joint_fares(cascade: Path) -> None:
    (first, last) = [r for r in read_rows(cascade / "log.jsonl") if r["kind"] == "val"]
    _, facts = load_weights(cascade / LAST)
    assert set(first["joints"]) == set(last["joints"]) == set(facts.skeleton.joints)
    known = [v for v in last["joints"].values() if v is not None]
    assert last["PCK@0.2"] == pytest.approx(sum(known) / len(known), abs=1e-2)
