"""The highways: what they add, where, and that they add nothing else."""

import pytest
import torch
from torch import Tensor

from hourglass.models.residual_stacked import HIGHWAYS, ResidualStackedHourglass, residual_stacked
from hourglass.models.stacked_hourglass import StackedHourglass
from plain_layers import (
    State,
    answers,
    chain,
    convolve,
    dead_parameters,
    eccv_parameters,
    enlarge,
    halve,
    in_double,
    lin,
    normalised,
    parameters,
    picture,
    pre_residual,
    under_autocast,
    with_known_weights,
)


def toy(stacks: int = 5, highways: str = "input", blocks: int = 1) -> ResidualStackedHourglass:
    torch.manual_seed(0)
    return ResidualStackedHourglass(3, stacks, 8, 1, blocks, highways)


# --- parameters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_parameters_of_the_slides_network(highways: str) -> None:
    with torch.device("meta"):
        published = residual_stacked()
        net = ResidualStackedHourglass(17, highways=highways)
    counts = {parameters(n) for n in (published, net)}
    assert counts == {31_021_525} == {eccv_parameters(5, 17, 256, 4, 2)}
    assert counts.pop() == pytest.approx(31.1e6, rel=0.006)
    assert published.highways == "input"


@pytest.mark.parametrize(
    ("joints", "stacks", "features", "depth", "blocks"),
    [(1, 2, 4, 1, 1), (17, 3, 20, 2, 2), (40, 4, 8, 1, 3)],
)
def test_every_number_of_the_constructor_counts(
    joints: int, stacks: int, features: int, depth: int, blocks: int
) -> None:
    net = ResidualStackedHourglass(joints, stacks, features, depth, blocks)
    assert parameters(net) == eccv_parameters(stacks, joints, features, depth, blocks)
    outputs = net(picture(16, 32))
    assert [o.shape for o in outputs] == [(2, joints, 4, 8)] * stacks
    assert (net.output, net.stride) == ("heatmap", 4)


# --- what the highways do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", [1, 2, 5])
def test_without_highways_it_is_the_stacked_hourglass(stacks: int) -> None:
    net = with_known_weights(toy(stacks, "none"))
    plain = StackedHourglass(3, stacks, 8, 1).eval()
    plain.load_state_dict(net.state_dict())
    for ours, theirs in zip(answers(net, picture()), answers(plain, picture()), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("stacks", "highways", "first_changed"),
    [
        (5, "input", 3),
        (5, "merged", 3),
        (5, "output", 3),
        (4, "input", 2),
        (4, "merged", 3),
        (4, "output", 2),
        (3, "merged", 2),
        (2, "input", 1),
        (2, "output", 1),
    ],
)
def test_highways_change_the_stacks_beyond_the_middle_only(
    stacks: int, highways: str, first_changed: int
) -> None:
    plain, net = (answers(with_known_weights(toy(stacks, word)), picture()) for word in ("none", highways))
    changed = [not torch.allclose(a, b, atol=1e-3) for a, b in zip(plain, net, strict=True)]
    assert changed == [stack >= first_changed for stack in range(stacks)]


def test_every_placement_answers_otherwise() -> None:
    last = [answers(with_known_weights(toy(5, word)), picture())[-1] for word in HIGHWAYS]
    for i, one in enumerate(last):
        for other in last[:i]:
            assert not torch.allclose(one, other, atol=1e-3)


# --- a second implementation ------------------------------------------------------------------------------
# Over the state dict; the highways word by word as the options describe them.


def reference(s: State, image: Tensor, stacks: int, blocks: int, highways: str) -> list[Tensor]:
    """Of hourglasses with one pooling."""

    def residuals(at: str, x: Tensor) -> Tensor:
        return chain(s, at, x, blocks, pre_residual)

    def hourglass(at: str, x: Tensor) -> Tensor:
        low = residuals(f"{at}.after", residuals(f"{at}.inner", residuals(f"{at}.before", halve(x))))
        return residuals(f"{at}.up", x) + enlarge(low)

    x = halve(pre_residual(s, "stem.1", lin(s, "stem.0", image, stride=2)))
    x = pre_residual(s, "stem.4", pre_residual(s, "stem.3", x))
    entering: list[Tensor] = []
    leaving: list[Tensor] = []
    outputs: list[Tensor] = []
    for i in range(stacks):
        twin = stacks - 1 - i
        if highways == "input" and twin < i:
            x = x + entering[twin]
        if highways == "merged" and twin < i - 1:
            x = x + leaving[twin]
        entering.append(x)
        features = hourglass(f"hourglasses.{i}", x)
        if highways == "output" and twin < i:
            features = features + entering[twin]
        y = lin(s, f"necks.{i}.1", residuals(f"necks.{i}.0", features))
        outputs.append(convolve(s, f"heads.{i}", y))
        if i + 1 < stacks:
            x = x + convolve(s, f"merge_features.{i}", y) + convolve(s, f"merge_heatmaps.{i}", outputs[-1])
        leaving.append(x)
    return outputs


