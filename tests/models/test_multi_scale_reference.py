"""The multi-scale network against a second implementation from the paper's text, and stored answers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from plain_layers import (
    State,
    convolve,
    enlarge,
    float_picture,
    halve,
    inception_residual,
    lin,
    live_statistics,
    pre_residual,
)

Strides = tuple[int, ...]


def toy(strides: Strides = (8, 4, 2), joints: int = 3, **change: Any) -> MultiScaleStackedHourglass:
    """A small network as after training: no batch-norm at 0 or 1, drawn from a generator of its own."""
    net = MultiScaleStackedHourglass(joints, strides, **({"features": 16, "depth": 2} | change))
    live_statistics(net, convolutions=True)
    return net


# --- a second implementation ------------------------------------------------------------------------------
# Over the state dict. Unlike the network, it enlarges features and heatmaps before the 1x1 convolutions that
# merge them.


def block(s: State, unit: str, at: str, x: Tensor) -> Tensor:
    if unit == "residual":
        return pre_residual(s, at, x)
    return inception_residual(s, at, x, halved=unit == "inception_b")


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
    assert_equals_reference((8, 4, 4, 2), float_picture(16, 48), unit=unit, lateral=lateral, fusion=fusion)


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_one_dispatch_per_scale_equals_the_second_implementation(fusion: str) -> None:
    assert_equals_reference((8, 8, 4, 2, 2), float_picture(16, 16), fusion=fusion, dispatch="first")


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("strides", [(8,), (4,), (2,), (8, 8), (8, 2), (4, 2), (8, 2, 2)])
def test_other_tables_equal_the_second_implementation(strides: Strides, lateral: bool) -> None:
    # 16 px leave one cell at every bottom; from 8 to 2 the maps grow fourfold in one step.
    assert_equals_reference(strides, float_picture(16, 16, 1), unit="inception_b", lateral=lateral)


def test_another_depth_equals_the_second_implementation() -> None:
    assert_equals_reference((8, 4, 2), float_picture(32, 64, 1), depth=3)


@pytest.mark.parametrize("stages", [1, 3])
def test_one_scale_with_one_dispatch_is_newells_network(stages: int) -> None:
    net = toy((4,) * stages, unit="residual", dispatch="first").eval()
    newell = StackedHourglass(3, stages, features=16, depth=2).eval()
    ours, theirs = net.state_dict(), newell.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    # The names differ (Newell's positions hold several residuals); the order of the layers doesn't.
    newell.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    with torch.inference_mode():
        for mine, other in zip(net(float_picture()), newell(float_picture()), strict=True):
            assert torch.equal(mine, other)


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
        last = net(float_picture())[-1]
    torch.testing.assert_close(last[0, :, 5, 7], torch.tensor(cells), rtol=0, atol=1e-4)
    assert float(last.mean()) == pytest.approx(mean, abs=1e-4)
