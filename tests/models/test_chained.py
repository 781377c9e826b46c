"""The chain against parameter formulas, a second implementation pair by pair, and who may hear whom."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16
from hourglass.models.chained import (
    FEEDBACKS,
    ChainedPrediction,
    Feedback,
    chained,
    default_order,
    order_from_names,
)
from hourglass.models.heatmap import encode

State = dict[str, Tensor]
ORDER, HIDDEN = (2, 0, 3, 1), 12
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)


def toy(
    joints: int = 4,
    order: Sequence[int] = ORDER,
    kernels: tuple[int, int] = (1, 3),
    feedback: Feedback = "softmax",
) -> ChainedPrediction:
    """A tiny network with batch-norms as after training, nothing at 0 or 1."""
    torch.manual_seed(0)
    net = ChainedPrediction(joints, order, 34, 2, HIDDEN, *kernels, feedback, MEAN, STD)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.uniform_(-0.3, 0.3)
        elif name.endswith("end.weight"):
            # Maps are nearly flat at the start; louder ones show every path.
            tensor.mul_(20)
    return net.eval()


def picture(height: int = 64, width: int = 96, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def true_maps(joints: int = 4, height: int = 8, width: int = 12, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(count, joints, 2, generator=generator) * torch.tensor([width, height])
    return encode(points, height, width, 1.0)


def conv(i: int, o: int, kernel: int = 1) -> int:
    return i * o * kernel**2 + o


RESNET34 = 21_797_672 - (512 * 1000 + 1000)  # the published network less its classifier


def formula(joints: int, hh: int = 1, oh: int = 1, of_nn: bool = False) -> int:
    """From NN's layers; it also counts an unused transition and embeddings after the last joint."""
    towers = sum(conv(32, 32, k) for k in (2, 4, 6))
    deception = conv(64, 32) + 2 * (towers + 64) + conv(32, 1, 3)
    transition = conv(64, 64, hh) + 128
    embedding = conv(1, 64) + 2 * (conv(64, 64, oh) + 128)
    used = joints if of_nn else joints - 1
    chain = joints * deception + used * transition + sum(range(used + 1)) * embedding
    return RESNET34 + conv(512, 64) + chain


def test_the_formula_gives_the_counts_of_the_published_code() -> None:
    assert round(formula(17, of_nn=True) / 1e6, 2) == 24.72
    assert round(formula(16, of_nn=True) / 1e6, 2) == 24.45
    assert round(formula(17, hh=5, of_nn=True) / 1e6, 3) == 26.389
    # All that ours lacks is what NN's forward never calls.
    assert formula(17, of_nn=True) - formula(17) == 152_256


@pytest.mark.parametrize(
    ("joints", "hh", "oh", "count"),
    [
        (16, 1, 1, 24_304_336),
        (17, 1, 1, 24_565_265),
        (16, 5, 1, 25_778_896),
        (17, 5, 1, 26_138_129),
        (16, 1, 3, 32_168_656),
    ],
)
def test_parameters(joints: int, hh: int, oh: int, count: int) -> None:
    with torch.device("meta"):
        net, preset = ChainedPrediction(joints, hidden_kernel=hh, output_kernel=oh), chained(joints)
    assert sum(p.numel() for p in net.parameters()) == count == formula(joints, hh, oh)
    assert sum(p.numel() for p in preset.parameters()) == formula(joints)
    if oh == 1:
        assert f"{count / 1e6:.3f} M" in (chained.__doc__ or "")


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_every_parameter_learns_from_the_last_joints_map(feedback: Feedback) -> None:
    # In evaluation mode with this batch's statistics, because a batch's own mean cancels each bias before a
    # batch-norm. Gradients must run back through every fed map: all but the last decoder learn only so.
    net, image = toy(feedback=feedback), picture()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(image)
    net.eval()
    # Only shifts of a distribution's logits are lost on the way, as they must be.
    lost = {f"decoders.{t}.end.bias" for t in range(3)} if feedback == "softmax" else set()
    for joints, unheard in ((ORDER[-1:], lost), (ORDER, set())):
        net.zero_grad()
        (net(image)[0] - true_maps())[:, list(joints)].pow(2).sum().backward()
        dead = {n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)}
        assert dead - unheard == set()


# --- a second implementation ----------------------------------------------------------------------------
# Plain functions over the state dict, one call per pair of joints.