@pytest.mark.parametrize("highways", HIGHWAYS)
@pytest.mark.parametrize(("stacks", "blocks"), [(5, 1), (4, 1), (3, 2)])
def test_network_equals_the_second_implementation(stacks: int, blocks: int, highways: str) -> None:
    net = with_known_weights(toy(stacks, highways, blocks)).double()
    image = in_double(picture())
    with torch.inference_mode():
        expected = reference(net.state_dict(), image, stacks, blocks, highways)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- gradients and precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_every_parameter_learns(highways: str) -> None:
    torch.manual_seed(0)
    assert dead_parameters(ResidualStackedHourglass(3, 5, 16, 1, 1, highways), picture()) == []


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_bf16_autocast_stays_close_to_float32(highways: str) -> None:
    net, image = with_known_weights(toy(5, highways)), picture()
    for ours, theirs in under_autocast(net, image):
        assert ours.dtype == torch.bfloat16
        # bf16 keeps 8 bits: a part in 256 a layer, here of some 60 in a row.
        assert float((ours.float() - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


# --- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"highways": "both"}, "highways must be one of input, merged, output, none, not 'both'"),
        ({"stacks": 1}, "highways='input' needs more stacks, got 1"),
        ({"stacks": 1, "highways": "output"}, "highways='output' needs more stacks, got 1"),
        ({"stacks": 2, "highways": "merged"}, "highways='merged' needs more stacks, got 2"),
        ({"stacks": 0, "highways": "none"}, "stacks must be at least 1, not 0"),
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"features": 6}, "features must be a positive multiple of 4, not 6"),
        ({"blocks": 0}, "blocks must be at least 1, not 0"),
        ({"std": (0.0, 1.0, 1.0)}, "std is above 0"),
    ],
)
def test_options_that_make_no_network_are_refused(change: dict[str, object], message: str) -> None:
    options = {"joints": 3, "features": 8, "depth": 1, "blocks": 1} | change
    with pytest.raises(ValueError, match=message):
        ResidualStackedHourglass(**options)  # type: ignore[arg-type]


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"32 x 44 px does not fit 1 poolings.*multiples of 8"):
        toy()(picture(32, 44))


def test_mean_and_std_are_applied_per_channel() -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    net = ResidualStackedHourglass(3, 3, 8, 1, 1, mean=mean, std=std)
    image = picture().float() / 255
    by_hand = normalised(image, mean, std)
    torch.testing.assert_close(net.normalise(image), by_hand, rtol=1e-4, atol=1e-5)


# --- golden values ----------------------------------------------------------------------------------------
# Computed once with known weights: the last stack's answers. A failure means that the network answers
# otherwise than it did, so weights that users trained are worth nothing any more: repair the network, don't
# renew the numbers.


@pytest.mark.parametrize(
    ("highways", "values"),
    [
        ("input", [-0.316564, 0.760391, -0.358761, 0.02306]),
        ("merged", [-0.977501, 1.76612, -0.492959, 0.096246]),
        ("output", [-0.212474, 0.371023, -0.180371, -0.006164]),
        ("none", [-0.322782, 0.472506, -0.188939, -0.006845]),
    ],
)
def test_answers_are_what_they_always_were(highways: str, values: list[float]) -> None:
    answer = answers(with_known_weights(toy(5, highways, 2)), picture())[-1]
    some = [answer[0, 0, 0, 0], answer[1, 1, 3, 5], answer[0, 2, 7, 11], answer[1].mean()]
    assert torch.stack(some).tolist() == pytest.approx(values, abs=1e-4)
