"""Training and scoring from Python: the same as the commands' parts give."""

from pathlib import Path

import numpy as np
import pytest

import hourglass
from hourglass.evaluation.evaluate import predict_records, score
from hourglass.recipe.recipe import Recipe, RecipeError
from hourglass.synthetic.render import load_records
from hourglass.weights.load import load_network

SHORT = [
    "network.features=8",
    "network.depth=2",
    "data.input_px=32",
    "data.people=8",
    "data.val_people=4",
    "train.length.steps=2",
    "train.batch_size=4",
]


def test_a_run_and_its_score(tmp_path: Path) -> None:
    best = hourglass.train("synthetic_tiny", SHORT, out=tmp_path / "run")
    assert best == tmp_path / "run" / "best.safetensors"
    report = hourglass.evaluate(best, data="synthetic", split="test", people=6, thresholds=(0.2, 5))
    network, facts = load_network(best)
    # The test split is rendered from the seed 2,000,000 on.
    people = load_records(facts.skeleton, 6, 2_000_000)
    assert report["metrics"] == score(predict_records(network, facts, people), people, (0.2, 5))["metrics"]
    assert report["people"] == 6
    assert report["joints_left_out"] == []
    with pytest.raises(RecipeError, match="a Recipe is complete"):
        hourglass.train(Recipe(), ["train.seed=1"], out=tmp_path / "other")
    with pytest.raises(RecipeError, match="there is no recipe 'synthetic_tine'"):
        hourglass.train("synthetic_tine", out=tmp_path / "other")


def test_between_skeletons_the_joints_that_both_know_are_scored(tmp_path: Path) -> None:
    best = hourglass.train("synthetic_tiny", [*SHORT, "data.skeleton=mpii16"], out=tmp_path / "run")
    network, facts = load_network(best)
    from hourglass.core.skeleton import LSP14
    from hourglass.evaluation.evaluate import under_skeleton

    people = load_records(LSP14, 4, 0)
    mapped, unknown = under_skeleton(people, facts.skeleton)
    assert unknown == ()
    report = score(predict_records(network, facts, mapped), mapped)
    counted = {joint for joint, count in report["joints"].items() if count}
    # A pelvis and a thorax are the middle of what LSP labels.
    assert counted == {*LSP14.joints, "pelvis", "thorax"}
    back, unknown = under_skeleton(mapped, LSP14)
    assert unknown == ("pelvis", "thorax")
    np.testing.assert_array_equal(
        back[0].keypoints[people[0].labelled], people[0].keypoints[people[0].labelled]
    )
