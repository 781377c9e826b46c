"""The networks against parameter formulas and against a second implementation written from the papers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.stacked_hourglass import (
    StackedHourglass,
    WorkshopStackedHourglass,
    check_input_size,
)

State = dict[str, Tensor]


def toy(stacks: int = 2, joints: int = 3, **change: int) -> StackedHourglass:
    torch.manual_seed(0)
    sizes = {"features": 16, "depth": 2, "blocks": 1} | change
    return StackedHourglass(joints, stacks, sizes["features"], sizes["depth"], sizes["blocks"])


def toy_workshop(stacks: int = 2, joints: int = 3) -> WorkshopStackedHourglass:
    torch.manual_seed(0)
    return WorkshopStackedHourglass(joints, stacks, features=16, depth=2)


def picture(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def live_statistics(net: nn.Module) -> nn.Module:
    """Batch-norms as after training: nothing at 0 or 1, so that a forgotten one changes the answer."""
    generator = torch.Generator().manual_seed(8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.3, 0.3, generator=generator)
    return net


# --- parameters, from the layer lists of the papers' code ---------------------------------------------


def conv(i: int, o: int, kernel: int = 1) -> int:
    return i * o * kernel**2 + o


def pre_activation(i: int, o: int) -> int:
    mid = o // 2
    norms = 2 * i + 2 * mid + 2 * mid
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) if i != o else 0)


def post_activation(i: int, o: int) -> int:
    mid = o // 2
    norms = 2 * mid + 2 * mid + 2 * o
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) + 2 * o if i != o else 0)


def eccv_parameters(stacks: int, joints: int, f: int = 256, depth: int = 4, blocks: int = 1) -> int:
    stem = conv(3, f // 4, 7) + f // 2 + pre_activation(f // 4, f // 2) + pre_activation(f // 2, f // 2)
    stem += pre_activation(f // 2, f)
    # Three positions a level and one more at the bottom; one more residual after the hourglass.
    stage = (3 * depth + 1 + 1) * blocks * pre_activation(f, f) + conv(f, f) + 2 * f + conv(f, joints)
    return stem + stacks * stage + (stacks - 1) * (conv(f, f) + conv(joints, f))


def workshop_hourglass(i: int) -> int:
    total = 0
    for level_in in (i, 256, 256, 256):
        total += 2 * (post_activation(level_in, 256) + post_activation(256, 256))
        total += post_activation(256, 512) + post_activation(256, 256) + post_activation(512, 512)
    return total + post_activation(256, 512)


def workshop_parameters(stacks: int, joints: int) -> int:
    stem = conv(3, 64, 7) + 128 + post_activation(64, 128) + 2 * post_activation(128, 128)
    stem += post_activation(128, 256) + workshop_hourglass(256) + conv(512, 512) + 1024
    if stacks == 1:
        return stem + conv(512, 512) + 1024 + conv(512, joints)
    first = conv(512, 256) + 512 + conv(256, joints) + conv(384, 384) + conv(joints, 384)
    return stem + first + workshop_hourglass(384) + 2 * (conv(512, 512) + 1024) + conv(512, joints)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_formulas_agree_with_published_building_blocks() -> None:
    assert pre_activation(256, 256) == post_activation(256, 256) == 214_528
    assert eccv_parameters(2, 16) - eccv_parameters(1, 16) == 3_143_952


@pytest.mark.parametrize(
    ("stacks", "published_millions", "count"),
    [(1, 3.426, 3_426_448), (2, 6.570, 6_570_400), (4, 12.858, 12_858_304), (8, 25.434, 25_434_112)],
)
def test_eccv_parameters_for_16_joints(stacks: int, published_millions: float, count: int) -> None:
    with torch.device("meta"):
        net = StackedHourglass(16, stacks)
    assert parameters(net) == count == eccv_parameters(stacks, 16)
    assert round(count / 1e6, 3) == published_millions


@pytest.mark.parametrize(("stacks", "count"), [(1, 13_264_656), (2, 26_370_848)])
def test_workshop_parameters_for_16_joints(stacks: int, count: int) -> None:
    with torch.device("meta"):
        net = WorkshopStackedHourglass(16, stacks)
    assert parameters(net) == count == workshop_parameters(stacks, 16)


@pytest.mark.parametrize(
    ("stacks", "joints", "features", "depth", "blocks"),
    [(1, 1, 4, 1, 1), (3, 17, 20, 3, 2), (2, 5, 36, 2, 3)],
)
def test_every_number_of_the_constructor_counts(
    stacks: int, joints: int, features: int, depth: int, blocks: int
) -> None:
    net = StackedHourglass(joints, stacks, features, depth, blocks)
    assert parameters(net) == eccv_parameters(stacks, joints, features, depth, blocks)


# --- gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["all stages", "last stage"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: toy(1), id="eccv-1"),
        pytest.param(lambda: toy(3, blocks=2), id="eccv-3"),
        pytest.param(lambda: toy_workshop(1), id="workshop-1"),
        pytest.param(toy_workshop, id="workshop-2"),
    ],
)
def test_every_parameter_learns(make: Callable[[], nn.Module], answer: str) -> None:
    # In evaluation mode, because a batch's own mean would cancel each bias before a batch-norm; with the
    # statistics of this very batch, so that no ReLU is shut. The last stage alone must reach the earlier
    # heads too: their heatmaps are fed back.
    net, image = make(), picture(32, 32)
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


# --- shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stacks", "joints", "features", "depth", "height", "width"),
    [
        pytest.param(1, 16, 4, 1, 8, 8, id="smallest"),
        pytest.param(2, 14, 12, 3, 64, 32, id="upright"),
        pytest.param(3, 1, 20, 2, 16, 80, id="wide"),
        pytest.param(2, 17, 8, 4, 64, 128, id="deep"),
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


@pytest.mark.parametrize("stacks", [1, 2])
def test_workshop_shapes(stacks: int) -> None:
    net = toy_workshop(stacks, joints=11)
    assert [o.shape for o in net(picture(32, 64))] == [(2, 11, 8, 16)] * stacks
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


def test_both_networks_check_the_size_before_they_compute() -> None:
    for net in (toy(), toy_workshop()):
        with pytest.raises(ValueError, match=r"32 x 40 px does not fit 2 poolings.*multiples of 16"):
            net(torch.zeros(1, 3, 32, 40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"stacks": 0}, "stacks must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"blocks": -1}, "blocks must be at least 1, not -1"),
        ({"features": 30}, "features must be a positive multiple of 4, not 30"),
        ({"features": 0}, "features must be a positive multiple of 4, not 0"),
    ],
)
def test_numbers_that_make_no_network_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**change)


def test_workshop_build_has_one_or_two_stacks() -> None:
    with pytest.raises(ValueError, match="1 or 2 stacks, not 3"):
        WorkshopStackedHourglass(16, stacks=3)
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        WorkshopStackedHourglass(16, features=6)


# --- input values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [toy, toy_workshop])
def test_bytes_and_floats_of_one_picture_give_the_same(make: Callable[[], nn.Module]) -> None:
    net = make().eval()
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
    by_hand = torch.stack([(image[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    with torch.inference_mode():
        torch.testing.assert_close(net(image)[-1], plain(by_hand)[-1], rtol=1e-4, atol=1e-5)
        other = StackedHourglass(3, 1, 16, 2).eval()
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(image)[-1], net(image)[-1])


# --- a second implementation ----------------------------------------------------------------------------
# Plain functions over the state dict, one line per layer of the papers' Torch code.


def norm(s: State, at: str, x: Tensor) -> Tensor:
    mean, var = s[f"{at}.running_mean"], s[f"{at}.running_var"]
    scale = s[f"{at}.weight"] / torch.sqrt(var + 1e-5)
    return (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + s[f"{at}.bias"].view(1, -1, 1, 1)


def convolve(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = s[f"{at}.weight"]
    return F.conv2d(x, weight, s[f"{at}.bias"], stride=stride, padding=(weight.shape[-1] - 1) // 2)


def lin(s: State, at: str, x: Tensor, stride: int = 1) -> Tensor:
    return norm(s, f"{at}.1", convolve(s, f"{at}.0", x, stride)).clamp_min(0)


def pre_residual(s: State, at: str, x: Tensor) -> Tensor:
    y = x
    for i in (1, 2, 3):
        y = convolve(s, f"{at}.conv{i}", norm(s, f"{at}.bn{i}", y).clamp_min(0))
    return y + (convolve(s, f"{at}.skip", x) if f"{at}.skip.weight" in s else x)


def post_residual(s: State, at: str, x: Tensor) -> Tensor:
    y = norm(s, f"{at}.body.1", convolve(s, f"{at}.body.0", x)).clamp_min(0)
    y = norm(s, f"{at}.body.4", convolve(s, f"{at}.body.3", y)).clamp_min(0)
    y = norm(s, f"{at}.body.7", convolve(s, f"{at}.body.6", y))
    return y + (norm(s, f"{at}.skip.1", convolve(s, f"{at}.skip.0", x)) if f"{at}.skip.0.weight" in s else x)


def halve(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def eccv_reference(s: State, image: Tensor, stacks: int, depth: int, blocks: int) -> list[Tensor]:
    def chain(at: str, x: Tensor) -> Tensor:
        for k in range(blocks):
            x = pre_residual(s, f"{at}.{k}", x)
        return x

    def hourglass(at: str, x: Tensor, n: int) -> Tensor:
        low = chain(f"{at}.before", halve(x))
        low = hourglass(f"{at}.inner", low, n - 1) if n > 1 else chain(f"{at}.inner", low)
        return chain(f"{at}.up", x) + double(chain(f"{at}.after", low))

    x = lin(s, "stem.0", image, stride=2)
    x = halve(pre_residual(s, "stem.1", x))
    x = pre_residual(s, "stem.4", pre_residual(s, "stem.3", x))
    outputs = []
    for i in range(stacks):
        y = lin(s, f"necks.{i}.1", chain(f"necks.{i}.0", hourglass(f"hourglasses.{i}", x, depth)))
        outputs.append(convolve(s, f"heads.{i}", y))
        if i + 1 < stacks:
            x = x + convolve(s, f"merge_features.{i}", y) + convolve(s, f"merge_heatmaps.{i}", outputs[-1])
    return outputs


@pytest.mark.parametrize(("stacks", "depth", "blocks"), [(1, 1, 1), (3, 2, 2)])
def test_eccv_build_equals_the_second_implementation(stacks: int, depth: int, blocks: int) -> None:
    net = live_statistics(toy(stacks, depth=depth, blocks=blocks)).double().eval()
    image = (picture().float() / 255).double()
    with torch.inference_mode():
        expected = eccv_reference(net.state_dict(), image, stacks, depth, blocks)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def workshop_reference(s: State, image: Tensor, stacks: int, depth: int) -> list[Tensor]:
    def chain(at: str, x: Tensor, count: int) -> Tensor:
        for k in range(count):
            x = post_residual(s, f"{at}.{k}", x)
        return x

    def hourglass(at: str, x: Tensor, n: int) -> Tensor:
        low = chain(f"{at}.before", halve(x), 3)
        low = hourglass(f"{at}.inner", low, n - 1) if n > 1 else post_residual(s, f"{at}.inner", low)
        return chain(f"{at}.up", x, 3) + double(post_residual(s, f"{at}.after", low))

    def neck(i: int, x: Tensor) -> Tensor:
        return lin(s, f"necks.{i}.1", lin(s, f"necks.{i}.0", x))

    pooled = halve(post_residual(s, "stem.1", lin(s, "stem.0", image, stride=2)))
    y = neck(0, hourglass("hourglasses.0", chain("widen", pooled, 3), depth))
    outputs = [convolve(s, "heads.0", y)]
    if stacks == 2:
        x = convolve(s, "merge_features", torch.cat([y, pooled], 1))
        x = x + convolve(s, "merge_heatmaps", outputs[0])
        outputs.append(convolve(s, "heads.1", neck(1, hourglass("hourglasses.1", x, depth))))
    return outputs


@pytest.mark.parametrize("stacks", [1, 2])
def test_workshop_build_equals_the_second_implementation(stacks: int) -> None:
    net = live_statistics(toy_workshop(stacks)).double().eval()
    image = (picture().float() / 255).double()
    with torch.inference_mode():
        expected = workshop_reference(net.state_dict(), image, stacks, depth=2)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
