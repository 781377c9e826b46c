"""The five designs of the workshop paper: counts, the ways they relate, and a second implementation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hourglass.models.ablations import (
    DesignRow,
    compare_designs,
    hg,
    hg_int,
    hg_stacked,
    hg_stacked_add,
    hg_stacked_int,
)
from plain_layers import (
    State,
    answers,
    chain,
    conv,
    convolve,
    dead_parameters,
    enlarge,
    halve,
    in_double,
    lin,
    normalised,
    parameters,
    picture,
    post_activation,
    post_residual,
    under_autocast,
    with_known_weights,
    workshop_hourglass,
)

Design = Callable[..., Any]

DESIGNS: dict[str, Design] = {
    "HG": hg,
    "HG-Int": hg_int,
    "HG-Stacked": hg_stacked,
    "HG-Stacked-Int": hg_stacked_int,
    "HG-Stacked-Add": hg_stacked_add,
}
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
WIDE = picture(32, 64)


# --- layers and parameters ------------------------------------------------------------------------------
# Pairs of (convolutions, parameters), added up from the paper's description.


def conv_of(i: int, o: int) -> Tensor:
    return torch.tensor([1, conv(i, o)])


def lin_of(i: int, o: int, kernel: int = 1) -> Tensor:
    return torch.tensor([1, conv(i, o, kernel) + 2 * o])


def residual(i: int, o: int) -> Tensor:
    return torch.tensor([3 if i == o else 4, post_activation(i, o)])


def start(f: int) -> Tensor:
    half = f // 2
    return lin_of(3, f // 4, 7) + residual(f // 4, half) + 2 * residual(half, half) + residual(half, f)


def single(joints: int, f: int, depth: int, heads: int) -> Tensor:
    level = 5 * residual(f, f) + residual(f, 2 * f) + 6 * residual(f, f) + 3 * residual(2 * f, 2 * f)
    end = 2 * lin_of(2 * f, 2 * f) + conv_of(2 * f, joints)
    bottom = residual(f, 2 * f) + residual(2 * f, 2 * f)
    return start(f) + depth * level + bottom + end + heads * (lin_of(2 * f, f) + conv_of(f, joints))


def stacked(joints: int, f: int, depth: int, feedback: bool) -> Tensor:
    wide, merged = 2 * f, f + f // 2
    total = start(f) + lin_of(wide, wide) + lin_of(wide, f) + 2 * lin_of(wide, wide) + conv_of(wide, joints)
    for entering in (f, merged):
        total = total + residual(f, wide)
        for i in [entering] + [f] * (depth - 1):
            total = total + 2 * residual(i, f) + 3 * residual(f, f) + residual(f, wide) + residual(wide, wide)
    if feedback:
        total = total + conv_of(f, joints) + conv_of(merged, merged) + conv_of(joints, merged)
    return total


@pytest.fixture(scope="module")
def rows() -> dict[str, DesignRow]:
    return {row.name: row for row in compare_designs()}


@pytest.mark.parametrize(
    ("name", "convolutions", "count", "by_hand"),
    [
        ("HG", 209, 26_108_688, single(16, 256, 4, heads=0)),
        ("HG-Int", 213, 26_380_592, single(16, 256, 4, heads=2)),
        ("HG-Stacked", 206, 26_212_368, stacked(16, 256, 4, feedback=False)),
        ("HG-Stacked-Int", 209, 26_370_848, stacked(16, 256, 4, feedback=True)),
        ("HG-Stacked-Add", 209, 26_370_848, stacked(16, 256, 4, feedback=True)),
    ],
)
def test_sizes_at_the_published_width(
    rows: dict[str, DesignRow], name: str, convolutions: int, count: int, by_hand: Tensor
) -> None:
    row = rows[name]
    assert [row.convolutions, row.parameters] == [convolutions, count] == by_hand.tolist()


def test_single_hourglasses_have_the_size_of_the_stacked_ones(rows: dict[str, DesignRow]) -> None:
    # The paper: the same number of layers and approximately the same number of parameters.
    assert list(rows) == list(DESIGNS)
    for name, counterpart in (("HG", "HG-Stacked"), ("HG-Int", "HG-Stacked-Int")):
        row, other = rows[name], rows[counterpart]
        assert row.counterpart == counterpart
        assert row.convolution_ratio == pytest.approx(row.convolutions / other.convolutions)
        assert row.parameter_ratio == pytest.approx(row.parameters / other.parameters)
        assert row.convolution_ratio == pytest.approx(1, abs=0.02)
        assert row.parameter_ratio == pytest.approx(1, abs=0.02)
    # Published.
    assert round(rows["HG-Stacked"].parameters / 1e6, 3) == 26.212
    assert round(rows["HG-Stacked-Int"].parameters / 1e6, 3) == 26.371
    for name in ("HG-Stacked", "HG-Stacked-Int", "HG-Stacked-Add"):
        assert (rows[name].convolution_ratio, rows[name].parameter_ratio) == (1, 1)
    assert rows["HG-Stacked-Add"].counterpart == "HG-Stacked-Int"


@pytest.mark.parametrize(("joints", "features", "depth"), [(1, 4, 3), (17, 20, 3), (40, 8, 4)])
def test_every_number_of_the_functions_counts(joints: int, features: int, depth: int) -> None:
    by_hand = {
        "HG": single(joints, features, depth, heads=0),
        "HG-Int": single(joints, features, depth, heads=2),
        "HG-Stacked": stacked(joints, features, depth, feedback=False),
        "HG-Stacked-Int": stacked(joints, features, depth, feedback=True),
        "HG-Stacked-Add": stacked(joints, features, depth, feedback=True),
    }
    for name, design in DESIGNS.items():
        net = design(joints, features, depth)
        assert parameters(net) == by_hand[name][1]


# --- shapes and options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("joints", [1, 14, 40])
def test_shapes_of_the_supervised_heatmaps(joints: int) -> None:
    full, half, quarter = (2, joints, 8, 16), (2, joints, 4, 8), (2, joints, 2, 4)
    shapes = {
        "HG": [full],
        "HG-Int": [quarter, half, full],
        "HG-Stacked": [full],
        "HG-Stacked-Int": [full, full],
        "HG-Stacked-Add": [full],
    }
    for name, design in DESIGNS.items():
        net = design(joints, 8, 3)
        assert [o.shape for o in net(WIDE)] == shapes[name]
        assert (net.output, net.stride) == ("heatmap", 4)


def test_three_resolutions_need_three_levels() -> None:
    for depth in (1, 2):
        with pytest.raises(ValueError, match=f"depth must be at least 3 .* not {depth}"):
            hg_int(3, 8, depth)
        (answer,) = hg(3, 8, depth)(WIDE)
        assert answer.shape == (2, 3, 8, 16)


@every_design
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"features": 6}, "features must be a positive multiple of 4, not 6"),
        ({"mean": (0.5,)}, "mean and std are three numbers each"),
    ],
)
def test_options_that_make_no_network_are_refused(
    design: Design, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        design(**({"joints": 3, "features": 8, "depth": 3} | change))


@every_design
def test_sizes_that_do_not_divide_are_refused(design: Design) -> None:
    with pytest.raises(ValueError, match=r"32 x 48 px does not fit 3 poolings.*multiples of 32"):
        design(3, 8, 3)(picture(32, 48))


@every_design
def test_mean_and_std_are_applied_per_channel(design: Design) -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net, plain = (with_known_weights(design(3, 8, 3, *more)) for more in ((mean, std), ()))
    image = WIDE.float() / 255
    by_hand = normalised(image, mean, std)
    with torch.inference_mode():
        torch.testing.assert_close(net(WIDE)[-1], plain(by_hand)[-1], rtol=1e-4, atol=1e-5)


# --- gradients and precision ------------------------------------------------------------------------------


@every_design
def test_every_parameter_learns(design: Design) -> None:
    torch.manual_seed(0)
    assert dead_parameters(design(3, 16, 3), picture(64, 64)) == []


@every_design
def test_bf16_autocast_stays_close_to_float32(design: Design) -> None:
    net, image = with_known_weights(design(3, 16, 3)), WIDE
    for ours, theirs in under_autocast(net, image):
        assert ours.dtype == torch.bfloat16
        # bf16 keeps 8 bits: a part in 256 a layer, here of some 100 in a row.
        assert float((ours.float() - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


# --- how the designs relate -------------------------------------------------------------------------------


def test_extra_losses_leave_the_single_hourglass_as_it_is() -> None:
    supervised = with_known_weights(hg_int(3, 8, 3))
    plain = hg(3, 8, 3).eval()
    left = plain.load_state_dict(supervised.state_dict(), strict=False)
    assert left.missing_keys == []
    assert {key.split(".")[0] for key in left.unexpected_keys} == {"inner_heads"}
    assert torch.equal(answers(plain, WIDE)[0], answers(supervised, WIDE)[-1])


def test_sum_design_is_the_intermediate_one_with_its_heatmaps_added() -> None:
    intermediate, added = with_known_weights(hg_stacked_int(3, 8, 2)), hg_stacked_add(3, 8, 2).eval()
    added.load_state_dict(intermediate.state_dict())
    first, second = answers(intermediate, WIDE)
    (total,) = answers(added, WIDE)
    torch.testing.assert_close(total, first + second)


def test_stacked_design_is_the_intermediate_one_without_feedback() -> None:
    # A merge that copies the features and drops the heatmaps is no merge.
    intermediate, stacked_only = with_known_weights(hg_stacked_int(3, 8, 2)), hg_stacked(3, 8, 2).eval()
    state = intermediate.state_dict()
    state["merge_features.weight"].copy_(torch.eye(12).view(12, 12, 1, 1))
    for name in ("merge_features.bias", "merge_heatmaps.weight", "merge_heatmaps.bias"):
        state[name].zero_()
    weights = {k.replace("heads.1.", "head."): v for k, v in state.items()}
    left = stacked_only.load_state_dict(weights, strict=False)
    assert left.missing_keys == []
    (answer,) = answers(stacked_only, WIDE)
    torch.testing.assert_close(answer, answers(intermediate, WIDE)[1])


# --- a second implementation ------------------------------------------------------------------------------
# Over the state dict, level within level, as the paper draws them.


def residuals(s: State, at: str, x: Tensor, count: int) -> Tensor:
    return post_residual(s, at, x) if count == 1 else chain(s, at, x, count, post_residual)


def single_reference(s: State, image: Tensor, depth: int) -> list[Tensor]:
    """Heatmaps of the two levels inside the outermost one, the inner first, then the answer."""
    heatmaps = []

    def hourglass(x: Tensor, level: int) -> Tensor:
        low = residuals(s, f"hourglass.before.{level}", halve(x), 6)
        low = hourglass(low, level + 1) if level + 1 < depth else residuals(s, "hourglass.bottom", low, 2)
        low = residuals(s, f"hourglass.after.{depth - 1 - level}", low, 3)
        out = residuals(s, f"hourglass.up.{level}", x, 6) + enlarge(low)
        if level in (1, 2):
            at = f"inner_heads.{2 - level}"
            heatmaps.append(convolve(s, f"{at}.1", lin(s, f"{at}.0", out)))
        return out

    pooled = halve(residuals(s, "stem.1", lin(s, "stem.0", image, stride=2), 1))
    out = hourglass(residuals(s, "widen", pooled, 3), 0)
    return [*heatmaps, convolve(s, "head", lin(s, "neck.1", lin(s, "neck.0", out)))]


@pytest.mark.parametrize("depth", [3, 4])
def test_single_hourglass_equals_the_second_implementation(depth: int) -> None:
    net = with_known_weights(hg_int(3, 8, depth)).double()
    image = in_double(picture(64, 64))
    with torch.inference_mode():
        expected = single_reference(net.state_dict(), image, depth)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_stacked_design_equals_the_second_implementation() -> None:
    net = with_known_weights(hg_stacked(3, 8, 2)).double()
    s, image = net.state_dict(), in_double(WIDE)

    with torch.inference_mode():
        pooled = halve(residuals(s, "stem.1", lin(s, "stem.0", image, stride=2), 1))
        y = workshop_hourglass(s, "hourglasses.0", residuals(s, "widen", pooled, 3), 2)
        y = lin(s, "necks.0.1", lin(s, "necks.0.0", y))
        y = workshop_hourglass(s, "hourglasses.1", torch.cat([y, pooled], 1), 2)
        expected = convolve(s, "head", lin(s, "necks.1.1", lin(s, "necks.1.0", y)))
        (answer,) = net(image)
    torch.testing.assert_close(answer, expected, rtol=1e-9, atol=1e-9)


# --- golden values ----------------------------------------------------------------------------------------
# Computed once with known weights. A failure means that a design answers otherwise than it did, so weights
# that users trained are worth nothing any more: repair the design, don't renew the numbers.

GOLDEN = {
    "HG": [[0.213011, 0.186281, 0.567629, 0.286785]],
    "HG-Int": [
        [-0.147780, 0.278348, 0.439536, 0.097536],
        [-0.646858, 0.051360, -0.163413, -0.256010],
        [-0.317243, -0.087390, 0.369522, -0.005282],
    ],
    "HG-Stacked": [[-0.057259, -0.036831, 0.362470, 0.100337]],
    "HG-Stacked-Int": [
        [0.377280, -0.322188, -0.215125, -0.065071],
        [0.286077, 0.256490, -0.311451, 0.122133],
    ],
    "HG-Stacked-Add": [[0.663357, -0.065698, -0.526576, 0.057061]],
}


@pytest.mark.parametrize("name", DESIGNS)
def test_answers_are_what_they_always_were(name: str) -> None:
    outputs = answers(with_known_weights(DESIGNS[name](3, 8, 3)), WIDE)
    for output, values in zip(outputs, GOLDEN[name], strict=True):
        some = [output[0, 0, 0, 0], output[1, 1, 1, 2], output[0, 2, -1, -1], output[1].mean()]
        assert torch.stack(some).tolist() == pytest.approx(values, abs=1e-4)
