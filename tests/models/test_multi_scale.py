"""The multi-scale network against parameter formulas and a second implementation from the paper's text."""

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hourglass.models.multi_scale import MultiScaleStackedHourglass, default_strides, mssh
from hourglass.models.stacked_hourglass import StackedHourglass

State = dict[str, Tensor]
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
    generator = torch.Generator().manual_seed(8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.3, 0.3, generator=generator)
        elif isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            for tensor in (module.weight.data, *([module.bias.data] if module.bias is not None else [])):
                tensor.uniform_(-bound, bound, generator=generator)
    return net


def picture(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, 3, height, width, generator=generator)


# --- parameters -------------------------------------------------------------------------------------------


def conv(i: int, o: int, kernel: int = 1) -> int:
    return i * o * kernel**2 + o


def residual(i: int, o: int) -> int:
    mid = o // 2
    norms = 2 * i + 2 * mid + 2 * mid
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) if i != o else 0)


def inception(i: int, o: int) -> int:
    norms = 2 * (2 * i) + 2 * (2 * (o // 4))
    branches = conv(i, o // 2) + conv(i, o // 4) + conv(o // 4, o // 4, 3) + conv(o // 4, o // 2, 3)
    return norms + branches + conv(o, o) + (conv(i, o) if i != o else 0)


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
    block = residual if unit == "residual" else inception
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


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


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
    outputs = net(picture(48, 32))
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


# --- a second implementation ------------------------------------------------------------------------------
# Plain functions over the state dict. Unlike the network, it enlarges features and heatmaps before the
# 1x1 convolutions that merge them.


def norm(s: State, at: str, x: Tensor) -> Tensor:
    scale = s[f"{at}.weight"] / torch.sqrt(s[f"{at}.running_var"] + 1e-5)
    y = (x - s[f"{at}.running_mean"].view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
    return y + s[f"{at}.bias"].view(1, -1, 1, 1)


def convolve(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = s[f"{at}.weight"]
    return F.conv2d(x, weight, s[f"{at}.bias"], stride=stride, padding=(weight.shape[-1] - 1) // 2)


def lin(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    return norm(s, f"{at}.1", convolve(s, f"{at}.0", x, stride)).clamp_min(0)


def halve(x: Tensor) -> Tensor:
    """2 x 2 maxima; a window over the edge, which only inception-resnet-B meets, holds what is there."""
    x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), value=-torch.inf)
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))


def enlarge(x: Tensor, times: int = 2) -> Tensor:
    return x.repeat_interleave(times, -1).repeat_interleave(times, -2)


def block(s: State, unit: str, at: str, x: Tensor) -> Tensor:
    skip = convolve(s, f"{at}.skip", x) if f"{at}.skip.weight" in s else x
    if unit == "residual":
        for i in (1, 2, 3):
            x = convolve(s, f"{at}.conv{i}", norm(s, f"{at}.bn{i}", x).clamp_min(0))
        return x + skip

    def brc(name: str, y: Tensor) -> Tensor:
        return convolve(s, f"{at}.{name}.2", norm(s, f"{at}.{name}.0", y).clamp_min(0))

    halved = unit == "inception_b"
    y = brc("deep.2", brc("deep.1", brc("deep.0", halve(x) if halved else x)))
    y = enlarge(y)[..., : x.shape[-2], : x.shape[-1]] if halved else y
    return skip + convolve(s, f"{at}.join", torch.cat([brc("wide", x), y], 1))


def prepare(s: State, image: Tensor, strides: Strides, unit: str, lateral: bool) -> dict[int, Tensor]:
    def two(at: str, x: Tensor, first: int) -> Tensor:
        return block(s, unit, f"{at}.{first + 1}", block(s, unit, f"{at}.{first}", x))

    start = block(s, unit, "prepare.start.1", lin(s, "prepare.start.0", image, stride=2))
    maps: dict[int, Tensor] = {}
    if not lateral:
        if 2 in strides:
            maps[2] = two("prepare.branches.2", start, 0)
        if 4 in strides:
            maps[4] = two("prepare.branches.4", halve(start), 1)
        if 8 in strides:
            middle = block(s, unit, "prepare.branches.8.1", halve(start))
            maps[8] = two("prepare.branches.8", halve(middle), 3)
        return maps
    down = {2: two("prepare.path.2", start, 0)}
    for stride in (4, 8):
        if stride <= max(strides):
            down[stride] = two(f"prepare.path.{stride}", halve(down[stride // 2]), 1)
    for stride in (8, 4, 2):
        if min(strides) <= stride <= max(strides):
            maps[stride] = convolve(s, f"prepare.laterals.{stride}", down[stride])
            if 2 * stride in maps:
                maps[stride] = maps[stride] + enlarge(maps[2 * stride])
    return maps


def reference(
    s: State,
    image: Tensor,
    strides: Strides,
    depth: int = 2,
    unit: str = "inception_a",
    lateral: bool = False,
    fusion: str = "add",
    dispatch: str = "every",
) -> list[Tensor]:
    def hourglass(at: str, x: Tensor, n: int) -> Tensor:
        low = block(s, unit, f"{at}.before", halve(x))
        low = hourglass(f"{at}.inner", low, n - 1) if n > 1 else block(s, unit, f"{at}.inner", low)
        return block(s, unit, f"{at}.up", x) + enlarge(block(s, unit, f"{at}.after", low))

    maps = prepare(s, image, strides, unit, lateral)
    x = maps[strides[0]]
    outputs: list[Tensor] = []
    y = x
    for j, stride in enumerate(strides):
        if j:
            times = strides[j - 1] // stride
            x = enlarge(x, times) + convolve(s, f"merge_features.{j - 1}", enlarge(y, times))
            x = x + convolve(s, f"merge_heatmaps.{j - 1}", enlarge(outputs[-1], times))
            if dispatch == "every" or times > 1:
                if fusion == "add":
                    x = x + maps[stride]
                else:
                    x = convolve(s, f"fuse.{j}", torch.cat([x, maps[stride]], 1))
        y = hourglass(f"hourglasses.{j}", x, depth + {8: -1, 4: 0, 2: 1}[stride])
        y = lin(s, f"necks.{j}.1", block(s, unit, f"necks.{j}.0", y))
        outputs.append(convolve(s, f"heads.{j}", y))
    return outputs


def assert_equals_reference(strides: Strides, image: Tensor, **options: Any) -> None:
    net = toy(strides, **options).double().eval()
    with torch.inference_mode():
        expected = reference(net.state_dict(), image.double(), strides, **options)
        for ours, theirs in zip(net(image.double()), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("unit", ["inception_a", "inception_b", "residual"])
@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_equals_the_second_implementation(unit: str, lateral: bool, fusion: str) -> None:
    # 48 px leave three columns at every bottom: inception-resnet-B must cope.
    assert_equals_reference((8, 4, 4, 2), picture(16, 48), unit=unit, lateral=lateral, fusion=fusion)


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_one_dispatch_per_scale_equals_the_second_implementation(fusion: str) -> None:
    assert_equals_reference((8, 8, 4, 2, 2), picture(16, 16), fusion=fusion, dispatch="first")


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("strides", [(8,), (4,), (2,), (8, 8), (8, 2), (4, 2), (8, 2, 2)])
def test_other_tables_equal_the_second_implementation(strides: Strides, lateral: bool) -> None:
    # 16 px leave one cell at every bottom; from 8 to 2 the maps grow fourfold in one step.
    assert_equals_reference(strides, picture(16, 16, 1), unit="inception_b", lateral=lateral)


def test_another_depth_equals_the_second_implementation() -> None:
    assert_equals_reference((8, 4, 2), picture(32, 64, 1), depth=3)


@pytest.mark.parametrize("stages", [1, 3])
def test_one_scale_with_one_dispatch_is_newells_network(stages: int) -> None:
    net = toy((4,) * stages, unit="residual", dispatch="first").eval()
    newell = StackedHourglass(3, stages, features=16, depth=2).eval()
    ours, theirs = net.state_dict(), newell.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    # The names differ (Newell's positions hold several residuals); the order of the layers doesn't.
    newell.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    with torch.inference_mode():
        for mine, other in zip(net(picture()), newell(picture()), strict=True):
            assert torch.equal(mine, other)


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
    # In evaluation mode, because a batch's own mean would cancel each bias before a batch-norm; with the
    # statistics of this very batch, so that no ReLU is shut.
    net, image = toy(strides, **options), picture(32, 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(image)
    outputs = net.eval()(image)
    loss = sum(((o - 0.5) ** 2).sum() for o in (outputs if answer == "all stages" else outputs[-1:]))
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    dead = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert dead == []


# --- stored answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cells", "mean"),
    [
        ({}, [-0.776694, 1.770885, -4.177370], -0.878933),
        ({"unit": "residual", "fusion": "concat"}, [0.284781, 0.030060, -0.013853], 0.097505),
        (
            {"unit": "inception_b", "lateral": True, "dispatch": "first"},
            [1.511274, 0.991064, 2.057814],
            1.614260,
        ),
    ],
)
def test_stored_answers(options: dict[str, Any], cells: list[float], mean: float) -> None:
    # Made once, by the second implementation. A change here breaks weights that people have trained.
    net = toy((8, 4, 4, 2), **options).eval()
    with torch.inference_mode():
        last = net(picture())[-1]
    torch.testing.assert_close(last[0, :, 5, 7], torch.tensor(cells), rtol=0, atol=1e-4)
    assert float(last.mean()) == pytest.approx(mean, abs=1e-4)


# --- options and input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"dispatch": "first"}, {"unit": "inception_b"}], ids=["dispatch", "unit"])
def test_options_without_parameters_change_the_answer(change: dict[str, Any]) -> None:
    # The others (strides, features, depth, joints, lateral, fusion) change the number of parameters.
    net, other = toy((4, 4)).eval(), toy((4, 4), **change).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        before, after = net(picture()), other(picture())
    # What the first stage gets is no question of `dispatch`.
    assert torch.equal(before[0], after[0]) == ("dispatch" in change)
    assert (before[1] - after[1]).abs().max() > 1e-2


def test_bytes_mean_and_std() -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net, plain = toy(mean=mean, std=std).eval(), toy().eval()
    by_hand = torch.stack([(picture()[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    with torch.inference_mode():
        torch.testing.assert_close(net(picture())[-1], plain(by_hand)[-1], rtol=1e-4, atol=1e-5)
        # Mean and standard deviation travel with the weights.
        plain.load_state_dict(net.state_dict())
        assert torch.equal(plain(picture())[-1], net(picture())[-1])
        rounded = (picture() * 255).to(torch.uint8)
        assert torch.equal(net(rounded)[-1], net(rounded.float() / 255)[-1])


@pytest.mark.parametrize("unit", ["inception_a", "inception_b", "residual"])
def test_bfloat16_is_finite_and_near(unit: str) -> None:
    net = toy(unit=unit, lateral=True, fusion="concat").eval()
    with torch.inference_mode():
        exact = net(picture())
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(picture())
    for a, b in zip(exact, rough, strict=True):
        assert b.dtype == torch.bfloat16
        assert float((a - b.float()).abs().mean() / a.std()) < 0.05


def test_an_exported_program_answers_any_number_of_pictures() -> None:
    net = toy((8, 4), features=8, unit="inception_b", lateral=True, fusion="concat").eval()
    program = torch.export.export(
        net, (picture(16, 16, 2),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},)
    )
    with torch.inference_mode():
        for count in (1, 3):
            image = picture(16, 16, count)
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
    assert [o.shape[-1] for o in toy((4, 2), depth=1)(picture(8, 16))] == [4, 8]


@pytest.mark.parametrize("strides", [(8,), (8, 4, 2), (2,)])
def test_sizes_that_do_not_divide_are_refused_before_anything_is_computed(strides: Strides) -> None:
    with pytest.raises(ValueError, match=r"32 x 40 px does not fit 2 poolings.*multiples of 16"):
        toy(strides)(torch.zeros(1, 3, 32, 40))