def norm(s: State, at: str, x: Tensor, rows: slice = slice(None)) -> Tensor:
    mean, var, gain, shift = (s[f"{at}.{n}"][rows] for n in ("running_mean", "running_var", "weight", "bias"))
    y = (x - mean.view(-1, 1, 1)) / torch.sqrt(var.view(-1, 1, 1) + 1e-5)
    return y * gain.view(-1, 1, 1) + shift.view(-1, 1, 1)


def convolve(s: State, at: str, x: Tensor, stride: int = 1, rows: slice = slice(None)) -> Tensor:
    weight = s[f"{at}.weight"][rows]
    side = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (side,) * 4), weight, s[f"{at}.bias"][rows], stride)


def deception(s: State, at: str, x: Tensor) -> Tensor:
    x = convolve(s, f"{at}.start", x)
    for level in range(2):
        total = torch.zeros(())
        for tower, cut in enumerate((0, 1, 2)):
            weight, bias = (s[f"{at}.ups.{level}.{tower}.{name}"] for name in ("weight", "bias"))
            total = total + F.conv_transpose2d(x, weight, bias, 2, cut)
        x = norm(s, f"{at}.norms.{level}", total).clamp_min(0)
    return convolve(s, f"{at}.end", x)


def embed(s: State, i: int, t: int, y: Tensor) -> Tensor:
    """What step t hears of step i: only the slices that belong to this pair."""
    at, rows = f"embeddings.{i}", slice((t - i - 1) * HIDDEN, (t - i) * HIDDEN)
    x = convolve(s, f"{at}.0", y, rows=rows)
    x = norm(s, f"{at}.2", convolve(s, f"{at}.1", x, 2, rows), rows)
    return norm(s, f"{at}.4", convolve(s, f"{at}.3", x, 2, rows), rows)


def two_pi(maps: Tensor) -> Tensor:
    return maps * (6.283185307179586 / maps.sum((-1, -2), keepdim=True))


def reference(
    s: State, features: Tensor, feedback: Feedback, truth: Tensor | None, use: Tensor | None
) -> Tensor:
    h = convolve(s, "start", features)
    said: list[Tensor] = []
    maps: dict[int, Tensor] = {}
    for t, joint in enumerate(ORDER):
        if t:
            h = norm(s, f"transitions.{t - 1}.1", convolve(s, f"transitions.{t - 1}.0", h))
            for i, y in enumerate(said):
                h = h + embed(s, i, t, y)
            h = h.clamp_min(0)
        y = maps[joint] = deception(s, f"decoders.{t}", h)
        if feedback == "softmax":
            y = two_pi(y.exp())
        if truth is not None:
            true = truth[:, joint : joint + 1].double()
            true = two_pi(true) if feedback == "softmax" else true
            y = torch.stack([true[b] if use is None or use[b, joint] else y[b] for b in range(len(y))])
        said.append(y)
    return torch.cat([maps[j] for j in sorted(maps)], 1)


@pytest.mark.parametrize(
    ("feedback", "kernels", "fed"),
    [
        pytest.param("softmax", (1, 1), "own", id="as-published"),
        pytest.param("softmax", (5, 3), "mixed", id="scheduled"),
        pytest.param("raw", (3, 1), "own", id="raw"),
        pytest.param("raw", (1, 5), "truth", id="raw-taught"),
    ],
)
def test_the_chain_equals_the_second_implementation(
    feedback: Feedback, kernels: tuple[int, int], fed: str
) -> None:
    net, image = toy(kernels=kernels, feedback=feedback).double(), picture().double() / 255
    mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (MEAN, STD))
    truth = None if fed == "own" else true_maps()
    use = torch.tensor([[True, False, False, True], [False, True, True, False]]) if fed == "mixed" else None
    with torch.inference_mode():
        # The encoder has a second implementation of its own, in test_resnet.
        features = net.encoder((image - mean) / std)
        expected = reference(net.state_dict(), features, feedback, truth, use)
        (ours,) = net(image, truth, use)
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


def test_another_order_is_another_function() -> None:
    net, other = toy(order=ORDER), toy(order=())
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        (ours,), (theirs,) = net(picture()), other(picture())
    # Each step has its own weights: the same maps come out, under other joints' names.
    assert torch.equal(ours[:, list(ORDER)], theirs)
    assert not any(torch.allclose(ours[:, j], theirs[:, j], atol=1e-3) for j in range(4))


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("step", range(4))
def test_truth_about_a_joint_reaches_all_later_ones_and_no_earlier(step: int, feedback: Feedback) -> None:
    net, image, use = toy(feedback=feedback), picture(), torch.zeros(2, 4, dtype=torch.bool)
    use[1, ORDER[step]] = True
    with torch.inference_mode():
        (own,), (none,) = net(image), net(image, true_maps(), torch.zeros_like(use))
        (taught,) = net(image, true_maps(), use)
    assert torch.equal(own, none)
    # The first person of the batch is told nothing.
    assert torch.equal(own[0], taught[0])
    for at, joint in enumerate(ORDER):
        assert torch.equal(own[1, joint], taught[1, joint]) == (at <= step)


