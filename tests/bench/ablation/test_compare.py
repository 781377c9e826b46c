"""Differences and their intervals: by hand, by loops, and on answers whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from hourglass.bench.ablation.compare import Outcome, difference, load_outcome, save_outcome
from hourglass.recipe.network import RecipeError


def outcome(right: float, seed: int, people: int = 400, joints: int = 5) -> Outcome:
    """Each joint is within 0.2 with this probability, and labelled nine times of ten."""
    rng = np.random.default_rng(seed)
    distance = np.where(rng.random((people, joints)) < right, 0.1, 0.4).astype(np.float32)
    distance[rng.random((people, joints)) < 0.1] = np.nan
    return Outcome(distance, rng.random((people, joints)) < 0.3)


def plain_mean(run: Outcome, threshold: float) -> float:
    shares = []
    for joint in range(run.distance.shape[1]):
        known = [d for d in run.distance[:, joint].tolist() if d == d]
        shares.append(sum(d <= threshold for d in known) / len(known))
    return float(100 * sum(shares) / len(shares))


def test_the_difference_is_that_of_the_means_over_seeds() -> None:
    better, worse = [outcome(0.8, s) for s in (1, 2, 3)], [outcome(0.7, s) for s in (4, 5)]
    found = difference(better, worse, 0.2)
    means = [np.mean([plain_mean(run, 0.2) for run in runs]) for runs in (better, worse)]
    assert found.mean == pytest.approx(means[0] - means[1], abs=1e-3)
    assert found.low < found.mean < found.high
    assert found.verdict == "confirmed"
    assert difference(worse, better, 0.2).verdict == "contradicted"
    assert difference(better, worse, 0.05).mean == 0  # nothing is right so strictly


def test_only_an_interval_without_zero_decides() -> None:
    same = difference([outcome(0.7, s) for s in (1, 3)], [outcome(0.7, s) for s in (2, 4)])
    assert same.low < 0 < same.high
    assert same.verdict == "not decided"


def test_one_seed_decides_nothing() -> None:
    found = difference([outcome(0.9, 1)], [outcome(0.6, 2), outcome(0.6, 3)])
    assert found.low > 0
    assert found.verdict == "one seed"


def test_the_same_people_make_a_difference_sharper_than_two_intervals() -> None:
    one = outcome(0.7, 1)
    # The other is right wherever this one is, and a little more often.
    more = np.where(np.random.default_rng(9).random(one.distance.shape) < 0.04, 0.1, one.distance)
    other = Outcome(np.where(np.isnan(one.distance), np.nan, more).astype(np.float32), one.hidden)
    found = difference([other], [one])
    assert found.low > 0
    # Of two independent samples of 1,800 joints the interval would be five points wide or more.
    assert found.high - found.low < 1.5


def test_seeds_that_disagree_widen_the_interval() -> None:
    steady = [outcome(0.75, s) for s in (1, 2, 3)]
    rough = [outcome(p, s) for p, s in ((0.6, 4), (0.7, 5), (0.8, 6))]
    base = [outcome(0.65, s) for s in (7, 8, 9)]
    wide, narrow = difference(rough, base), difference(steady, base)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert wide.verdict == "not decided"
    assert narrow.verdict == "confirmed"


def test_an_interval_covers_what_it_should() -> None:
    """Of two designs that are alike, 95 of 100 intervals hold zero."""
    missed = 0
    for trial in range(60):
        found = difference([outcome(0.7, 2 * trial, 150)], [outcome(0.7, 2 * trial + 1, 150)], draws=300)
        missed += not found.low <= 0 <= found.high
    assert missed <= 9


def test_hidden_joints_alone() -> None:
    distance = np.array([[0.1, 0.4], [0.4, 0.1]], np.float32)
    hidden = np.array([[False, True], [False, False]])
    worse = Outcome(distance, hidden)
    better = Outcome(np.array([[0.4, 0.1], [0.4, 0.4]], np.float32), hidden)
    found = difference([better], [worse], which="hidden")
    assert found.mean == 100
    assert difference([better], [worse]).mean == pytest.approx(-25)
    nobody = Outcome(distance, np.zeros((2, 2), bool))
    assert np.isnan(difference([nobody], [nobody], which="hidden").low)
    assert difference([nobody] * 2, [nobody] * 2, which="hidden").verdict == "not decided"


def test_runs_that_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="without a finished run"):
        difference([], [outcome(0.5, 1)])
    with pytest.raises(ValueError, match="measured on different people"):
        difference([outcome(0.5, 1, 10)], [outcome(0.5, 1, 11)])


def test_an_outcome_travels_in_a_file(tmp_path: Path) -> None:
    before = outcome(0.5, 1, 7)
    save_outcome(tmp_path / "people.npz", before)
    after = load_outcome(tmp_path / "people.npz")
    assert after is not None
    np.testing.assert_array_equal(after.distance, before.distance)
    np.testing.assert_array_equal(after.hidden, before.hidden)
    assert load_outcome(tmp_path / "none.npz") is None
    (tmp_path / "cut.npz").write_bytes((tmp_path / "people.npz").read_bytes()[:50])
    with pytest.raises(RecipeError, match=r"cut\.npz is not a whole result"):
        load_outcome(tmp_path / "cut.npz")
