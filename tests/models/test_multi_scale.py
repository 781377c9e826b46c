"""The multi-scale network: sizes, gradients and options; its answers are in `test_multi_scale_reference`."""

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hourglass.models.multi_scale import MultiScaleStackedHourglass, default_strides, mssh
from plain_layers import (
    conv,
    dead_parameters,
    float_picture,
    inception,
    live_statistics,
    normalised,
    parameters,
    pre_activation,
    under_autocast,
)

Strides = tuple[int, ...]

TABLES = [
    table
    for length in (1, 2, 3)
    for table in product((8, 4, 2), repeat=length)
    if sorted(table, reverse=True) == list(table)
]
"""Every table of up to three stages."""


def toy(strides: Strides = (8, 4, 2), joints: int = 3, **change: Any) -> MultiScaleStackedHourglass:
    """A small network as after training: no batch-norm at 0 or 1, drawn from a generator of its own."""
    net = MultiScaleStackedHourglass(joints, strides, **({"features": 16, "depth": 2} | change))
    live_statistics(net, convolutions=True)
    return net


# --- parameters -------------------------------------------------------------------------------------------


def expected_parameters(
    strides: Strides,
    joints: int = 16,
    f: int = 256,
    depth: int = 4,
    unit: str = "inception_a",
    lateral: bool = False,
    fusion: str = "add",
    dispatch: str = "every",
) -> int:
    block = pre_activation if unit == "residual" else inception
    total = conv(3, f // 4, 7) + 2 * (f // 4) + block(f // 4, f // 2)
    tip = block(f // 2, f // 2) + block(f // 2, f)
    if lateral:
        total += tip + 2 * block(f, f) * sum(s <= max(strides) for s in (4, 8))
        total += conv(f, f) * sum(min(strides) <= s <= max(strides) for s in (2, 4, 8))
    else:
        total += tip * len(set(strides)) + (block(f // 2, f // 2) if 8 in strides else 0)
    for s in strides:
        poolings = depth + {8: -1, 4: 0, 2: 1}[s]
        total += (3 * poolings + 1 + 1) * block(f, f) + conv(f, f) + 2 * f + conv(f, joints)
    for before, after in pairwise(strides):
        total += conv(f, f) + conv(joints, f)
        if fusion == "concat" and (dispatch == "every" or before != after):
            total += conv(2 * f, f)
    return total


@pytest.mark.parametrize(
    ("change", "count", "millions"),
    [
        ({}, 26_822_464, 26.822),
        ({"unit": "residual"}, 25_414_400, 25.414),
        ({"unit": "inception_b"}, 26_822_464, 26.822),
        ({"lateral": True}, 27_286_528, 27.287),
        ({"fusion": "concat"}, 27_741_760, 27.742),
    ],
)
def test_the_papers_networks(change: dict[str, Any], count: int, millions: float) -> None:
    with torch.device("meta"):
        net = mssh(**change)
    assert parameters(net) == count == expected_parameters((8, 8, 8, 4, 4, 4, 2, 2), **change)
    assert round(count / 1e6, 3) == millions
    assert f"{millions:.3f} M" in (mssh.__doc__ or "")
    assert (net.strides, net.stride, net.output) == ((8, 8, 8, 4, 4, 4, 2, 2), 2, "heatmap")


def test_cost_of_the_preferred_network() -> None:
    with torch.device("meta"):
        net = mssh()
    net.to_empty(device="cpu").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 64, 64))
    # Two operations a multiply-add; a picture of 256 px has 16 times the cells at every layer.
    assert counter.get_total_flops() / 2e9 * 16 == pytest.approx(45.6, abs=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"lateral": False, "fusion": "add", "dispatch": "every"},
        {"lateral": True, "fusion": "concat", "dispatch": "first"},
    ],
)
def test_every_table_has_the_parameters_it_needs_and_no_others(options: dict[str, Any]) -> None:
    for strides in TABLES:
        net = MultiScaleStackedHourglass(5, strides, 8, 2, **options)
        assert parameters(net) == expected_parameters(strides, 5, 8, 2, **options), strides


