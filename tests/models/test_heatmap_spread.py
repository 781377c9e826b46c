"""Covariances of heatmaps: a plain loop, hand values, symmetries, and what holds for any map."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hourglass.core.geometry import apply, apply_covariance, crop_matrix
from hourglass.models.heatmap import decode, encode, spread

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


def random_maps(seed: int, joints: int = 5, height: int = 12, width: int = 17) -> Tensor:
    """(2, joints, height, width) with negative and positive cells of very different sizes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, joints, height, width)) * 10.0 ** rng.integers(-8, 3, (2, joints, 1, 1))
    return torch.from_numpy(values).float()


def by_a_loop(heat: npt.NDArray[np.float32], x: float, y: float, sigma_hm: float) -> npt.NDArray[np.float64]:
    """Second moments of one map (h, w) about (x, y), in double precision."""
    height, width = heat.shape
    reach = round(3 * sigma_hm)
    column, row = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
    total, moments = 0.0, np.zeros((2, 2))
    for v in range(max(row - reach, 0), min(row + reach, height - 1) + 1):
        for u in range(max(column - reach, 0), min(column + reach, width - 1) + 1):
            mass = max(float(heat[v, u]), 1e-10)
            away = np.array([u - x, v - y])
            moments += mass * np.outer(away, away)
            total += mass
    return moments / total


