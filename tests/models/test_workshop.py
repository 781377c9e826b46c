"""The workshop network against a parameter formula and a second implementation written from the paper."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hourglass.models.workshop import WorkshopStackedHourglass, hg1_flic, hg2_workshop
from plain_layers import (
    State,
    answers,
    chain,
    conv,
    convolve,
    dead_parameters,
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


def toy(stacks: int = 2, joints: int = 3) -> WorkshopStackedHourglass:
    torch.manual_seed(0)
    return WorkshopStackedHourglass(joints, stacks, features=16, depth=2)


# --- parameters -----------------------------------------------------------------------------------------


def hourglass(i: int, f: int, depth: int) -> int:
    total = post_activation(f, 2 * f)
    for level_in in [i] + [f] * (depth - 1):
        total += 2 * (post_activation(level_in, f) + post_activation(f, f))
        total += post_activation(f, 2 * f) + post_activation(f, f) + post_activation(2 * f, 2 * f)
    return total


def workshop_parameters(stacks: int, joints: int, f: int = 256, depth: int = 4) -> int:
    half, wide, merged = f // 2, 2 * f, f + f // 2
    start = conv(3, f // 4, 7) + f // 2 + post_activation(f // 4, half) + 2 * post_activation(half, half)
    start += post_activation(half, f) + hourglass(f, f, depth)
    last = 2 * (conv(wide, wide) + 2 * wide) + conv(wide, joints)
    if stacks == 1:
        return start + last
    first = conv(wide, wide) + 2 * wide + conv(wide, f) + 2 * f + conv(f, joints)
    return start + first + conv(merged, merged) + conv(joints, merged) + hourglass(merged, f, depth) + last


@pytest.mark.parametrize(
    ("make", "count", "published_millions", "stacks", "joints"),
    [
        pytest.param(hg2_workshop, 26_370_848, 26.371, 2, 16, id="mpii"),
        pytest.param(hg1_flic, 13_262_091, 13.3, 1, 11, id="flic"),
        pytest.param(lambda: WorkshopStackedHourglass(16, 1), 13_264_656, 13.265, 1, 16, id="one of 16"),
        pytest.param(lambda: hg2_workshop(17), 26_372_002, 26.37, 2, 17, id="coco"),
    ],
)
def test_published_networks_have_their_parameters(
    make: Callable[[], nn.Module], count: int, published_millions: float, stacks: int, joints: int
) -> None:
    with torch.device("meta"):
        net = make()
    assert post_activation(256, 256) == 214_528  # published
    assert parameters(net) == count == workshop_parameters(stacks, joints)
    assert count / 1e6 == pytest.approx(published_millions, rel=0.003)


@pytest.mark.parametrize(
    ("stacks", "joints", "features", "depth"), [(1, 1, 4, 1), (2, 17, 20, 3), (2, 5, 36, 2)]
)
def test_every_number_of_the_constructor_counts(stacks: int, joints: int, features: int, depth: int) -> None:
    net = WorkshopStackedHourglass(joints, stacks, features, depth)
    assert parameters(net) == workshop_parameters(stacks, joints, features, depth)


# --- gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["all stages", "last stage"])
@pytest.mark.parametrize("stacks", [1, 2])
def test_every_parameter_learns(stacks: int, answer: str) -> None:
    # The last stage alone must reach the first head too: its heatmaps are fed back.
    assert dead_parameters(toy(stacks), picture(32, 32), last_only=answer == "last stage") == []


# --- shapes and options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("joints", [1, 11, 40])
def test_one_heatmap_tensor_per_stack_at_a_quarter_of_the_size(stacks: int, joints: int) -> None:
    net = toy(stacks, joints)
    assert [o.shape for o in net(picture(32, 64))] == [(2, joints, 8, 16)] * stacks
    assert (net.output, net.stride) == ("heatmap", 4)


def test_the_network_checks_the_size_before_it_computes() -> None:
    with pytest.raises(ValueError, match=r"32 x 40 px does not fit 2 poolings.*multiples of 16"):
        toy()(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stacks": 3}, "1 or 2 stacks, not 3"),
        ({"stacks": 0}, "1 or 2 stacks, not 0"),
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"features": 6}, "features must be a positive multiple of 4, not 6"),
        ({"std": (1.0, 1.0)}, "mean and std are three numbers each"),
    ],
)
def test_options_that_make_no_network_are_refused(change: dict[str, object], message: str) -> None:
    options = {"joints": 3, "features": 16, "depth": 2} | change
    with pytest.raises(ValueError, match=message):
        WorkshopStackedHourglass(**options)  # type: ignore[arg-type]


# --- input values ---------------------------------------------------------------------------------------


def test_bytes_and_floats_of_one_picture_give_the_same() -> None:
    net = toy().eval()
    image = picture()
    with torch.inference_mode():
        for from_bytes, from_floats in zip(net(image), net(image.float() / 255), strict=True):
            assert torch.equal(from_bytes, from_floats)


@pytest.mark.parametrize("make", [hg2_workshop, hg1_flic])
def test_mean_and_std_are_applied_per_channel(make: Callable[..., WorkshopStackedHourglass]) -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net = make(1, mean, std)
    image = picture().float() / 255
    by_hand = normalised(image, mean, std)
    torch.testing.assert_close(net.normalise(image), by_hand, rtol=1e-4, atol=1e-5)


def test_bf16_autocast_stays_close_to_float32() -> None:
    net, image = with_known_weights(toy()), picture()
    for ours, theirs in under_autocast(net, image):
        assert ours.dtype == torch.bfloat16
        # bf16 keeps 8 bits: a part in 256 a layer, here of some 40 in a row.
        assert float((ours.float() - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


# --- a second implementation ----------------------------------------------------------------------------
# Over the state dict, one line per layer of the paper's Torch code.


def workshop_reference(s: State, image: Tensor, stacks: int, depth: int) -> list[Tensor]:
    def neck(i: int, x: Tensor) -> Tensor:
        return lin(s, f"necks.{i}.1", lin(s, f"necks.{i}.0", x))

    pooled = halve(post_residual(s, "stem.1", lin(s, "stem.0", image, stride=2)))
    y = neck(0, workshop_hourglass(s, "hourglasses.0", chain(s, "widen", pooled, 3, post_residual), depth))
    outputs = [convolve(s, "heads.0", y)]
    if stacks == 2:
        x = convolve(s, "merge_features", torch.cat([y, pooled], 1))
        x = x + convolve(s, "merge_heatmaps", outputs[0])
        outputs.append(convolve(s, "heads.1", neck(1, workshop_hourglass(s, "hourglasses.1", x, depth))))
    return outputs


@pytest.mark.parametrize("stacks", [1, 2])
def test_network_equals_the_second_implementation(stacks: int) -> None:
    net = with_known_weights(toy(stacks)).double()
    image = in_double(picture())
    with torch.inference_mode():
        expected = workshop_reference(net.state_dict(), image, stacks, depth=2)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- golden values ----------------------------------------------------------------------------------------
# Computed once with known weights. A failure means that the network answers otherwise than it did, so weights
# that users trained are worth nothing any more: repair the network, don't renew the numbers.


@pytest.mark.parametrize(
    ("stacks", "expected"),
    [
        (1, [[-0.448152, 0.069501, 0.615653, 0.079161]]),
        (2, [[-0.063774, 0.005169, 0.535277, 0.158879], [0.204429, -0.173747, 0.485006, 0.174663]]),
    ],
)
def test_answers_are_what_they_always_were(stacks: int, expected: list[list[float]]) -> None:
    net = with_known_weights(toy(stacks))
    for output, values in zip(answers(net, picture()), expected, strict=True):
        some = [output[0, 0, 0, 0], output[1, 1, 3, 5], output[0, 2, 7, 11], output[1].mean()]
        assert torch.stack(some).tolist() == pytest.approx(values, abs=1e-4)
