"""Softmax, its loss and the schedule against plain loops, closed forms and hand-made cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hourglass.models.heatmap import decode, encode
from hourglass.models.spatial_softmax import (
    cross_entropy,
    normalise_maps,
    scheduled_truth,
    spatial_softmax,
    unit_peak,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- softmax --------------------------------------------------------------------------------------------


def test_softmax_equals_a_plain_loop() -> None:
    logits = noise(2, 3, 4, 5)
    ours = spatial_softmax(logits)
    assert ours.shape == logits.shape
    for b in range(2):
        for j in range(3):
            total = sum(math.exp(float(v)) for v in logits[b, j].flatten())
            for row in range(4):
                for column in range(5):
                    expected = math.exp(float(logits[b, j, row, column])) / total
                    assert float(ours[b, j, row, column]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_softmax_is_float32_and_survives_large_logits(dtype: torch.dtype) -> None:
    logits = torch.full((1, 2, 3, 3), -3e4).to(dtype)
    logits[0, 0, 1, 2] = 3e4
    with torch.autocast("cpu", torch.bfloat16):
        ours = spatial_softmax(logits)
    assert ours.dtype == torch.float32
    assert float(ours[0, 0, 1, 2]) == 1
    # All logits equal: even, however low they are.
    torch.testing.assert_close(ours[0, 1], torch.full((3, 3), 1 / 9))
    assert spatial_softmax(logits.double()).dtype == torch.float64


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000), st.floats(-1e4, 1e4), st.floats(0.01, 300), st.tuples(*[st.integers(1, 9)] * 3)
)
def test_softmax_sums_to_one_and_ignores_a_shift(
    seed: int, shift: float, scale: float, size: tuple[int, int, int]
) -> None:
    logits = (noise(2, *size, seed=seed) * scale).double()
    ours = spatial_softmax(logits)
    torch.testing.assert_close(ours.sum((-1, -2)), torch.ones(2, size[0]).double())
    torch.testing.assert_close(spatial_softmax(logits + shift), ours, rtol=1e-6, atol=1e-9)


def test_normalised_maps_sum_to_one_and_empty_ones_stay_empty() -> None:
    maps = torch.tensor([[[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[math.nan, 1.0], [0.0, 0.0]]]])
    expected = torch.tensor(
        [[[0.125, 0.375], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    )
    assert torch.equal(normalise_maps(maps), expected[None])
    assert torch.equal(normalise_maps(maps * 64), expected[None])


# --- cross-entropy --------------------------------------------------------------------------------------


def brute_force(logits: Tensor, points: Tensor, sigma: float, weight: Tensor) -> list[float]:
    """Loop over everything in double precision; the reader sees the formula and no shared code."""
    batch, joints, height, width = logits.shape
    cells = [(row, column) for row in range(height) for column in range(width)]
    terms = []
    for j in range(joints):
        over, under = 0.0, 0.0
        for b in range(batch):
            w = float(weight[b, j])
            if not w:
                continue
            x, y = (float(v) for v in points[b, j])
            target = {(r, c): math.exp(-((c - x) ** 2 + (r - y) ** 2) / (2 * sigma**2)) for r, c in cells}
            mass = sum(target.values())
            log_total = math.log(sum(math.exp(float(logits[b, j, r, c])) for r, c in cells))
            value = sum(target[r, c] / mass * (log_total - float(logits[b, j, r, c])) for r, c in cells)
            over, under = over + w * value, under + w
        terms.append(over / under if under else 0.0)
    return terms


def test_cross_entropy_equals_a_plain_loop() -> None:
    logits = 3 * noise(3, 4, 7, 9)
    points = (
        torch.tensor([[[4.0, 3.0], [2.3, 5.8], [0.0, 0.0], [8.6, -0.7]]]).repeat(3, 1, 1) + noise(3, 4, 2) / 9
    )
    weight = torch.tensor([[1.0, 0, 1, 0], [1, 0.5, 0, 0], [0, 2, 1, 0]])
    ours = cross_entropy(logits, points, 1.3, weight)
    assert (ours.shape, ours.dtype) == ((4,), torch.float32)
    assert ours.tolist() == pytest.approx(brute_force(logits, points, 1.3, weight), rel=1e-5)
    assert float(ours[3]) == 0


def test_the_best_answer_scores_the_entropy_and_an_even_one_the_number_of_cells() -> None:
    sigma, points, weight = 1.5, torch.tensor([[[16.2, 14.9]]]), torch.ones(1, 1)
    entropy = 1 + math.log(2 * math.pi * sigma**2)
    # The logarithm of the Gaussian is the answer that reproduces it.
    columns, rows = torch.arange(32.0), torch.arange(32.0).unsqueeze(-1)
    best = -((columns - 16.2) ** 2 + (rows - 14.9) ** 2) / (2 * sigma**2)
    assert float(cross_entropy(best[None, None], points, sigma, weight)) == pytest.approx(entropy, rel=1e-3)
    even = torch.zeros(1, 1, 32, 32)
    assert float(cross_entropy(even, points, sigma, weight)) == pytest.approx(math.log(32 * 32))


def test_joints_far_outside_or_unlabelled_neither_count_nor_spoil_the_gradient() -> None:
    inside = [5.0, 4.0]
    lost = [[-4.5, 4.0], [5.0, 1e6], [math.nan, 4.0], [math.inf, 4.0], inside]
    points = torch.tensor([[inside] * 5, lost])
    weight = torch.ones(2, 5)
    weight[1, 4] = 0
    logits = noise(1, 1, 10, 12).repeat(2, 5, 1, 1).requires_grad_()
    terms = cross_entropy(logits, points, 1.0, weight)
    # In every column only the first person counts, and that one is the same in all.
    values = terms.detach().tolist()
    assert values == pytest.approx([values[0]] * 5)
    assert values[0] > 1
    terms.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert float(logits.grad[1].abs().max()) == 0
    assert float(logits.grad[0].abs().max()) > 0


@pytest.mark.parametrize(("x", "counts"), [(-3.0, True), (-4.0, False), (13.9, True), (15.2, False)])
def test_a_joint_counts_until_about_three_and_a_half_sigma_outside(x: float, counts: bool) -> None:
    term = cross_entropy(torch.zeros(1, 1, 10, 12), torch.tensor([[[x, 4.0]]]), 1.0, torch.ones(1, 1))
    assert float(term) == (pytest.approx(math.log(120)) if counts else 0)


def test_nobody_labelled_is_zero_with_a_zero_gradient() -> None:
    logits = noise(2, 3, 4, 4).requires_grad_()
    terms = cross_entropy(logits, torch.full((2, 3, 2), math.nan), 1.0, torch.zeros(2, 3))
    assert terms.detach().tolist() == [0, 0, 0]
    terms.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0


def test_the_gradient_is_answer_minus_target_and_lifts_the_right_cell() -> None:
    points = torch.tensor([[[6.0, 2.0], [1.0, 5.0]]])
    logits = noise(1, 2, 8, 10).requires_grad_()
    cross_entropy(logits, points, 1.0, torch.ones(1, 2)).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    target = encode(points, 8, 10, 1.0)
    target = target / target.sum((-1, -2), keepdim=True)
    expected = logits.detach().flatten(2).softmax(-1).view(1, 2, 8, 10) - target
    torch.testing.assert_close(logits.grad, expected)
    assert decode(-logits.grad, "argmax")[0].tolist() == points.tolist()


def test_cross_entropy_is_float32_under_autocast() -> None:
    points, weight = torch.tensor([[[3.0, 3.0], [1.2, 5.0]]]), torch.ones(1, 2)
    logits = noise(1, 2, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        under = cross_entropy(logits, points, 1.0, weight)
    assert under.dtype == torch.float32
    assert torch.equal(under, cross_entropy(logits.float(), points, 1.0, weight))


@pytest.mark.parametrize("sigma_hm", [1.0, 1.75])
def test_a_perfect_answer_has_the_peaks_of_heatmaps(sigma_hm: float) -> None:
    points = torch.tensor([[[12.0, 9.0], [10.4, 14.7]]])
    target = encode(points, 24, 24, sigma_hm)
    answer = unit_peak(normalise_maps(target), sigma_hm)
    torch.testing.assert_close(answer, target, rtol=1e-3, atol=1e-4)
    xy, score = decode(answer, "dark", sigma_hm)
    torch.testing.assert_close(xy, points, rtol=0, atol=1e-2)
    assert float(score[0, 0]) == pytest.approx(1, abs=1e-3)


# --- when to feed the truth -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "decay", "share"),
    [(0, 1.0, 1.0), (0, 0.5, 1.0), (125, 0.5, 0.75), (250, 0.5, 0.5), (250, 1.0, 0.75), (900, 1.0, 0.1)],
)
def test_the_share_of_truth_falls_in_a_straight_line(step: int, decay: float, share: float) -> None:
    draw = scheduled_truth(step, 1000, 400, 50, seed=3, decay=decay)
    assert (draw.shape, draw.dtype, draw.device.type) == ((400, 50), torch.bool, "cpu")
    spread = math.sqrt(share * (1 - share) / 20_000)
    assert float(draw.double().mean()) == pytest.approx(share, abs=4 * spread)
    # Drawn per person and per joint, not once for a row or a column.
    if 0 < share < 1:
        assert int(draw.double().std(0).gt(0).sum()) == 50
        assert int(draw.double().std(1).gt(0).sum()) > 350


def test_after_the_decay_the_network_is_on_its_own() -> None:
    for step in (500, 501, 999, 5000):
        assert not bool(scheduled_truth(step, 1000, 64, 16, seed=0, decay=0.5).any())
    assert bool(scheduled_truth(480, 1000, 64, 16, seed=0, decay=0.5).any())
    assert not bool(scheduled_truth(0, 1000, 64, 16, seed=0, decay=0.0).any())


def test_the_draw_is_a_function_of_seed_and_step() -> None:
    def draw(step: int, seed: int) -> Tensor:
        # The plain generator's state must not matter, nor be touched.
        torch.manual_seed(step)
        before = torch.get_rng_state()
        drawn = scheduled_truth(step, 100, 16, 16, seed, 1.0)
        assert torch.equal(torch.get_rng_state(), before)
        return drawn

    assert torch.equal(draw(50, 1), draw(50, 1))
    assert not torch.equal(draw(50, 1), draw(51, 1))
    assert not torch.equal(draw(50, 1), draw(50, 2))
    # Neighbouring steps are drawn anew: half of the cells agree, as for strangers.
    assert 0.4 < float((draw(50, 1) == draw(51, 1)).double().mean()) < 0.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decay": 1.5}, "decay must be a share of the run between 0 and 1, not 1.5"),
        ({"decay": -0.1}, "decay must be a share"),
        ({"decay": math.nan}, "decay must be a share"),
        ({"step": -1}, "step -1 of total_steps 10: steps start at 0"),
        ({"total_steps": 0}, "step 1 of total_steps 0: .* 1 or more"),
        ({"seed": -4}, "seed must be 0 or more, not -4"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(change: dict[str, float], message: str) -> None:
    given: dict[str, float] = {"step": 1, "total_steps": 10, "seed": 0, "decay": 0.5} | change
    with pytest.raises(ValueError, match=message):
        scheduled_truth(
            int(given["step"]), int(given["total_steps"]), 2, 2, int(given["seed"]), given["decay"]
        )
