"""Targets against a plain loop; decoders against known positions, hand-made maps and symmetries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hourglass.core.skeleton import MPII16
from hourglass.core.structs import DECODINGS, Decoding
from hourglass.models.heatmap import decode, encode, flip_back, unsigned

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def inside(count: int, margin: float, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    """(1, count, 2) random sub-cell positions at least `margin` cells from the border."""
    low, high = torch.tensor([margin, margin]), torch.tensor([width - 1 - margin, height - 1 - margin])
    return low + (high - low) * torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed))


def one_map(values: list[list[float]]) -> Tensor:
    return torch.tensor([[values]])


def test_encode_equals_a_plain_loop() -> None:
    height, width, sigma = 9, 12, 1.75
    # On a cell, between cells, on the border, outside.
    points = np.array([[[4.0, 3.0], [5.3, 2.8]], [[0.0, 8.0], [-1.5, 10.2]]])
    expected = np.empty((2, 2, height, width))
    for b in range(2):
        for j in range(2):
            for row in range(height):
                for column in range(width):
                    x, y = points[b, j]
                    squared = (column - x) ** 2 + (row - y) ** 2
                    expected[b, j, row, column] = math.exp(-squared / (2 * sigma**2))
    maps = encode(torch.from_numpy(points), height, width, sigma)
    assert maps.dtype == torch.float32
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-6)


def test_encode_has_the_profile_and_energy_of_the_papers_code() -> None:
    # sigma 1.75: the authors' 7-wide kernel; its energy is pi * sigma^2.
    maps = encode(torch.tensor([[[32.0, 20.0]]]), 64, 64, 1.75)
    assert [round(float(v), 4) for v in maps[0, 0, 20, 29:36]] == [
        0.2301,
        0.5205,
        0.8494,
        1,
        0.8494,
        0.5205,
        0.2301,
    ]
    assert float((maps**2).sum()) == pytest.approx(math.pi * 1.75**2, rel=1e-4)


# Worst error per axis in cells, away from the border. Rounding to cells leaves up to a half, the quarter
# offset halves that, the Newton step is exact for a Gaussian, the window of `soft` cuts it unevenly.
WORST: dict[Decoding, dict[float, float]] = {
    "argmax": {1.0: 0.5, 1.75: 0.5, 2.0: 0.5},
    "quarter": {1.0: 0.25, 1.75: 0.25, 2.0: 0.25},
    "dark": {1.0: 0.001, 1.75: 0.001, 2.0: 0.001},
    "soft": {1.0: 0.005, 1.75: 0.015, 2.0: 0.015},
}


@pytest.mark.parametrize("sigma_hm", [1.0, 1.75, 2.0])
@pytest.mark.parametrize("method", DECODINGS)
def test_decode_inverts_encode_without_bias(method: Decoding, sigma_hm: float) -> None:
    points = inside(4000, margin=10)
    xy, score = decode(encode(points, 64, 64, sigma_hm), method, sigma_hm)
    error = xy - points
    assert float(error.abs().max()) <= WORST[method][sigma_hm] + 1e-4
    # Also from below: each method is told from its better ones by the error it must have.
    if method in ("argmax", "quarter"):
        assert float(error.abs().max()) > 0.98 * WORST[method][sigma_hm]
    assert float(error.mean((0, 1)).abs().max()) < 0.02
    # The best cell is at most half a cell away on each axis, and the score is its value.
    assert float(score.max()) <= 1
    assert float(score.min()) >= math.exp(-0.25 / sigma_hm**2) - 1e-4


@pytest.mark.parametrize("method", DECODINGS)
def test_rectangular_maps_keep_x_and_y_apart(method: Decoding) -> None:
    points = inside(200, margin=6, height=20, width=48)
    xy, _ = decode(encode(points, 20, 48, 1.0), method, 1.0)
    assert float((xy - points).abs().max()) <= 0.501


def test_dark_near_the_border_is_no_worse_than_the_best_cell() -> None:
    along = torch.linspace(10, 50, 400)
    across = torch.linspace(0, 4, 400)
    for points in (torch.stack([across, along], -1), torch.stack([63 - across, along], -1)):
        for xy_order in (points, points.flip(-1)):
            xy, _ = decode(encode(xy_order[None], 64, 64, 1.0), "dark", 1.0)
            assert float((xy - xy_order).abs().max()) <= 0.51


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize(
    ("cell", "sigma_hm"),
    [((0, 0), 1.0), ((11, 0), 1.0), ((0, 8), 1.0), ((11, 8), 1.0), ((0, 4), 1.0), ((5, 8), 1.0)],
)
def test_a_single_bright_cell_on_the_border_is_found(
    method: Decoding, cell: tuple[int, int], sigma_hm: float
) -> None:
    maps = torch.zeros(1, 1, 9, 12)
    maps[0, 0, cell[1], cell[0]] = 0.7
    xy, _ = decode(maps, method, sigma_hm)
    assert (xy[0, 0] - torch.tensor(cell)).abs().max() <= 0.5
    if method != "dark":
        assert xy[0, 0].tolist() == list(cell)
        assert float(decode(maps, method, sigma_hm)[1]) == pytest.approx(0.7)


QUARTER_CASES = [
    # Neighbours equal on an axis: no step on it.
    pytest.param([[0, 0, 0], [0, 1, 0], [0, 0, 0]], (1, 1), id="symmetric"),
    pytest.param([[0, 0, 0], [0.2, 1, 0.3], [0, 0, 0]], (1.25, 1), id="right is higher"),
    pytest.param([[0, 0.4, 0], [0.3, 1, 0.2], [0, 0.1, 0]], (0.75, 0.75), id="left and up are higher"),
    pytest.param([[0, 0.1, 0], [0, 1, 0], [0, 0.2, 0]], (1, 1.25), id="down is higher"),
    # At the border an axis without both neighbours stays on the cell; the other one still steps.
    pytest.param([[0, 0, 0], [1, 0.5, 0], [0.3, 0, 0]], (0, 1.25), id="left border"),
    pytest.param([[0, 0.6, 1], [0, 0, 0.5], [0, 0, 0]], (2, 0), id="upper right corner"),
    # Two equal peaks: the first in reading order.
    pytest.param([[0, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], (1, 1), id="two peaks"),
]


@pytest.mark.parametrize(("values", "expected"), QUARTER_CASES)
def test_quarter_offset_by_hand(values: list[list[float]], expected: tuple[float, float]) -> None:
    xy, score = decode(one_map(values), "quarter")
    assert xy[0, 0].tolist() == list(expected)
    assert score.tolist() == [[1]]


def test_dark_is_one_newton_step_on_the_smoothed_logarithm() -> None:
    # A Gaussian stays one under smoothing, so its logarithm is a parabola and one step is exact.
    maps = 0.3 * encode(torch.tensor([[[20.3, 30.4]]]), 64, 64, 2.0)
    xy, score = decode(maps, "dark", 2.0)
    np.testing.assert_allclose(xy[0, 0], [20.3, 30.4], atol=1e-3)
    assert float(score) == float(maps[0, 0, 30, 20])


def test_dark_follows_a_slanted_ridge() -> None:
    # A long narrow Gaussian at 30 degrees: without the mixed derivative the step would leave the ridge.
    x, y = 30.3, 25.6
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
    along, across = cos * (columns - x) + sin * (rows - y), -sin * (columns - x) + cos * (rows - y)
    ridge = torch.exp(-(along**2) / (2 * 5.0**2) - across**2 / (2 * 1.5**2))[None, None]
    np.testing.assert_allclose(decode(ridge, "dark", 1.0)[0][0, 0], [x, y], atol=1e-2)


def test_soft_is_the_centre_of_mass_of_its_window() -> None:
    # Window of 3 cells around the peak at (5, 4): the cell at 3 away counts, the one at 4 away doesn't.
    maps = torch.zeros(1, 1, 10, 12)
    maps[0, 0, 4, 5], maps[0, 0, 4, 8], maps[0, 0, 2, 5], maps[0, 0, 4, 9] = 2.0, 1.0, 1.0, 1.5
    xy, score = decode(maps, "soft", 1.0)
    np.testing.assert_allclose(xy[0, 0], [(2 * 5 + 8 + 5) / 4, (2 * 4 + 4 + 2) / 4], atol=1e-6)
    assert score.tolist() == [[2]]


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("level", [0.0, -0.5, 0.25])
def test_a_flat_map_gives_a_finite_place_inside_and_its_level(method: Decoding, level: float) -> None:
    xy, score = decode(torch.full((1, 2, 8, 6), level), method)
    assert bool(torch.isfinite(xy).all())
    assert bool(((xy >= 0) & (xy <= torch.tensor([5, 7]))).all())
    np.testing.assert_allclose(score, [[level, level]], atol=1e-6)


@pytest.mark.parametrize("method", DECODINGS)
def test_a_map_below_zero_still_gives_its_highest_cell(method: Decoding) -> None:
    maps = encode(torch.tensor([[[5.0, 3.0]]]), 9, 12, 1.0) - 2
    xy, score = decode(maps, method)
    assert xy[0, 0].tolist() == [5, 3]
    assert float(score) == pytest.approx(-1)


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_come_back_as_float32(method: Decoding, dtype: torch.dtype) -> None:
    points = inside(20, margin=10)
    maps = encode(points, 64, 64, 2.0).to(dtype)
    xy, score = decode(maps, method, 2.0)
    assert (xy.dtype, score.dtype) == (torch.float32, torch.float32)
    # bfloat16 has 8 bits, so that near the top a few cells tie.
    assert float((xy - points).abs().max()) < (0.6 if dtype != torch.bfloat16 else 1.1)


@pytest.mark.parametrize("method", DECODINGS)
def test_every_map_of_a_batch_is_decoded_alone(method: Decoding) -> None:
    maps = torch.rand(3, 4, 10, 14, generator=torch.Generator().manual_seed(1))
    before = maps.clone()
    xy, score = decode(maps, method)
    assert (xy.shape, score.shape) == ((3, 4, 2), (3, 4))
    for b in range(3):
        for j in range(4):
            alone_xy, alone_score = decode(maps[b : b + 1, j : j + 1], method)
            np.testing.assert_allclose(alone_xy[0, 0], xy[b, j], atol=1e-5)
            np.testing.assert_allclose(alone_score[0, 0], score[b, j], atol=1e-6)
    assert torch.equal(maps, before), "decode wrote into its argument"


def test_unknown_decoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'udp'.*argmax, quarter, dark, soft"):
        decode(torch.zeros(1, 1, 4, 4), "udp")  # type: ignore[arg-type]


# Positions in 1/64 of a cell are exact in float32, also mirrored, so equality may be asked for bit by bit.
exact = st.integers(-64 * 3, 64 * 35).map(lambda n: n / 64)
sixteen = st.lists(st.tuples(exact, exact), min_size=16, max_size=16)


@SETTINGS
@given(sixteen, st.sampled_from([1.0, 1.75, 2.0]), st.sampled_from([32, 31]))
def test_unflipped_targets_of_mirrored_joints_are_the_targets(
    raw: list[tuple[float, float]], sigma_hm: float, width: int
) -> None:
    permutation = torch.from_numpy(MPII16.flip_permutation)
    points = torch.tensor([raw])
    mirrored = points.clone()
    mirrored[..., 0] = width - 1 - points[..., 0]
    mirrored = mirrored[:, permutation]
    back = flip_back(encode(mirrored, 24, width, sigma_hm), permutation)
    assert torch.equal(back, encode(points, 24, width, sigma_hm))


def smooth_maps(seed: int) -> Tensor:
    """(1, 6, 24, 32) sums of Gaussians of several heights: one clear peak each, nothing symmetric."""
    generator = torch.Generator().manual_seed(seed)
    points = 6 + torch.rand(6, 3, 2, generator=generator) * torch.tensor([19.0, 11.0])
    heights = torch.tensor([1.0, 0.6, 0.3]).view(1, 3, 1, 1)
    return (encode(points, 24, 32, 1.5) * heights).sum(1).unsqueeze(0)


@pytest.mark.parametrize("method", DECODINGS)
@pytest.mark.parametrize("seed", range(5))
def test_decoding_commutes_with_mirroring_and_transposing(method: Decoding, seed: int) -> None:
    maps = smooth_maps(seed)
    xy, score = decode(maps, method, 1.5)
    mirrored, mirrored_score = decode(maps.flip(-1), method, 1.5)
    np.testing.assert_allclose(mirrored, torch.stack([31 - xy[..., 0], xy[..., 1]], -1), atol=1e-3)
    np.testing.assert_allclose(mirrored_score, score, atol=1e-6)
    turned, _ = decode(maps.transpose(-1, -2), method, 1.5)
    np.testing.assert_allclose(turned, xy.flip(-1), atol=1e-3)


@SETTINGS
@given(
    st.tuples(st.floats(8, 40), st.floats(8, 24)),
    st.floats(0.05, 20),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from(DECODINGS),
)
def test_place_does_not_depend_on_height_and_score_is_proportional(
    point: tuple[float, float], height: float, sigma_hm: float, method: Decoding
) -> None:
    maps = encode(torch.tensor([[point]]), 33, 49, sigma_hm)
    xy, score = decode(maps, method, sigma_hm)
    # A factor may break a tie between two cells, which lie half a cell to either side.
    again, higher = decode(height * maps, method, sigma_hm)
    assert float((again - xy).abs().max()) <= (0.02 if method in ("dark", "soft") else 1)
    assert float(higher) == pytest.approx(height * float(score), rel=1e-3)
    assert float((again - torch.tensor(point)).abs().max()) <= WORST[method].get(sigma_hm, 0.5) + 1e-2


def test_negative_gaussians_are_found_and_named() -> None:
    xy = torch.tensor([[[3.3, 4.6], [7.2, 2.5]]])
    maps = encode(xy, 12, 12, 1.0) * torch.tensor([1.0, -0.8])[None, :, None, None]
    plain, _ = decode(maps, "dark", 1.0)
    assert (plain[0, 1] - xy[0, 1]).abs().max() > 1  # ordinary decoding can't see it
    positive, occluded = unsigned(maps)
    found, score = decode(positive, "dark", 1.0)
    torch.testing.assert_close(found, xy, atol=0.05, rtol=0)
    assert occluded.tolist() == [[False, True]]
    assert score[0, 1].item() == pytest.approx(maps[0, 1].abs().max().item())
    assert torch.equal(positive[0, 0], maps[0, 0])
