"""Lengths, relative distances, curves and areas of metrics.pck."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hourglass.evaluation.metrics.pck import (
    area_thresholds,
    areas,
    curve,
    head_length,
    hits,
    pair_length,
    pck,
    relative_distance,
)


def distances(seed: int) -> tuple[Any, Any]:
    """Distances that often equal a threshold, some infinite, some not counted."""
    rng = np.random.default_rng(seed)
    distance = np.where(rng.random((30, 4)) < 0.5, rng.integers(0, 70, (30, 4)) / 100, rng.random((30, 4)))
    distance[rng.random((30, 4)) < 0.05] = np.inf
    counted = rng.random((30, 4)) < 0.8
    return np.where(counted, distance, np.nan), counted


def test_head_length_by_hand() -> None:
    # 0.6 x the diagonal of a 30 x 40 box, whichever corner comes first.
    boxes = np.array([[[10, 20], [40, 60]], [[40, 60], [10, 20]]], float)
    np.testing.assert_allclose(head_length(boxes), [30, 30])


def test_pair_length_needs_both_ends() -> None:
    points = np.array([[[0, 0], [3, 4]], [[0, 0], [3, 4]]], float)
    labelled = np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(pair_length(points, labelled, 0, 1), [5, np.nan])


def test_relative_distance_by_hand() -> None:
    truth = np.zeros((2, 2, 2))
    predicted = np.array([[[3, 4], [np.nan, 0]], [[1, 0], [2, 0]]])
    labelled = np.array([[True, True], [True, False]])
    distance, counted = relative_distance(predicted, truth, labelled, np.array([10.0, 4.0]))
    np.testing.assert_array_equal(distance, [[0.5, np.inf], [0.25, np.nan]])
    np.testing.assert_array_equal(counted, labelled)
    _, counted = relative_distance(predicted, truth, labelled, np.array([np.nan, 0.0]))
    assert not counted.any()


def test_the_inequalities_differ_at_the_threshold_alone() -> None:
    distance = np.array([0.4, 0.5, 0.6, np.nan, np.inf])
    assert hits(distance, 0.5).tolist() == [True, True, False, False, False]
    assert hits(distance, 0.5, strict=True).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_curve_and_area_agree_with_counting(seed: int, strict: bool) -> None:
    distance, counted = distances(seed)
    thresholds = area_thresholds()
    assert len(thresholds) == 51
    wanted = np.array(
        [
            [np.mean([d < t if strict else d <= t for d in distance[counted[:, j], j]]) for j in range(4)]
            for t in thresholds
        ]
    )
    np.testing.assert_allclose(curve(distance, counted, thresholds, strict), wanted)
    # Trapezoids over 0..0.5, divided by 0.5.
    heights = (wanted[1:] + wanted[:-1]) / 2
    under = (heights * 0.01).sum(0) / 0.5
    mine = areas(distance, thresholds, strict).sum(0) / counted.sum(0)
    np.testing.assert_allclose(mine, under, atol=1e-12)


def test_areas_by_hand() -> None:
    # Right everywhere, from the second of three thresholds on, at the last, never, not counted.
    found = areas(np.array([0.0, 0.2, 0.4, 0.5, np.nan]), np.array([0.0, 0.2, 0.4]))
    np.testing.assert_allclose(found, [1, 0.75, 0.25, 0, 0])


@given(st.integers(0, 500), st.floats(0.01, 0.5))
def test_a_curve_passes_through_pck(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, (9, 3, 2))
    predicted = truth + rng.normal(0, 10, truth.shape)
    labelled = rng.random((9, 3)) < 0.7
    reference = rng.uniform(20, 60, 9)
    distance, counted = relative_distance(predicted, truth, labelled, reference)
    through = curve(distance, counted, np.array([threshold]))[0]
    np.testing.assert_array_equal(through, pck(predicted, truth, labelled, reference, threshold).per_joint)


@pytest.mark.parametrize("bad", [[0.1], [0.2, 0.1], [0.1, 0.1], []])
def test_thresholds_that_make_no_curve(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more ascending"):
        areas(np.zeros(3), np.array(bad))
