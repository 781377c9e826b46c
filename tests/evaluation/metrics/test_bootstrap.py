from typing import Any

import numpy as np
import pytest

from hourglass.evaluation.metrics.scores import compare_people, draw_weights, intervals


def share(hits: Any) -> Any:
    """The share of hits as a statistic of weights."""

    def statistic(weights: Any) -> Any:
        return (weights @ hits / weights.sum(1))[:, None]

    return statistic


def test_weights_are_counts_of_draws() -> None:
    weights = draw_weights(np.random.default_rng(0), 7, 50)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    # 1 - (1 - 1/7)^7 of the people are drawn at least once.
    assert (weights > 0).mean() == pytest.approx(1 - (6 / 7) ** 7, abs=0.05)


def test_a_share_has_the_interval_of_the_binomial() -> None:
    hits = np.zeros(1000)
    hits[:300] = 1
    (bounds,) = intervals([share(hits)], 1000, 4000)
    spread = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert bounds.low[0] == pytest.approx(0.3 - spread, abs=0.003)
    assert bounds.high[0] == pytest.approx(0.3 + spread, abs=0.003)


def test_a_difference_is_drawn_in_pairs() -> None:
    # B misses 10 of A's 300 hits: over the same draws the difference is much surer than either.
    first = np.zeros(1000)
    first[:300] = 1
    second = first.copy()
    second[:10] = 0
    one, two, difference = intervals([share(first), share(second)], 1000, 4000)
    spread = 1.96 * np.sqrt(0.01 * 0.99 / 1000)
    assert difference.low[0] == pytest.approx(-0.01 - spread, abs=0.002)
    assert difference.high[0] == pytest.approx(-0.01 + spread, abs=0.002)
    assert one.low[0] < two.high[0]


def test_the_seed_decides_and_draws_may_be_split() -> None:
    hits = (np.arange(400) % 3 == 0).astype(float)
    again = [intervals([share(hits)], 400, 300, seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(again[0].low, again[1].low)
    assert (again[0].low != again[2].low).any() or (again[0].high != again[2].high).any()
    # Enough people that the draws come in several portions.
    sizes: list[int] = []

    def size(weights: Any) -> Any:
        sizes.append(len(weights))
        return weights[:, :1]

    intervals([size], 900_000, 11)
    assert sizes == [4, 4, 3]


def test_values_that_no_draw_has_stay_unknown() -> None:
    def statistic(weights: Any) -> Any:
        found = np.full((len(weights), 2), np.nan)
        found[::2, 0] = 5
        return found

    (bounds,) = intervals([statistic], 3, 10)
    assert bounds.low[0] == bounds.high[0] == 5
    assert np.isnan([bounds.low[1], bounds.high[1]]).all()


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nobody to draw"):
        intervals([share(np.zeros(0))], 0, 10)
    with pytest.raises(ValueError, match="at least 2 draws, not 1"):
        intervals([share(np.zeros(3))], 3, 1)


def test_people_by_hand() -> None:
    first = np.array([0.5, 0.5, 0.5, np.nan, 0.5])
    second = np.array([0.6, 0.4, 0.5, 0.9, 0.7])
    paired = compare_people(first, second)
    assert (paired.better, paired.worse, paired.same, paired.people) == (0.5, 0.25, 0.25, 4)
    nobody = compare_people(first[3:4], second[3:4])
    assert nobody.people == 0
    assert np.isnan(nobody.better)
