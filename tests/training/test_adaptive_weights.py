"""The adaptive loss weights against hand-computed values and the algorithm written as plain loops."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hourglass.training.losses import NORMALISERS, adaptive_weights

FORMULAS: dict[str, Callable[[float], float]] = {
    "linear": lambda r: r,
    "half_linear": lambda r: r / 2,
    "square": lambda r: r * r,
    "exponential": lambda r: 1 - math.exp(-r),
}


def plain(losses: Any, present: Any, normaliser: str) -> tuple[list[list[float]], float]:
    """Algorithm 1 with Drucker's bounds, joint by joint, and how near a mean came to the stop."""
    stages, joints = len(losses), len(losses[0])
    w = [1 / joints] * joints
    rows, nearest = [w], math.inf
    for j in range(stages - 1):
        there = [i for i in range(joints) if present[j][i]]
        mass = sum(w[i] for i in there)
        top = max((float(losses[j][i]) for i in there), default=0.0)
        w = list(w)
        if top > 0:
            level = {i: FORMULAS[normaliser](float(losses[j][i]) / top) for i in there}
            mean = sum(w[i] / mass * level[i] for i in there)
            nearest = min(nearest, abs(mean - 0.499))
            if mean < 0.499:
                alpha = min(max(mean / (1 - mean), 1e-3), 1.0)
                raised = {i: w[i] * alpha ** (1 - level[i]) for i in there}
                z = sum(raised.values())
                for i in there:
                    w[i] = raised[i] / z * mass
        rows.append(w)
    return rows, nearest


def every(losses: Tensor) -> Tensor:
    return torch.ones(losses.shape, dtype=torch.bool)


shapes = st.tuples(st.integers(1, 7), st.integers(1, 9))
some_losses = st.one_of(st.just(0.0), st.floats(2**-20, 2**10, width=32))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, str]:
    shape = draw(shapes)
    losses = draw(hnp.arrays(np.float32, shape, elements=some_losses))
    present = draw(hnp.arrays(np.bool_, shape))
    return torch.from_numpy(losses), torch.from_numpy(present), draw(st.sampled_from(NORMALISERS))


# --- examples -------------------------------------------------------------------------------------------


