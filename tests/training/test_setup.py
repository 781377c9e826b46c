"""What a run finds out about its machine before it begins."""

import logging
from pathlib import Path

import pytest
import torch

from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import setup
from hourglass.training.loop import BEST, CHECKPOINT, Interrupted, train
from hourglass.training.setup import launch, precision_of
from hourglass.weights.checkpoint import load_checkpoint

TINY = [
    "network.features=8",
    "network.depth=2",
    "data.input_px=32",
    "data.people=8",
    "data.val_people=2",
    "train.batch_size=4",
    "train.length.steps=4",
    "train.validate_every.steps=4",
]


def tiny(*more: str) -> Recipe:
    return load_recipe(bundled_recipes()["synthetic_tiny"], [*TINY, *more])


@pytest.mark.parametrize(
    ("asked", "there", "used"),
    [
        ("bf16", True, torch.bfloat16),
        ("bf16", False, torch.float32),
        ("fp32", True, torch.float32),
        ("fp32", False, torch.float32),
    ],
)
def test_bf16_is_used_where_it_is_asked_for_and_there(
    asked: str, there: bool, used: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "computes_bf16", lambda device: there)
    assert precision_of(tiny(f"train.precision={asked}"), torch.device("cpu")) == used


def test_without_bf16_a_run_is_the_fp32_run_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setup, "computes_bf16", lambda device: False)
    with caplog.at_level(logging.WARNING):
        train(tiny("train.precision=bf16"), tmp_path / "bf16", "t")
    assert [r.getMessage() for r in caplog.records if "bf16" in r.getMessage()] == [
        "train.precision: cpu does not compute in bf16, so this run is fp32"
    ]
    caplog.clear()
    train(tiny("train.precision=fp32"), tmp_path / "fp32", "t")
    assert not [r for r in caplog.records if "bf16" in r.getMessage()]
    a, b = (load_checkpoint(tmp_path / name / CHECKPOINT)["network"] for name in ("bf16", "fp32"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (tmp_path / "bf16" / BEST).exists()


def test_devices_that_are_not_there_are_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RecipeError, match="--accelerator cuda --devices 2 can't be used here"):
        launch(tiny(), "cuda", "2")


def test_work_may_be_moved_when_a_run_goes_on_but_not_its_result(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path, "t", stop_after=2)
    moved = ["train.accumulate=2", "train.checkpoint_hourglasses=true", "train.augment_on=device"]
    train(tiny(*moved), tmp_path, "t", resume=True)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 4
    with pytest.raises(ValueError, match=r"train\.sync_batch_norm=False, the recipe now says True"):
        train(tiny("train.sync_batch_norm=true"), tmp_path, "t", resume=True)
