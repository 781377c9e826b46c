"""Training that reads its people shard by shard: the recipe's words, resuming, and what is refused."""

from pathlib import Path

import pytest
import torch

from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import find_recipe as find
from hourglass.recipe.recipe import load_recipe
from hourglass.training.loop import CHECKPOINT, Interrupted, train
from shard_cases import sharded

SMALL = [
    *("network.features=8", "network.depth=2", "data.input_px=64", "data.name=pack", "data.stream=true"),
    *(
        "data.people=0",
        "data.buffer=16",
        "data.workers=1",
        "train.batch_size=8",
        "train.precision=fp32",
        "train.init=",
    ),
    *("train.length.steps=8", "train.validate_every.steps=8", "train.checkpoint_every.steps=3"),
    "train.log_every=1",
]


def run(shards: Path, out: Path, resume: bool = False, stop_after: int | None = None, *more: str) -> Path:
    recipe = load_recipe(find("synthetic_tiny"), [*SMALL, f"data.root={shards}", *more])
    return train(recipe, out, "streamed", resume, "cpu", "1", stop_after, watch=lambda row: None)


def test_streamed_training_resumes_to_the_bit(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    sharded(shards)
    run(shards, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(shards, tmp_path / "cut", stop_after=5)
    run(shards, tmp_path / "cut", resume=True)
    whole, cut = (
        torch.load(tmp_path / name / CHECKPOINT, weights_only=True)["network"] for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_more_people_in_a_batch_than_in_the_shards(tmp_path: Path) -> None:
    sharded(tmp_path / "shards", train=6, val=4)
    with pytest.raises(ValueError, match="has 6 'train' people, fewer than one batch of 8"):
        run(tmp_path / "shards", tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("data.name=synthetic", r"data\.stream.*is for data\.name=pack, not for synthetic"),
        ("data.people=4", r"data\.people.*must be 0 with data\.stream"),
        ("data.buffer=0", r"data\.buffer.*must be at least 1, not 0"),
    ],
)
def test_words_that_do_not_go_with_streaming(changed: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        run(tmp_path, tmp_path / "out", False, None, changed)