def test_two_joints_by_hand() -> None:
    # L = 1/2 and 0, so the mean is 1/4, alpha 1/3, and the weights stand as 3^(1/2) : 1. Then the mean is
    # sqrt3 / (2 + 2 sqrt3), alpha 2 sqrt3 - 3, and the ratio grows by alpha^(-1/2).
    ratio = math.sqrt(3)
    later = ratio / math.sqrt(2 * math.sqrt(3) - 3)
    expected = [[0.5, 0.5], [ratio / (1 + ratio), 1 / (1 + ratio)], [later / (1 + later), 1 / (1 + later)]]
    losses = torch.tensor([[0.02, 0.0], [7.0, 0.0], [1.0, 1.0]])
    found = adaptive_weights(losses, every(losses))
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-7)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("normaliser", "mean", "easy"),
    [
        # Losses 1, 0, 0, 0: only the largest counts, with 1, 1/2, 1 and 1 - 1/e.
        ("linear", 1 / 4, 0.0),
        ("half_linear", 1 / 8, 0.0),
        ("square", 1 / 4, 0.0),
        ("exponential", (1 - math.exp(-1)) / 4, 0.0),
        # Losses 4, 1, 1, 1: the others have 1/4, 1/8, 1/16 and 1 - e^(-1/4).
        ("linear", 7 / 16, 1.0),
        ("half_linear", 7 / 32, 1.0),
        ("square", 19 / 64, 1.0),
        ("exponential", 1 - (math.exp(-1) + 3 * math.exp(-0.25)) / 4, 1.0),
    ],
)
def test_four_joints_by_hand(normaliser: str, mean: float, easy: float) -> None:
    levels = {
        "linear": (1, 1 / 4),
        "half_linear": (1 / 2, 1 / 8),
        "square": (1, 1 / 16),
        "exponential": (1 - math.exp(-1), 1 - math.exp(-0.25)),
    }
    hard, soft = levels[normaliser]
    ratio = (mean / (1 - mean)) ** (-(hard - soft * easy))
    losses = torch.tensor([[4.0, easy, easy, easy]] * 2)
    found = adaptive_weights(losses, every(losses), normaliser)[1]
    expected = torch.tensor([ratio, 1, 1, 1]) / (ratio + 3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_the_equations_as_they_stand_by_hand() -> None:
    """Losses 0.4 and 0.2: the mean is 0.3, alpha 3/7, and the weights go with alpha^0.6 and alpha^0.8."""
    losses = torch.tensor([[0.4, 0.2]] * 2)
    alpha = 3 / 7
    raised = (alpha**0.6, alpha**0.8)
    expected = torch.tensor([raised[0] / sum(raised), raised[1] / sum(raised)])
    torch.testing.assert_close(adaptive_weights(losses, every(losses), "literal")[1], expected)
    # The third row starts from the second: equation 4 as Algorithm 1 has it.
    weights = expected.double()
    mean = float((weights * torch.tensor([0.4, 0.2]).double()).sum())
    raised_again = weights * (mean / (1 - mean)) ** (1 - torch.tensor([0.4, 0.2]).double())
    again = adaptive_weights(torch.tensor([[0.4, 0.2]] * 3), torch.ones(2, dtype=torch.bool), "literal")[2]
    torch.testing.assert_close(again.double(), raised_again / raised_again.sum(), rtol=1e-5, atol=1e-7)


def test_what_the_equations_do_to_real_losses() -> None:
    # Mean squares: a hundred times the error moves a weight by three thousandths.
    small = torch.tensor([[1e-5, 1e-3]] * 2)
    found = adaptive_weights(small, every(small), "literal")[1]
    assert 1 < (found[1] / found[0]).item() < 1.01
    # A mean above one half turns to the easy joint; from 1 on there is no real value, and nothing moves.
    large = torch.tensor([[0.9, 0.5]] * 2)
    found = adaptive_weights(large, every(large), "literal")[1]
    assert found[1] > found[0]
    for values in ([1.5, 1.0], [1.0, 1.0], [0.0, 0.0], [math.nan, 0.5], [math.inf, 0.5]):
        none = torch.tensor([values] * 2)
        assert torch.equal(adaptive_weights(none, every(none), "literal")[1], torch.tensor([0.5, 0.5]))


def test_an_absent_joint_plays_no_part_in_the_equations_either() -> None:
    losses = torch.tensor([[0.4, math.nan, 0.2]] * 2)
    found = adaptive_weights(losses, torch.tensor([True, False, True]), "literal")[1]
    two = adaptive_weights(torch.tensor([[0.4, 0.2]] * 2), torch.ones(2, dtype=torch.bool), "literal")[1]
    torch.testing.assert_close(found, torch.tensor([two[0] * 2 / 3, 1 / 3, two[1] * 2 / 3]))


def test_an_absent_joint_keeps_its_weight_and_the_others_share_the_rest() -> None:
    losses = torch.tensor([[1.0, 50.0, 0.0]] * 2)
    found = adaptive_weights(losses, torch.tensor([True, False, True]))
    ratio = math.sqrt(3)
    expected = torch.tensor([2 / 3 * ratio / (1 + ratio), 1 / 3, 2 / 3 / (1 + ratio)])
    torch.testing.assert_close(found[1], expected, rtol=1e-6, atol=1e-7)
    assert found[1, 1] == found[0, 1]


# --- against the loops ----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(cases())
def test_equals_the_loops(case: tuple[Tensor, Tensor, str]) -> None:
    losses, present, normaliser = case
    expected, nearest = plain(losses.tolist(), present.tolist(), normaliser)
    assume(nearest > 1e-5)  # Nearer, single and double precision may fall on two sides of the stop.
    found = adaptive_weights(losses, present, normaliser)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_what_holds_for_any_losses(case: tuple[Tensor, Tensor, str]) -> None:
    losses, present, normaliser = case
    found = adaptive_weights(losses, present, normaliser)
    stages, joints = losses.shape
    assert torch.equal(found[0], torch.full((joints,), 1 / joints))
    torch.testing.assert_close(found.sum(1), torch.ones(stages), rtol=0, atol=1e-5)
    assert bool((found > 0).all())
    # Since the mean of alpha^-L is at most 2 (it is convex in L), no weight more than halves.
    assert bool((found[1:] >= found[:-1] * (0.5 - 1e-5)).all())
    assert torch.equal(found[1:][~present[:-1]], found[:-1][~present[:-1]])
    assert torch.equal(found, adaptive_weights(losses, present, normaliser))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_who_was_never_the_easier_one_is_never_the_lighter_one(case: tuple[Tensor, Tensor, str]) -> None:
    # Exactly: of two joints present at stages 0..j, where one's loss is nowhere below the other's, the
    # one's weight at stage j + 1 is not below the other's. (All joints start with the same weight.)
    losses, present, normaliser = case
    found = adaptive_weights(losses, present, normaliser)
    joints = losses.shape[1]
    for a in range(joints):
        for b in range(joints):
            for j in range(len(losses) - 1):
                both = present[: j + 1, a] & present[: j + 1, b]
                if bool((both & (losses[: j + 1, a] >= losses[: j + 1, b])).all()):
                    assert found[j + 1, a] >= found[j + 1, b] * (1 - 1e-5)


@settings(max_examples=25, deadline=None)
@given(cases(), st.permutations(range(9)), st.integers(-10, 10))
def test_neither_the_order_of_joints_nor_the_unit_of_loss_matters(
    case: tuple[Tensor, Tensor, str], order: list[int], power: int
) -> None:
    losses, present, normaliser = case
    _, nearest = plain(losses.tolist(), present.tolist(), normaliser)
    assume(nearest > 1e-5)
    found = adaptive_weights(losses, present, normaliser)
    assert torch.equal(found, adaptive_weights(losses * 2.0**power, present, normaliser))
    keep = [i for i in order if i < losses.shape[1]]
    shuffled = adaptive_weights(losses[:, keep], present[:, keep], normaliser)
    torch.testing.assert_close(shuffled, found[:, keep], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("value", [0.0, 1e-30, 0.3, 4e7])
def test_equal_losses_move_nothing(normaliser: str, value: float) -> None:
    found = adaptive_weights(torch.full((5, 7), value), torch.ones(7, dtype=torch.bool), normaliser)
    assert torch.equal(found, found[:1].expand(5, 7))


def test_a_later_stage_moves_what_an_earlier_one_left() -> None:
    # Stage 0 has nothing to say and stage 1 has: row 1 is even, row 2 isn't. Row j looks at stage j - 1.
    losses = torch.tensor([[2.0, 2.0, 2.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    found = adaptive_weights(losses, every(losses))
    assert torch.equal(found[1], found[0])
    assert found[2, 0] > found[2, 1] > found[2, 2]
    losses[2] = 0
    assert torch.equal(adaptive_weights(losses, every(losses)), found), "the last losses weigh nothing"


# --- FACTS F4: how the paper's bare equations behave ------------------------------------------------------

# Losses of 16 joints as an hourglass has them, the hardest four times the easiest or more.
PROFILE = [0.215, 0.28, 0.34, 0.39, 0.45, 0.51, 0.57, 0.63, 0.69, 0.74, 0.79, 0.83, 0.87, 0.91, 0.95, 1.0]


def bare_step(levels: list[float]) -> list[float]:
    """Equations 3 to 6 with nothing added, from even weights."""
    mean = sum(levels) / len(levels)
    alpha = mean / (1 - mean)
    raised = [alpha ** (1 - level) for level in levels]
    return [r / sum(raised) for r in raised]


def test_the_profile_is_the_one_of_the_notes() -> None:
    means = {n: sum(map(f, PROFILE)) / 16 for n, f in FORMULAS.items()}
    assert means["linear"] == pytest.approx(0.63, abs=0.01)
    assert means["half_linear"] == pytest.approx(0.317, abs=0.005)
    assert means["square"] == pytest.approx(0.464, abs=0.01)
    assert means["exponential"] == pytest.approx(0.452, abs=0.01)


def test_linear_would_move_weights_to_the_easy_joints_and_stops_instead() -> None:
    easiest, *_, hardest = bare_step(PROFILE)
    assert easiest / hardest == pytest.approx(1.53, abs=0.03)
    losses = torch.tensor([PROFILE] * 8) * 3e-4
    found = adaptive_weights(losses, every(losses), "linear")
    assert torch.equal(found, torch.full((8, 16), 1 / 16))


@pytest.mark.parametrize("mean", [0.4985, 0.4995, 0.55, 0.9])
def test_the_stop_lies_at_a_mean_of_0499(mean: float) -> None:
    rest = (4 * mean - 1) / 3  # The mean of 1 and three times this.
    losses = torch.tensor([[1.0, rest, rest, rest]] * 2)
    found = adaptive_weights(losses, every(losses), "linear")
    if mean > 0.499:
        assert torch.equal(found[1], found[0])
    else:
        expected = (mean / (1 - mean)) ** (rest - 1)
        assert float(found[1, 0] / found[1, 1]) == pytest.approx(expected, rel=1e-5)
        assert expected > 1.003


@pytest.mark.parametrize(("normaliser", "ratio"), [("half_linear", 1.35), ("square", 1.15)])
def test_the_other_normalisers_move_them_to_the_hard_ones(normaliser: str, ratio: float) -> None:
    losses = torch.tensor([PROFILE] * 2)
    found = adaptive_weights(losses, every(losses), normaliser)[1]
    assert float(found[-1] / found[0]) == pytest.approx(ratio, abs=0.02)


def test_seven_updates_of_half_linear() -> None:
    losses = torch.tensor([PROFILE] * 8)
    last = adaptive_weights(losses, every(losses))[-1]
    assert float(last[-1]) == pytest.approx(0.121, abs=0.01)
    assert float(last[0]) == pytest.approx(0.022, abs=0.003)


def test_sums_of_squares_above_one_are_no_trouble() -> None:
    sums = [r * 2.25 for r in PROFILE]
    mean = sum(sums) / 16
    assert mean == pytest.approx(1.43, abs=0.02)
    assert mean / (1 - mean) < 0, "a negative base: the bare equations end here"
    losses = torch.tensor([sums] * 8)
    found = adaptive_weights(losses, every(losses))
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found, adaptive_weights(losses / losses.max(), every(losses)))


# --- numbers that are none, devices, autocast -------------------------------------------------------------


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_moves_nothing_at_its_stage(normaliser: str, bad: float) -> None:
    losses = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.5, 0.0], [4.0, 0.0, 0.5], [1.0, 1.0, 1.0]])
    good = adaptive_weights(losses[[0, 2, 3]], every(losses[:3]), normaliser)
    losses[1, 1] = bad
    found = adaptive_weights(losses, every(losses), normaliser)
    assert torch.equal(found[2], found[1])
    assert torch.equal(found[[0, 1, 3]], good)
    assert good[1, 0] > good[0, 0]


def test_an_absent_joint_may_hold_anything() -> None:
    losses, present = torch.tensor([[4.0, 1.0, 0.0]] * 3), torch.tensor([True, True, False])
    expected = adaptive_weights(losses, present)
    assert expected[1, 0] > expected[1, 1]
    for value in (math.nan, math.inf, 1e9, -3.0):
        losses[:, 2] = value
        assert torch.equal(adaptive_weights(losses, present), expected)


def test_nobody_present_moves_nothing() -> None:
    found = adaptive_weights(torch.tensor([[4.0, 1.0]] * 3), torch.zeros(2, dtype=torch.bool))
    assert torch.equal(found, torch.full((3, 2), 0.5))


def test_presence_per_joint_is_presence_at_every_stage() -> None:
    losses = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([True, False, True, True, False])
    assert torch.equal(adaptive_weights(losses, present), adaptive_weights(losses, present.expand(4, 5)))


def test_weights_carry_no_gradient() -> None:
    losses = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = adaptive_weights(losses, every(losses))
    assert not found.requires_grad
    (found * losses).sum().backward()  # type: ignore[no-untyped-call]
    assert losses.grad is not None
    torch.testing.assert_close(losses.grad, found)


def test_nothing_is_read_from_the_device() -> None:
    # A tensor on `meta` has no values, so reading one would raise.
    losses = torch.empty(8, 16, device="meta")
    found = adaptive_weights(losses, torch.empty(16, dtype=torch.bool, device="meta"), "exponential")
    assert (found.device.type, found.shape, found.dtype) == ("meta", (8, 16), torch.float32)


def test_single_precision_whatever_comes_in() -> None:
    # Eighths up to 32 are exact in 8 bits, so only the arithmetic inside could differ.
    losses = torch.randint(1, 32, (6, 9), generator=torch.Generator().manual_seed(1)) / 8
    expected = adaptive_weights(losses, every(losses))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adaptive_weights(losses, every(losses)), expected)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(adaptive_weights(losses.to(dtype), every(losses)), expected)


# --- what is refused --------------------------------------------------------------------------------------


def test_an_unknown_normaliser_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"normaliser must be one of linear, .*exponential, literal, not 'max'"
    ):
        adaptive_weights(torch.ones(2, 2), torch.ones(2, dtype=torch.bool), "max")


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0)])
def test_losses_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"losses must be \(stages, joints\), at least one of each, not \("):
        adaptive_weights(torch.ones(shape), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (torch.ones(2, 3), r"present must be bool and \(2, 3\) or \(3,\), not torch.float32 and \(2, 3\)"),
        (torch.ones(2, dtype=torch.bool), r"not torch.bool and \(2,\)"),
        (torch.ones(1, 3, dtype=torch.bool), r"not torch.bool and \(1, 3\)"),
    ],
)
def test_presence_of_another_shape_is_refused(present: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adaptive_weights(torch.ones(2, 3), present)