def test_fed_the_truth_the_chain_does_not_see_its_own_answers() -> None:
    net, truth, everywhere = toy(), true_maps(), torch.ones(2, 4, dtype=torch.bool)
    with torch.inference_mode():
        (before,) = net(picture(), truth, everywhere)
        assert torch.equal(before, net(picture(), truth)[0])
        for parameter in net.decoders[1].parameters():
            parameter.mul_(-3)
        (after,) = net(picture(), truth, everywhere)
        (alone,) = net(picture())
    assert [torch.equal(before[:, j], after[:, j]) for j in ORDER] == [True, False, True, True]
    assert not torch.allclose(alone[:, ORDER[2]], after[:, ORDER[2]])


def test_softmax_feedback_takes_the_truth_at_any_scale_and_hears_an_empty_map_as_silence() -> None:
    net, raw, truth = toy(), toy(feedback="raw"), true_maps()
    with torch.inference_mode():
        (once,), (twice,) = net(picture(), truth), net(picture(), 2 * truth)
        torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(raw(picture(), truth)[0], raw(picture(), 2 * truth)[0], atol=1e-3)
        (silent,) = net(picture(), truth * (torch.arange(4) != ORDER[0]).view(4, 1, 1))
    assert bool(silent.isfinite().all())
    assert not torch.allclose(silent[:, ORDER[1]], once[:, ORDER[1]], atol=1e-3)


@pytest.mark.parametrize(("kernel", "heard"), [(1, 6), (3, 96)])
def test_kernels_of_one_hear_every_fourth_row_and_column_only(kernel: int, heard: int) -> None:
    net, truth = toy(kernels=(1, kernel), feedback="raw"), true_maps(count=1).requires_grad_()
    (maps,) = net(picture(count=1), truth)
    maps[:, ORDER[1]].pow(2).sum().backward()
    assert truth.grad is not None
    assert int((truth.grad[0, ORDER[0]] != 0).sum()) == heard == 8 * 12 // (16 if kernel == 1 else 1)


