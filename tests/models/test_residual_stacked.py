"""The highways: what they add, where, and that they add nothing else."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.residual_stacked import HIGHWAYS, ResidualStackedHourglass, residual_stacked
from hourglass.models.stacked_hourglass import StackedHourglass

State = dict[str, Tensor]


def toy(stacks: int = 5, highways: str = "input", blocks: int = 1) -> ResidualStackedHourglass:
    torch.manual_seed(0)
    return ResidualStackedHourglass(3, stacks, 8, 1, blocks, highways)


def picture(height: int = 32, width: int = 48, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def with_known_weights(net: nn.Module) -> nn.Module:
    """Every tensor drawn by name, not by order of construction; batch-norms as after training."""
    generator = torch.Generator().manual_seed(8)
    for name, tensor in sorted(net.state_dict().items()):
        if name.startswith("normalise.") or not tensor.is_floating_point():
            continue
        if tensor.ndim == 4:
            bound = tensor[0].numel() ** -0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.uniform_(-0.3, 0.3, generator=generator)
    return net.eval()


def answers(net: nn.Module) -> list[Tensor]:
    with torch.inference_mode():
        outputs: list[Tensor] = net.double()((picture().float() / 255).double())
    return outputs


# --- parameters -----------------------------------------------------------------------------------------


def conv(i: int, o: int, kernel: int = 1) -> int:
    return i * o * kernel**2 + o


def residual(i: int, o: int) -> int:
    mid = o // 2
    norms = 2 * i + 2 * mid + 2 * mid
    return norms + conv(i, mid) + conv(mid, mid, 3) + conv(mid, o) + (conv(i, o) if i != o else 0)


def by_hand(joints: int, stacks: int, f: int, depth: int, blocks: int) -> int:
    stem = conv(3, f // 4, 7) + f // 2 + residual(f // 4, f // 2) + residual(f // 2, f // 2)
    stem += residual(f // 2, f)
    stage = (3 * depth + 2) * blocks * residual(f, f) + conv(f, f) + 2 * f + conv(f, joints)
    return stem + stacks * stage + (stacks - 1) * (conv(f, f) + conv(joints, f))


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_parameters_of_the_slides_network(highways: str) -> None:
    with torch.device("meta"):
        published = residual_stacked()
        net = ResidualStackedHourglass(17, highways=highways)
    counts = {sum(p.numel() for p in n.parameters()) for n in (published, net)}
    assert counts == {31_021_525} == {by_hand(17, 5, 256, 4, 2)}
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
    assert sum(p.numel() for p in net.parameters()) == by_hand(joints, stacks, features, depth, blocks)
    outputs = net(picture(16, 32))
    assert [o.shape for o in outputs] == [(2, joints, 4, 8)] * stacks
    assert (net.output, net.stride) == ("heatmap", 4)


# --- what the highways do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", [1, 2, 5])
def test_without_highways_it_is_the_stacked_hourglass(stacks: int) -> None:
    net = with_known_weights(toy(stacks, "none"))
    plain = StackedHourglass(3, stacks, 8, 1).eval()
    plain.load_state_dict(net.state_dict())
    for ours, theirs in zip(answers(net), answers(plain), strict=True):
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
    plain, net = (answers(with_known_weights(toy(stacks, word))) for word in ("none", highways))
    changed = [not torch.allclose(a, b, atol=1e-3) for a, b in zip(plain, net, strict=True)]
    assert changed == [stack >= first_changed for stack in range(stacks)]


def test_every_placement_answers_otherwise() -> None:
    last = [answers(with_known_weights(toy(5, word)))[-1] for word in HIGHWAYS]
    for i, one in enumerate(last):
        for other in last[:i]:
            assert not torch.allclose(one, other, atol=1e-3)


# --- a second implementation ------------------------------------------------------------------------------
# Plain functions over the state dict; the highways word by word as the options describe them.


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


def halve(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def reference(s: State, image: Tensor, stacks: int, blocks: int, highways: str) -> list[Tensor]:
    """Of hourglasses with one pooling."""

    def chain(at: str, x: Tensor) -> Tensor:
        for k in range(blocks):
            x = pre_residual(s, f"{at}.{k}", x)
        return x

    def hourglass(at: str, x: Tensor) -> Tensor:
        low = chain(f"{at}.after", chain(f"{at}.inner", chain(f"{at}.before", halve(x))))
        return chain(f"{at}.up", x) + double(low)

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
        y = lin(s, f"necks.{i}.1", chain(f"necks.{i}.0", features))
        outputs.append(convolve(s, f"heads.{i}", y))
        if i + 1 < stacks:
            x = x + convolve(s, f"merge_features.{i}", y) + convolve(s, f"merge_heatmaps.{i}", outputs[-1])
        leaving.append(x)
    return outputs


@pytest.mark.parametrize("highways", HIGHWAYS)
@pytest.mark.parametrize(("stacks", "blocks"), [(5, 1), (4, 1), (3, 2)])
def test_network_equals_the_second_implementation(stacks: int, blocks: int, highways: str) -> None:
    net = with_known_weights(toy(stacks, highways, blocks)).double()
    image = (picture().float() / 255).double()
    with torch.inference_mode():
        expected = reference(net.state_dict(), image, stacks, blocks, highways)
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- gradients and precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_every_parameter_learns(highways: str) -> None:
    # In evaluation mode, because a batch's own mean would cancel each bias before a batch-norm; with the
    # statistics of this very batch, so that no ReLU is shut.
    torch.manual_seed(0)
    net, image = ResidualStackedHourglass(3, 5, 16, 1, 1, highways), picture()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(image)
    loss = torch.stack([((o - 0.5) ** 2).sum() for o in net.eval()(image)]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    dead = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert dead == []


@pytest.mark.parametrize("highways", HIGHWAYS)
def test_bf16_autocast_stays_close_to_float32(highways: str) -> None:
    net, image = with_known_weights(toy(5, highways)), picture()
    with torch.inference_mode():
        exact = net(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(image)
    for ours, theirs in zip(rough, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        # bf16 keeps 8 bits: a part in 256 a layer, here of some 60 in a row.
        assert float((ours.float() - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


# --- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"highways": "both"}, "highways must be one of input, merged, output, none, not 'both'"),
        ({"stacks": 1}, "highways 'input' join nothing when stacks is 1"),
        ({"stacks": 1, "highways": "output"}, "highways 'output' join nothing when stacks is 1"),
        ({"stacks": 2, "highways": "merged"}, "highways 'merged' join nothing when stacks is 2"),
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
    by_hand = torch.stack([(image[:, c] - mean[c]) / std[c] for c in range(3)], 1)
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
    answer = answers(with_known_weights(toy(5, highways, 2)))[-1]
    some = [answer[0, 0, 0, 0], answer[1, 1, 3, 5], answer[0, 2, 7, 11], answer[1].mean()]
    assert torch.stack(some).tolist() == pytest.approx(values, abs=1e-4)