def test_every_number_of_the_constructor_counts() -> None:
    for joints, features, depth, unit in ((1, 8, 2, "inception_a"), (17, 40, 3, "residual")):
        net = MultiScaleStackedHourglass(joints, (8, 4, 4, 2), features, depth, unit, fusion="concat")
        expected = expected_parameters((8, 4, 4, 2), joints, features, depth, unit, fusion="concat")
        assert parameters(net) == expected


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strides", [(8,), (2,), (8, 4, 2), (8, 8, 2), (4, 2, 2)])
@pytest.mark.parametrize("lateral", [False, True])
def test_one_heatmap_tensor_per_stage_at_its_own_stride(strides: Strides, lateral: bool) -> None:
    net = toy(strides, lateral=lateral, features=8)
    outputs = net(float_picture(48, 32))
    assert [o.shape for o in outputs] == [(2, 3, 48 // s, 32 // s) for s in strides]
    assert {o.dtype for o in outputs} == {torch.float32}
    assert (net.output, net.stride) == ("heatmap", strides[-1])


def test_default_strides() -> None:
    assert default_strides(8) == (8, 8, 8, 4, 4, 4, 2, 2)
    assert [default_strides(n) for n in (1, 2, 3, 4)] == [(8,), (8, 4), (8, 4, 2), (8, 8, 4, 2)]
    for n in range(1, 20):
        table = default_strides(n)
        shares = [table.count(s) for s in (8, 4, 2)]
        assert list(table) == sorted(table, reverse=True)
        assert sum(shares) == len(table) == n
        assert shares == sorted(shares, reverse=True)
        assert shares[0] - shares[2] <= 1
    with pytest.raises(ValueError, match="stages must be at least 1, not 0"):
        default_strides(0)


# --- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["all stages", "last stage"])
@pytest.mark.parametrize(
    ("strides", "options"),
    [
        ((8, 4, 2), {}),
        ((8, 4, 4, 2), {"unit": "residual", "lateral": True, "fusion": "concat"}),
        ((8, 2), {"unit": "inception_b", "lateral": True}),
        ((4, 4, 2), {"fusion": "concat", "dispatch": "first"}),
        ((8, 8), {"lateral": True, "dispatch": "first"}),
        ((4,), {"lateral": True}),
    ],
)
def test_every_parameter_learns(strides: Strides, options: dict[str, Any], answer: str) -> None:
    net, image = toy(strides, **options), float_picture(32, 32)
    assert dead_parameters(net, image, last_only=answer == "last stage") == []


# --- options and input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"dispatch": "first"}, {"unit": "inception_b"}], ids=["dispatch", "unit"])
def test_options_without_parameters_change_the_answer(change: dict[str, Any]) -> None:
    # The others (strides, features, depth, joints, lateral, fusion) change the number of parameters.
    net, other = toy((4, 4)).eval(), toy((4, 4), **change).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        before, after = net(float_picture()), other(float_picture())
    # What the first stage gets is no question of `dispatch`.
    assert torch.equal(before[0], after[0]) == ("dispatch" in change)
    assert (before[1] - after[1]).abs().max() > 1e-2


def test_bytes_mean_and_std() -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net, plain = toy(mean=mean, std=std).eval(), toy().eval()
    by_hand = normalised(float_picture(), mean, std)
    with torch.inference_mode():
        torch.testing.assert_close(net(float_picture())[-1], plain(by_hand)[-1], rtol=1e-4, atol=1e-5)
        # Mean and standard deviation travel with the weights.
        plain.load_state_dict(net.state_dict())
        assert torch.equal(plain(float_picture())[-1], net(float_picture())[-1])
        rounded = (float_picture() * 255).to(torch.uint8)
        assert torch.equal(net(rounded)[-1], net(rounded.float() / 255)[-1])


@pytest.mark.parametrize("unit", ["inception_a", "inception_b", "residual"])
def test_bfloat16_is_finite_and_near(unit: str) -> None:
    net = toy(unit=unit, lateral=True, fusion="concat").eval()
    for b, a in under_autocast(net, float_picture()):
        assert b.dtype == torch.bfloat16
        assert float((a - b.float()).abs().mean() / a.std()) < 0.05


def test_an_exported_program_answers_any_number_of_pictures() -> None:
    net = toy((8, 4), features=8, unit="inception_b", lateral=True, fusion="concat").eval()
    program = torch.export.export(
        net, (float_picture(16, 16, 2),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},)
    )
    with torch.inference_mode():
        for count in (1, 3):
            image = float_picture(16, 16, count)
            for a, b in zip(program.module()(image), net(image), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"depth": 1}, r"depth must be at least 2 where strides hold 8, .* not 1"),
        ({"features": 0}, "features must be a positive multiple of 8, not 0"),
        ({"features": 20}, "features must be a positive multiple of 8, not 20"),
        ({"strides": ()}, r"strides must name 2, 4 or 8 for each stage, at least one, not \[\]"),
        ({"strides": (8, 16)}, r"strides must name 2, 4 or 8 for each stage, .* not \[8, 16\]"),
        ({"strides": (4, 1)}, r"strides must name 2, 4 or 8 for each stage, .* not \[4, 1\]"),
        (
            {"unit": "inception_c"},
            "unit must be one of inception_a, inception_b, residual, not 'inception_c'",
        ),
        ({"fusion": "mul"}, "fusion must be one of add, concat, not 'mul'"),
        ({"dispatch": "last"}, "dispatch must be one of every, first, not 'last'"),
    ],
)
def test_arguments_that_make_no_network_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**change)


def test_maps_never_shrink() -> None:
    refused = [t for t in product((8, 4, 2), repeat=3) if t not in TABLES]
    assert len(refused) == 27 - 10
    for table in refused:
        with pytest.raises(ValueError, match="strides must not grow from a stage to the next"):
            toy(table)


def test_a_depth_of_one_will_do_without_stride_8() -> None:
    assert [o.shape[-1] for o in toy((4, 2), depth=1)(float_picture(8, 16))] == [4, 8]


@pytest.mark.parametrize("strides", [(8,), (8, 4, 2), (2,)])
def test_sizes_that_do_not_divide_are_refused_before_anything_is_computed(strides: Strides) -> None:
    with pytest.raises(ValueError, match=r"32 x 40 px does not fit 2 poolings.*multiples of 16"):
        toy(strides)(torch.zeros(1, 3, 32, 40))
