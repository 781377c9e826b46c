"""Bootstrap intervals over people (percentiles), and the paired comparison of two sets of predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hourglass.core.arrays import Float64Array, FloatArray

Statistic = Callable[[Float64Array], Float64Array]
"""Values (B, K) for B weightings (B, N) of the people."""

LEVEL = 0.95
_CELLS = 4_000_000
"""Draws x people held at once, so that memory stays below a hundred megabytes."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds `low` and `high` (K,) of K values, NaN where a value could not be measured in any draw."""

    low: Float64Array
    high: Float64Array


def intervals(
    statistics: Sequence[Statistic], people: int, draws: int, seed: int = 0, level: float = LEVEL
) -> list[Interval]:
    """Intervals of each statistic, all from the same draws, and then of their differences to the first.

    With one statistic: `[its interval]`. With two, A and B, measured on the same people: `[A, B, B - A]`.

    Args:
        statistics: functions of (B, N) weights, how often each of the people was drawn.
        people: N.
        draws: how many samples of N people are drawn with replacement.
        level: share of draws inside the bounds.

    Raises ValueError when there is nobody, or fewer than 2 draws.
    """
    if people < 1:
        raise ValueError("there is nobody to draw for a bootstrap")
    if draws < 2:
        raise ValueError(f"a bootstrap needs at least 2 draws, not {draws}")
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS // people)
    values: list[list[Float64Array]] = [[] for _ in statistics]
    for start in range(0, draws, at_once):
        weights = draw_weights(rng, people, min(at_once, draws - start))
        for found, statistic in zip(values, statistics, strict=True):
            found.append(statistic(weights))
    tables = [np.concatenate(found) for found in values]
    differences = [table - tables[0] for table in tables[1:]]
    return [_bounds(table, level) for table in tables + differences]


def draw_weights(rng: np.random.Generator, people: int, draws: int) -> Float64Array:
    """(draws, people) how often each was drawn; each row sums to `people`."""
    chosen = rng.integers(0, people, (draws, people))
    chosen += people * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * people).reshape(draws, people).astype(np.float64)


def _bounds(table: Float64Array, level: float) -> Interval:
    """Percentiles of each column over the draws in which it could be measured."""
    tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.full((2, table.shape[1]), np.nan)
    for column in range(table.shape[1]):
        known = table[np.isfinite(table[:, column]), column]
        if len(known):
            low[column], high[column] = np.percentile(known, tails)
    return Interval(low, high)


@dataclass(frozen=True)
class Paired:
    """Shares of people, 0..1, for whom B scores better than A, worse, and the same; of `people` in all."""

    better: float
    worse: float
    same: float
    people: int


def compare_people(first: FloatArray, second: FloatArray) -> Paired:
    """Compare scores (N,) of the same people, higher is better; who has a NaN in either is left out."""
    known = np.isfinite(first) & np.isfinite(second)
    count = int(known.sum())
    if not count:
        return Paired(float("nan"), float("nan"), float("nan"), 0)
    gain = second[known] - first[known]
    better, worse = float((gain > 0).mean()), float((gain < 0).mean())
    return Paired(better, worse, float((gain == 0).mean()), count)
