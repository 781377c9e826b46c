"""The ECCV networks against parameter formulas and a second implementation written from the papers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hourglass.models import stacked_hourglass
from hourglass.models.stacked_hourglass import StackedHourglass, check_input_size
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
    pre_activation,
    pre_residual,
    under_autocast,
    with_known_weights,
)


def toy(
    stacks: int = 2, joints: int = 3, features: int = 16, depth: int = 2, blocks: int = 1, stem: str = "eccv"
) -> StackedHourglass:
    torch.manual_seed(0)
    return StackedHourglass(joints, stacks, features, depth, blocks, stem=stem)


# --- parameters, from the layer lists of the papers' code ---------------------------------------------


def test_formulas_agree_with_published_building_blocks() -> None:
    assert pre_activation(256, 256) == 214_528
    assert eccv_parameters(2, 16) - eccv_parameters(1, 16) == 3_143_952


@pytest.mark.parametrize(
    ("function", "published_millions", "count", "stacks", "blocks", "stem"),
    [
        ("hg1", 3.426, 3_426_448, 1, 1, "eccv"),
        ("hg2", 6.570, 6_570_400, 2, 1, "eccv"),
        ("hg4", 12.858, 12_858_304, 4, 1, "eccv"),
        ("hg8", 25.434, 25_434_112, 8, 1, "eccv"),
        ("hg_4x2", 24.872, 24_871_872, 4, 2, "eccv"),
        ("hg_2x4", 24.591, 24_590_752, 2, 4, "eccv"),
        ("hg_1x8", 24.450, 24_450_192, 1, 8, "eccv"),
        ("hg1_wide", 3.587, 3_586_960, 1, 1, "wide"),
        ("hg2_wide", 6.731, 6_730_912, 2, 1, "wide"),
        ("hg4_wide", 13.019, 13_018_816, 4, 1, "wide"),
        ("hg8_wide", 25.595, 25_594_624, 8, 1, "wide"),
    ],
)
def test_published_networks_have_their_parameters(
    function: str, published_millions: float, count: int, stacks: int, blocks: int, stem: str
) -> None:
    with torch.device("meta"):
        net = getattr(stacked_hourglass, function)()
        for_lsp = getattr(stacked_hourglass, function)(14)
    assert parameters(net) == count == eccv_parameters(stacks, 16, blocks=blocks, stem=stem)
    assert round(count / 1e6, 3) == published_millions
    assert parameters(for_lsp) == eccv_parameters(stacks, 14, blocks=blocks, stem=stem)
    assert len(net.hourglasses) == stacks


def test_the_slides_baseline_has_its_parameters() -> None:
    with torch.device("meta"):
        net = stacked_hourglass.hg_slides()
    assert parameters(net) == 12_577_954 == eccv_parameters(2, 17, blocks=2)
    assert parameters(net) == pytest.approx(12.6e6, rel=0.006)


def test_ports_with_17_joints_have_the_counts_that_they_report() -> None:
    # Measured on the port itself, for COCO's joints, with 1, 2, 4 and 8 stacks.
    counts = {1: 3.587217, 2: 6.731682, 4: 13.020612, 8: 25.598472}
    for stacks, millions in counts.items():
        with torch.device("meta"):
            net = StackedHourglass(17, stacks, stem="wide")
        assert parameters(net) == round(millions * 1e6)


@pytest.mark.parametrize(
    ("stacks", "joints", "features", "depth", "blocks", "stem"),
    [(1, 1, 4, 1, 1, "eccv"), (3, 17, 20, 3, 2, "wide"), (2, 5, 36, 2, 3, "eccv")],
)
def test_every_number_of_the_constructor_counts(
    stacks: int, joints: int, features: int, depth: int, blocks: int, stem: str
) -> None:
    net = StackedHourglass(joints, stacks, features, depth, blocks, stem=stem)
    assert parameters(net) == eccv_parameters(stacks, joints, features, depth, blocks, stem)


def test_published_networks_pass_mean_and_std_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(joints: int, *, mean: object, std: object, **_: object) -> tuple[int, object, object]:
        return joints, mean, std

    names = [name for name in vars(stacked_hourglass) if name.startswith("hg")]
    assert len(names) == 12
    monkeypatch.setattr(stacked_hourglass, "StackedHourglass", build)
    for name in names:
        assert getattr(stacked_hourglass, name)(2, "mean", "std") == (2, "mean", "std")


# --- gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["all stages", "last stage"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: toy(1), id="1"),
        pytest.param(lambda: toy(3, blocks=2), id="3x2"),
        pytest.param(lambda: toy(2, stem="wide"), id="wide"),
    ],
)
def test_every_parameter_learns(make: Callable[[], nn.Module], answer: str) -> None:
    # The last stage alone must reach the earlier heads too: their heatmaps are fed back.
    assert dead_parameters(make(), picture(32, 32), last_only=answer == "last stage") == []


# --- shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stacks", "joints", "features", "depth", "height", "width"),
    [
        pytest.param(1, 16, 4, 1, 8, 8, id="smallest"),
        pytest.param(2, 14, 12, 3, 64, 32, id="upright"),
        pytest.param(3, 1, 20, 2, 16, 80, id="wide"),
        pytest.param(2, 17, 8, 4, 64, 128, id="deep"),
        pytest.param(2, 133, 8, 1, 16, 16, id="whole body"),
    ],
)
def test_one_heatmap_tensor_per_stack_at_a_quarter_of_the_size(
    stacks: int, joints: int, features: int, depth: int, height: int, width: int
) -> None:
    net = StackedHourglass(joints, stacks, features, depth)
    outputs = net(picture(height, width))
    assert [o.shape for o in outputs] == [(2, joints, height // 4, width // 4)] * stacks
    assert {o.dtype for o in outputs} == {torch.float32}
    assert (net.output, net.stride) == ("heatmap", 4)


@pytest.mark.parametrize(
    ("height", "width", "depth", "message"),
    [
        pytest.param(96, 100, 2, "96 x 100 px does not fit 2 poolings .* multiples of 16", id="width"),
        pytest.param(250, 256, 4, "250 x 256 px does not fit 4 poolings .* multiples of 64", id="height"),
        pytest.param(0, 64, 1, "0 x 64 px", id="nothing"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_numbers(
    height: int, width: int, depth: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_input_size(height, width, depth)


def test_the_network_checks_the_size_before_it_computes() -> None:
    with pytest.raises(ValueError, match=r"32 x 40 px does not fit 2 poolings.*multiples of 16"):
        toy()(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"stacks": 0}, "stacks must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"blocks": -1}, "blocks must be at least 1, not -1"),
        ({"features": 30}, "features must be a positive multiple of 4, not 30"),
        ({"features": 0}, "features must be a positive multiple of 4, not 0"),
        ({"stem": "narrow"}, "stem must be one of eccv, wide, not 'narrow'"),
        ({"mean": (0.5, 0.5)}, "mean and std are three numbers each"),
        ({"std": (0.5, 0.0, 0.5)}, "std is above 0"),
    ],
)
def test_options_that_make_no_network_are_refused(change: dict[str, object], message: str) -> None:
    options = {"joints": 3, "features": 16, "depth": 2} | change
    with pytest.raises(ValueError, match=message):
        StackedHourglass(**options)  # type: ignore[arg-type]


# --- input values ---------------------------------------------------------------------------------------


def test_bytes_and_floats_of_one_picture_give_the_same() -> None:
    net = toy().eval()
    image = picture()
    with torch.inference_mode():
        for from_bytes, from_floats in zip(net(image), net(image.float() / 255), strict=True):
            assert torch.equal(from_bytes, from_floats)


def test_mean_and_std_are_applied_per_channel_and_travel_with_the_weights() -> None:
    mean, std = (0.1, 0.2, 0.4), (0.5, 0.25, 0.2)
    torch.manual_seed(0)
    net = StackedHourglass(3, 1, 16, 2, mean=mean, std=std).eval()
    plain = StackedHourglass(3, 1, 16, 2).eval()
    weights = {k: v for k, v in net.state_dict().items() if not k.startswith("normalise.")}
    assert plain.load_state_dict(weights, strict=False).missing_keys == ["normalise.mean", "normalise.std"]
    image = picture().float() / 255
    by_hand = normalised(image, mean, std)
    with torch.inference_mode():
        torch.testing.assert_close(net(image)[-1], plain(by_hand)[-1], rtol=1e-4, atol=1e-5)
        other = StackedHourglass(3, 1, 16, 2).eval()
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(image)[-1], net(image)[-1])


def test_bf16_autocast_stays_close_to_float32() -> None:
    net, image = with_known_weights(toy(3)), picture()
    for ours, theirs in under_autocast(net, image):
        assert ours.dtype == torch.bfloat16
        # bf16 keeps 8 bits: a part in 256 a layer, here of some 40 in a row.
        assert float((ours.float() - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


# --- a second implementation ----------------------------------------------------------------------------
# Over the state dict, one line per layer of the papers' Torch code.


def eccv_reference(s: State, image: Tensor, stacks: int, depth: int, blocks: int) -> list[Tensor]:
    def residuals(at: str, x: Tensor) -> Tensor:
        return chain(s, at, x, blocks, pre_residual)

    def hourglass(at: str, x: Tensor, n: int) -> Tensor:
        low = residuals(f"{at}.before", halve(x))
        low = hourglass(f"{at}.inner", low, n - 1) if n > 1 else residuals(f"{at}.inner", low)
        return residuals(f"{at}.up", x) + enlarge(residuals(f"{at}.after", low))

    x = lin(s, "stem.0", image, stride=2)
    x = halve(pre_residual(s, "stem.1", x))
    x = pre_residual(s, "stem.4", pre_residual(s, "stem.3", x))
    outputs = []
    for i in range(stacks):
        y = lin(s, f"necks.{i}.1", residuals(f"necks.{i}.0", hourglass(f"hourglasses.{i}", x, depth)))
        outputs.append(convolve(s, f"heads.{i}", y))
        if i + 1 < stacks:
            x = x + convolve(s, f"merge_features.{i}", y) + convolve(s, f"merge_heatmaps.{i}", outputs[-1])
    return outputs


@pytest.mark.parametrize(
    ("stacks", "depth", "blocks", "stem"), [(1, 1, 1, "eccv"), (3, 2, 2, "eccv"), (2, 2, 1, "wide")]
)
def test_network_equals_the_second_implementation(stacks: int, depth: int, blocks: int, stem: str) -> None:
    net = with_known_weights(toy(stacks, depth=depth, blocks=blocks, stem=stem)).double()
    image = in_double(picture())
    with torch.inference_mode():
        expected = eccv_reference(net.state_dict(), image, stacks, depth, blocks)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- golden values ----------------------------------------------------------------------------------------
# Computed once with known weights. A failure means that a network answers otherwise than it did, so trained
# weights, ours and users', are worth nothing any more: repair the network, don't renew the numbers.


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("eccv", [[0.114911, -0.144515, 0.680994, 0.228533], [-0.330647, -0.155710, 0.261730, -0.111426]]),
        ("wide", [[0.242743, -0.404886, 0.585842, 0.192191], [-0.283798, 0.300365, 0.132027, 0.005645]]),
    ],
)
def test_answers_are_what_they_always_were(stem: str, expected: list[list[float]]) -> None:
    net = with_known_weights(toy(2, blocks=2, stem=stem))
    for output, values in zip(answers(net, picture()), expected, strict=True):
        some = [output[0, 0, 0, 0], output[1, 1, 3, 5], output[0, 2, 7, 11], output[1].mean()]
        assert torch.stack(some).tolist() == pytest.approx(values, abs=1e-4)