@pytest.mark.parametrize(
    ("joints", "height", "width", "feedback", "output"),
    [(1, 32, 64, "softmax", "logits"), (5, 96, 32, "raw", "heatmap"), (3, 64, 160, "softmax", "logits")],
)
def test_maps_at_an_eighth_of_the_size(
    joints: int, height: int, width: int, feedback: Feedback, output: str
) -> None:
    net = toy(joints, (), feedback=feedback)
    (maps,) = net(picture(height, width))
    assert (maps.shape, maps.dtype) == ((2, joints, height // 8, width // 8), torch.float32)
    assert (net.output, net.stride) == (output, 8)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_bf16_autocast_trains_with_finite_gradients(feedback: Feedback) -> None:
    net = toy(feedback=feedback).train()
    with torch.autocast("cpu", torch.bfloat16):
        (maps,) = net(picture(), true_maps(), torch.tensor([[True, False, True, False]] * 2))
    assert bool(maps.isfinite().all())
    maps.float().pow(2).mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    with torch.inference_mode():
        (full,) = net.eval()(picture())
        with torch.autocast("cpu", torch.bfloat16):
            (half,) = net(picture())
    assert float((half.float() - full).abs().max()) < 0.1 * float(full.abs().max())


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_the_exported_network_agrees_on_another_batch_size(feedback: Feedback) -> None:
    net, shapes = toy(feedback=feedback), {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(net, (picture(),), dynamic_shapes=shapes).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(five := picture(count=5))[0], net(five)[0], rtol=1e-4, atol=1e-5)


def test_golden_outputs() -> None:
    # Weights from a formula, not from a generator; values as of the version that the second implementation
    # approved. Any change of what stored weights mean shows here.
    net = toy(3, (1, 2, 0))
    for index, (name, tensor) in enumerate(sorted(net.state_dict().items())):
        if tensor.is_floating_point() and not name.startswith("normalise."):
            wave = torch.sin(torch.arange(tensor.numel()).double() * 1.7 + index).view_as(tensor)
            near = 1 if name.endswith(("weight", "var")) else 0
            tensor.copy_(wave * tensor[0].numel() ** -0.5 if tensor.dim() > 1 else near + 0.2 * wave)
    ramp = (torch.arange(3 * 32 * 64) % 251).view(1, 3, 32, 64).to(torch.uint8)
    with torch.inference_mode():
        (maps,) = net(ramp)
    golden = [[0.11919, 0.18483, 0.21837], [-0.10862, 0.01704, -0.02124], [0.24876, 0.16824, 0.09432]]
    torch.testing.assert_close(maps[0, :, 1, ::3], torch.tensor(golden), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (MPII16.joints, "head_top neck thorax shoulder hip pelvis elbow knee wrist ankle"),
        (LSP14.joints, "head_top neck shoulder hip elbow knee wrist ankle"),
        (FLIC11.joints, "eye nose shoulder hip elbow wrist"),
        (COCO17.joints, "nose eye ear shoulder hip elbow knee wrist ankle"),
    ],
)
def test_easy_joints_come_first(names: Sequence[str], expected: str) -> None:
    order = default_order(names)
    assert sorted(order) == list(range(len(names)))
    kinds = [re.sub("^(left|right)_", "", names[row]) for row in order]
    assert [kind for kind, _ in groupby(kinds)] == expected.split()


def test_strange_names_come_last_in_their_own_order() -> None:
    names = ("tail", "LAnkle", "r_wrist", "Shoulder_L", "forearm", "upperNeck", "RIGHT_HIP", "paw 2")
    expected = ("upperNeck", "Shoulder_L", "RIGHT_HIP", "r_wrist", "LAnkle", "tail", "forearm", "paw 2")
    assert tuple(names[i] for i in default_order(names)) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["a", "b"], "network.order lacks 'c'; name every joint once"),
        ([], "network.order lacks 'a', 'b', 'c'"),
        (["a", "b", "c", "b"], "network.order names 'b' 2 times"),
        (["a", "b", "hand"], "network.order names 'hand', but the joints are a, b, c"),
    ],
)
def test_an_order_that_is_no_permutation_of_names_is_refused(wanted: list[str], message: str) -> None:
    assert order_from_names(("a", "b", "c"), ["c", "a", "b"]) == (2, 0, 1)
    with pytest.raises(ValueError, match=message):
        order_from_names(("a", "b", "c"), wanted)


ORDER_ERROR = r"order must name each joint from 0 to 2 once, not \["


def test_depth_and_width_are_the_encoders() -> None:
    nets = [ChainedPrediction(2, depth=depth, width=width, hidden=4) for depth, width in ((34, 3), (50, 1))]
    assert [net.start.in_channels for net in nets] == [24, 32]
    assert [net(picture())[0].shape for net in nets] == [(2, 2, 8, 12)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"joints": 0}, "joints must be at least 1, not 0"),
        ({"hidden": 7}, "hidden must be a positive even number, not 7"),
        ({"hidden": 0}, "hidden must be a positive even number, not 0"),
        ({"hidden_kernel": 2}, "hidden_kernel must be a positive odd number, not 2"),
        ({"output_kernel": -1}, "output_kernel must be a positive odd number, not -1"),
        ({"feedback": "hard"}, "unknown feedback 'hard'; known are softmax, raw"),
        ({"depth": 18}, "34, 50, 101 layers, not 18"),
        *(({"order": bad}, ORDER_ERROR) for bad in ((0, 1), (0, 1, 1), (0, 1, 3), (0, 1, 2, 2), (-1, 0, 1))),
        ({"width": 0}, "width must be at least 1, not 0"),
    ],
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainedPrediction(**{"joints": 3, "width": 1, **options})


@pytest.mark.parametrize(
    ("image", "truth", "use", "message"),
    [
        ((64, 100), None, None, r"64 x 100 px does not fit .* multiples of 32"),
        ((0, 64), None, None, r"0 x 64 px does not fit"),
        ((64, 96), (2, 4, 8, 11), None, r"shape \(2, 4, 8, 11\), but the answer has \(2, 4, 8, 12\)"),
        ((64, 96), None, torch.ones(2, 4).bool(), r"use_truth needs truth"),
        ((64, 96), (2, 4, 8, 12), torch.ones(2, 3).bool(), r"bool \(2, 3\); it must be torch.bool \(2, 4\)"),
        ((64, 96), (2, 4, 8, 12), torch.ones(2, 4), r"use_truth is torch.float32 \(2, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_numbers(
    image: tuple[int, int], truth: tuple[int, ...] | None, use: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        toy()(torch.zeros(2, 3, *image), None if truth is None else torch.zeros(truth), use)
