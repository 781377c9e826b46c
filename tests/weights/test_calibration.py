"""Calibrations against hand values, a grid search, scikit-free formulas and data of a known truth."""

import itertools
import math
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.weights.calibration import (
    Calibration,
    brier,
    chance_error,
    fit,
    held_out,
    log_loss,
    logit,
    reliability,
)

SETTINGS = settings(max_examples=50, deadline=None, derandomize=True)


def sigmoid(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-z)))


def drawn(
    temperatures: list[float], offsets: list[float], people: int, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores (N, J) and what came of them, where the truth is a calibration of these numbers."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.02, 0.98, (people, len(temperatures)))
    odds = np.log(scores / (1 - scores)) / np.array(temperatures) + np.array(offsets)
    return scores, rng.uniform(size=scores.shape) < sigmoid(odds)


def whole(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.ones(scores.shape, bool)


# Calibrations


def test_a_calibration_by_hand() -> None:
    calibration = Calibration((1.0, 2.0, 0.5), (0.0, 0.0, math.log(3)))
    found = calibration(np.array([[0.8, 0.8, 0.5], [0.2, 0.5, 0.75]], np.float32))
    # Odds of 4: to the power of 1, of one half; even odds times 3. Then 1/4, 1, 3^2 * 3.
    np.testing.assert_allclose(found, [[4 / 5, 2 / 3, 3 / 4], [1 / 5, 1 / 2, 27 / 28]], rtol=1e-6)
    assert found.dtype == np.float32
    with pytest.raises(ValueError, match="scores of 2 joints met a calibration of 3 joints"):
        calibration(np.zeros((4, 2)))


@SETTINGS
@given(
    scores=st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=6),
    temperature=st.floats(0.02, 50),
    offset=st.floats(-100, 100),
)
def test_confidences_are_probabilities_that_rise_with_the_score(
    scores: list[float], temperature: float, offset: float
) -> None:
    found = Calibration((temperature,), (offset,))(np.sort(np.array(scores))[:, None])[:, 0]
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize(
    ("temperatures", "offsets", "message"),
    [
        ((1.0, 1.0), (0.0,), "2 temperatures but 1 offsets"),
        ((0.0,), (0.0,), "the temperature 0.0 and the offset 0.0; both must be finite"),
        ((math.inf,), (0.0,), "the temperature inf"),
        ((1.0,), (math.nan,), "the offset nan"),
    ],
)
def test_a_calibration_that_is_none_is_refused(
    temperatures: tuple[float, ...], offsets: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration(temperatures, offsets)


def test_a_calibration_survives_its_dict() -> None:
    one = Calibration((1.5, 0.25), (0.125, -3.0), "hit", "lspet val", 829)
    assert Calibration.from_dict(asdict(one)) == one
    with pytest.raises(KeyError, match="offsets"):
        Calibration.from_dict({"temperatures": [1.0]})


# Fitting


def test_a_fit_is_where_no_grid_point_is_better() -> None:
    scores, correct = drawn([0.7], [0.4], 120, seed=3)
    (temperature,), (offset,) = fit(scores, correct, whole(scores))

    # With one joint there are two fits of it: all joints, drawn to raw scores, and this one, drawn to that.
    def cost(slope: float, shift: float) -> float:
        p = sigmoid(slope * logit(scores[:, 0]) + shift)
        return -float(np.where(correct[:, 0], np.log(p), np.log(1 - p)).sum())

    def first(slope: float, shift: float) -> float:
        return cost(slope, shift) + ((slope - 1) ** 2 + shift**2) / 2

    grid = list(itertools.product(np.linspace(0.5, 3, 126), np.linspace(-1, 2, 151)))
    pooled_slope, pooled_shift = (float(v) for v in min(grid, key=lambda point: first(*point)))

    def second(slope: float, shift: float) -> float:
        return cost(slope, shift) + ((slope - pooled_slope) ** 2 + (shift - pooled_shift) ** 2) / 2

    best = min(grid, key=lambda point: second(*point))
    assert 1 / temperature == pytest.approx(best[0], abs=0.021)
    assert offset == pytest.approx(best[1], abs=0.021)


def test_a_fit_finds_the_truth_that_data_was_drawn_from() -> None:
    temperatures, offsets = [0.5, 1.0, 2.5], [0.0, -0.8, 0.6]
    scores, correct = drawn(temperatures, offsets, 20_000)
    found, shifts = fit(scores, correct, whole(scores))
    np.testing.assert_allclose(found, temperatures, rtol=0.05)
    np.testing.assert_allclose(shifts, offsets, atol=0.06)

    scores, correct = drawn(temperatures, [0.0] * 3, 20_000, seed=1)
    found, shifts = fit(scores, correct, whole(scores), offset=False)
    np.testing.assert_allclose(found, temperatures, rtol=0.05)
    assert shifts == (0.0, 0.0, 0.0)


def test_a_joint_that_nobody_labels_has_the_fit_of_all_joints() -> None:
    scores, correct = drawn([0.5, 1.5, 1.0], [0.3, 0.3, 0.3], 500)
    counted = whole(scores)
    counted[:, 2] = False
    scores[:, 2] = np.nan  # and nobody looks at it
    temperatures, offsets = fit(scores, correct, counted)
    pooled, shift = fit(
        scores[:, :2].reshape(-1, 1), correct[:, :2].reshape(-1, 1), whole(scores[:, :1].repeat(2, 0))
    )
    assert temperatures[2] == pytest.approx(pooled[0], rel=1e-2)
    assert offsets[2] == pytest.approx(shift[0], abs=1e-2)
    assert temperatures[0] < temperatures[2] < temperatures[1]

    # One labelled person moves it a little.
    counted[0, 2], scores[0, 2], correct[0, 2] = True, 0.9, False
    moved, moved_offsets = fit(scores, correct, counted)
    assert offsets[2] - 1 < moved_offsets[2] < offsets[2]
    assert moved[2] > temperatures[2]


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("offset", [False, True])
def test_where_every_joint_is_right_or_wrong_the_fit_stays_finite(right: bool, offset: bool) -> None:
    scores = np.random.default_rng(0).uniform(0, 1, (400, 2))
    temperatures, offsets = fit(scores, np.full(scores.shape, right), whole(scores), offset)
    assert np.isfinite([*temperatures, *offsets]).all()
    Calibration(temperatures, offsets)


def test_scores_that_mislead_end_flat_and_not_upside_down() -> None:
    scores = np.random.default_rng(0).uniform(0, 1, (400, 1))
    temperatures, offsets = fit(scores, scores < 0.5, whole(scores))
    assert temperatures == (50.0,)
    found = Calibration(temperatures, offsets)(scores)
    assert np.abs(found - 0.5).max() < 0.1


def test_what_cant_be_calibrated_on_is_refused() -> None:
    scores, correct = drawn([1.0], [0.0], 10)
    with pytest.raises(ValueError, match="no labelled joint is counted"):
        fit(scores, correct, ~whole(scores))
    with pytest.raises(ValueError, match="must be of one shape"):
        fit(scores, correct[:5], whole(scores))
    broken = scores.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match="a score is not finite"):
        fit(broken, correct, whole(scores))
    with pytest.raises(ValueError, match="11 folds of 10 pictures"):
        held_out(scores, correct, whole(scores), [str(i) for i in range(10)], folds=11)


def test_nobodys_confidence_comes_from_a_fit_that_saw_them() -> None:
    scores, correct = drawn([0.8, 1.2], [0.0, 0.2], 60)
    groups = [f"{i // 2}.jpg" for i in range(60)]  # two people a picture
    before = held_out(scores, correct, whole(scores), groups)
    for person in (0, 17, 59):
        picture = [i for i in range(60) if groups[i] == groups[person]]
        turned = correct.copy()
        turned[picture] = ~turned[picture]
        after = held_out(scores, turned, whole(scores), groups)
        np.testing.assert_array_equal(after[picture], before[picture])
        assert (after != before).any()
    assert ((before > 0) & (before < 1)).all()


def test_a_held_out_fit_makes_confidences_honest() -> None:
    scores, correct = drawn([0.4, 2.0], [1.0, -1.0], 4000, seed=5)
    groups = [str(i) for i in range(4000)]
    found = held_out(scores, correct, whole(scores), groups)
    for joint in range(2):
        raw = reliability(scores[:, joint], correct[:, joint]).error
        assert reliability(found[:, joint], correct[:, joint]).error < 0.25 * raw
        assert log_loss(found[:, joint], correct[:, joint]) < log_loss(scores[:, joint], correct[:, joint])


# Measures


def test_the_expected_calibration_error_by_hand() -> None:
    confidences = np.array([0.1, 0.15, 0.5, 0.95, 1.0])
    correct = np.array([False, True, True, True, True])
    found = reliability(confidences, correct, bins=10)
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
    np.testing.assert_allclose(found.confidence[[1, 5, 9]], [0.125, 0.5, 0.975])
    np.testing.assert_allclose(found.accuracy[[1, 5, 9]], [0.5, 1, 1])
    assert np.isnan(found.accuracy[0])
    assert found.error == pytest.approx((2 * 0.375 + 1 * 0.5 + 2 * 0.025) / 5)

    halves = reliability(confidences, correct, bins=2, equal_counts=True)
    assert halves.counts.tolist() == [3, 2]
    np.testing.assert_allclose(halves.confidence, [0.25, 0.975])
    np.testing.assert_allclose(halves.accuracy, [2 / 3, 1])
    # More bins than people leaves some empty.
    assert reliability(confidences, correct, bins=7, equal_counts=True).counts.sum() == 5
    assert brier(confidences, correct) == pytest.approx((0.01 + 0.7225 + 0.25 + 0.0025) / 5)
    assert log_loss(np.array([0.5, 0.25]), np.array([True, False])) == pytest.approx(
        (math.log(2) + math.log(4 / 3)) / 2
    )


def test_what_chance_alone_would_show() -> None:
    # One bin of n coins: the mean gap of a binomial, sqrt(2 p (1 - p) / (pi n)) for many.
    found = chance_error(np.full(400, 0.3), bins=1, draws=4000)
    assert found == pytest.approx(math.sqrt(2 * 0.3 * 0.7 / (math.pi * 400)), rel=0.05)
    assert chance_error(np.array([0.0, 1.0, 1.0])) == 0


def test_scores_beyond_0_and_1_fall_into_the_outer_bins() -> None:
    found = reliability(np.array([-0.2, 1.3]), np.array([False, True]), bins=4)
    assert found.counts.tolist() == [1, 0, 0, 1]
    assert math.isfinite(log_loss(np.array([-0.2, 1.3]), np.array([True, False])))


@pytest.mark.parametrize(("p", "bins"), [([], 10), ([0.5, np.nan], 10), ([0.5], 0)])
def test_nothing_to_draw_is_refused(p: list[float], bins: int) -> None:
    with pytest.raises(ValueError, match="a reliability diagram needs"):
        reliability(np.array(p), np.ones(len(p), bool), bins)


@SETTINGS
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), bins=st.integers(1, 12), equal=st.booleans())
def test_the_error_equals_a_plain_loop(seed: int, count: int, bins: int, equal: bool) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.uniform(0, 1, count).round(2), rng.uniform(size=count) < 0.6
    if equal:
        order = sorted(range(count), key=lambda i: p[i])
        places = {i: rank * bins // count for rank, i in enumerate(order)}
    else:
        places = {i: min(int(p[i] * bins), bins - 1) for i in range(count)}
    expected = 0.0
    for k in range(bins):
        members = [i for i in range(count) if places[i] == k]
        if members:
            gap = sum(y[i] for i in members) / len(members) - sum(p[i] for i in members) / len(members)
            expected += abs(gap) * len(members) / count
    assert reliability(p, y, bins, equal).error == pytest.approx(expected, abs=1e-12)