@pytest.mark.parametrize("sigma_hm", [1.0, 1.5])
def test_it_equals_a_plain_loop_wherever_the_joint_lies(sigma_hm: float) -> None:
    maps = random_maps(0)
    # In the middle, off the cells, at a border, in a corner, outside.
    places = torch.tensor([[[8.0, 5.0], [6.3, 4.8], [0.2, 7.1], [16.4, 11.3], [-1.2, 13.0]]]).repeat(2, 1, 1)
    found = spread(maps, places, sigma_hm)
    assert found.dtype == torch.float32
    assert found.shape == (2, 5, 2, 2)
    for b in range(2):
        for j in range(5):
            x, y = (float(v) for v in places[b, j])
            expected = by_a_loop(maps[b, j].numpy(), x, y, sigma_hm)
            np.testing.assert_allclose(found[b, j].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_hand_values() -> None:
    one = torch.zeros(1, 1, 9, 9)
    one[0, 0, 4, 4] = 0.7
    np.testing.assert_allclose(spread(one, torch.tensor([[[4.0, 4.0]]]))[0, 0], np.zeros((2, 2)), atol=1e-6)
    # About the joint, not about the mean: one cell beside it is one cell's doubt.
    np.testing.assert_allclose(spread(one, torch.tensor([[[3.0, 4.0]]]))[0, 0], [[1, 0], [0, 0]], atol=1e-6)
    diagonal = torch.zeros(1, 1, 9, 9)
    diagonal[0, 0, 3, 3] = diagonal[0, 0, 5, 5] = 2.0
    np.testing.assert_allclose(
        spread(diagonal, torch.tensor([[[4.0, 4.0]]]))[0, 0], [[1, 1], [1, 1]], rtol=1e-5
    )
    # Nothing to see: the window of 7 x 7 cells itself, (1 + 4 + 9) * 2 / 7.
    empty = spread(torch.full((1, 1, 9, 9), -1.0), torch.tensor([[[4.0, 4.0]]]))
    np.testing.assert_allclose(empty[0, 0], [[4, 0], [0, 4]], atol=1e-5)
    # What is negative or outside the window counts for nothing.
    one[0, 0, 4, 3], one[0, 0, 4, 8] = -5.0, 9.0
    np.testing.assert_allclose(spread(one, torch.tensor([[[4.0, 4.0]]]))[0, 0], np.zeros((2, 2)), atol=1e-6)


@pytest.mark.parametrize("sigma_hm", [1.0, 1.5, 1.75, 3.0])
def test_an_ideal_target_spreads_by_its_sigma(sigma_hm: float) -> None:
    places = torch.tensor([[[30.0, 32.0], [28.4, 33.7], [31.5, 30.5]]])
    found = spread(encode(places, 64, 64, sigma_hm), places, sigma_hm).numpy()
    # The window cuts the tails at 3 sigma: 0.973 of the variance is left of a Gaussian that is not sampled.
    np.testing.assert_allclose(
        found, np.broadcast_to(sigma_hm**2 * np.eye(2), found.shape), rtol=0.04, atol=0.01
    )
    cut_off = spread(
        encode(torch.tensor([[[0.0, 30.0]]]), 64, 64, sigma_hm), torch.tensor([[[0.0, 30.0]]]), sigma_hm
    )
    assert float(cut_off[0, 0, 0, 0]) > 0.65 * sigma_hm**2


@SETTINGS
@given(
    angle=st.floats(0, math.pi),
    long=st.floats(1.2, 1.6),
    short=st.floats(0.8, 1.0),
    x=st.floats(27, 36),
    y=st.floats(27, 36),
)
def test_a_tilted_gaussian_gives_its_own_covariance(
    angle: float, long: float, short: float, x: float, y: float
) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag([long**2, short**2]) @ turn.T
    rows, columns = np.mgrid[:64, :64]
    away = np.stack([columns - x, rows - y], -1)
    heat = np.exp(-0.5 * np.einsum("rci,ij,rcj->rc", away, np.linalg.inv(covariance), away))
    # A window wide enough to hold all of it.
    found = spread(torch.from_numpy(heat)[None, None], torch.tensor([[[x, y]]]), 3.0)[0, 0].numpy()
    np.testing.assert_allclose(found, covariance, atol=0.02)


@SETTINGS
@given(seed=st.integers(0, 10**6), x=st.floats(-3, 20), y=st.floats(-3, 15), sigma_hm=st.floats(0.5, 4))
def test_any_map_gives_a_covariance(seed: int, x: float, y: float, sigma_hm: float) -> None:
    maps = random_maps(seed, 3)
    maps[0, 0] = 0.0
    maps[0, 1] = 1e30
    maps[1, 2, :, :-1] = 0.0  # a single column
    found = spread(maps, torch.tensor([x, y]).expand(2, 3, 2), sigma_hm)
    assert torch.isfinite(found).all()
    assert torch.equal(found, found.mT)
    exact = found.double()
    determinants = exact[..., 0, 0] * exact[..., 1, 1] - exact[..., 0, 1] ** 2
    assert (determinants >= 0).all()
    assert (exact.diagonal(dim1=-2, dim2=-1) >= 0).all()


@SETTINGS
@given(seed=st.integers(0, 10**6))
def test_quarter_turns_and_mirrors_go_through(seed: int) -> None:
    maps = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    xy, _ = decode(maps)
    found = spread(maps, xy)
    mirrored = spread(maps.flip(-1), torch.stack([15 - xy[..., 0], xy[..., 1]], -1))
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    # A place half-way between two cells belongs to either, and to the other one in the mirror.
    clear = ((xy - xy.floor() - 0.5).abs() > 1e-3).all(-1)
    torch.testing.assert_close(mirrored[clear], (found * sign)[clear], rtol=1e-4, atol=1e-5)
    turned = spread(maps.mT, xy.flip(-1))
    torch.testing.assert_close(turned[clear], found.flip(-1, -2)[clear], rtol=1e-4, atol=1e-5)


@SETTINGS
@given(
    side=st.floats(20, 2000),
    angle=st.floats(-180, 180),
    flip=st.booleans(),
    factor=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
)
def test_a_covariance_goes_through_a_crop_as_its_points_do(
    side: float, angle: float, flip: bool, factor: list[float]
) -> None:
    matrix = crop_matrix(np.array([70.0, 40.0]), side, 256, angle, flip)
    points = np.random.default_rng(1).normal(size=(50, 2)) @ np.array(factor).reshape(2, 2)
    before, after = np.cov(points.T), np.cov(apply(matrix, points).T)
    scale = (256 / side) ** 2
    np.testing.assert_allclose(apply_covariance(matrix, before), after, rtol=1e-9, atol=1e-9 * scale)
    there_and_back = apply_covariance(np.linalg.inv(matrix), apply_covariance(matrix, before))
    np.testing.assert_allclose(there_and_back, before, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(after), scale**2 * np.linalg.det(before), rtol=1e-6, atol=1e-9)
