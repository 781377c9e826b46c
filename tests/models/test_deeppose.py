"""DeepPose against published counts, a functional second implementation."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.deeppose import (
    DeepPose,
    Regressor,
    cut_views,
    deeppose,
    deeppose_resnet,
    deeppose_slides,
)
from plain_layers import State, parameters, picture, under_autocast, without_gradient

TORSO = ((0, 2), (1, 3))
SMALL = {"alexnet": (4, 64), "resnet34": (4, 32), "resnet50": (2, 32), "resnet101": (1, 32)}


def toy(backbone: str = "alexnet", joints: int = 4, stages: int = 2, **change: Any) -> DeepPose:
    torch.manual_seed(0)
    width, view_px = SMALL[backbone]
    options: dict[str, Any] = {"torso": TORSO, "width": width, "view_px": view_px} | change
    return DeepPose(joints, options.pop("torso"), stages, backbone, **options)


def crop(side: int = 96, count: int = 2) -> Tensor:
    return picture(side, side, count)


@torch.no_grad()
def vivid(net: DeepPose) -> DeepPose:
    """In evaluation mode, as after training: answers all over the crop, nothing left at 0 or 1."""
    generator = torch.Generator().manual_seed(8)
    for name, p in [*net.stages.named_parameters(), *net.stages.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            p.uniform_(-0.1, 0.1, generator=generator)
        elif p.is_floating_point() and p.ndim == 1:
            p.uniform_(0.7, 1.3, generator=generator)
        elif p.ndim > 1:
            p.normal_(0, (2 / p[0].numel()) ** 0.5, generator=generator)
    net.eval()
    for i, stage in enumerate(net.stages):
        assert isinstance(stage, Regressor)
        stage.head.bias.zero_()
        net.set_active_stages(i + 1)
        answers = net(crop())
        stage.head.weight *= 0.2 / (answers[-1] - (answers[-2] if i else 0)).std()
        stage.head.bias.uniform_(-0.1, 0.1, generator=generator)
    return net


# --- parameters -----------------------------------------------------------------------------------------


def alexnet_parameters(joints: int, cells: int = 6) -> int:
    """From the paper's layer list, without groups; `cells` a side is what the last pooling leaves."""
    kernels = [(3, 96, 11), (96, 256, 5), (256, 384, 3), (384, 384, 3), (384, 256, 3)]
    convolutions = sum(o * (i * k * k + 1) for i, o, k in kernels)
    full = [(256 * cells * cells, 4096), (4096, 4096), (4096, 2 * joints)]
    return convolutions + sum(o * (i + 1) for i, o in full)


@pytest.mark.parametrize(("joints", "count"), [(16, 58_412_448), (17, 58_420_642)])
def test_alexnet_parameters(joints: int, count: int) -> None:
    with torch.device("meta"):
        one, three = DeepPose(joints, (), 1), deeppose(joints)
    assert parameters(one) == count == alexnet_parameters(joints)
    assert parameters(three) == 3 * count
    # The paper and the slides say 40 M; the layers that the paper lists hold 58.42 M in one stage alone.
    assert round(count / 1e6, 1) == 58.4


@pytest.mark.parametrize(("view_px", "cells", "millions"), [(220, 6, 58.42), (192, 5, 46.9), (160, 4, 37.4)])
def test_a_smaller_view_has_a_smaller_first_full_layer(view_px: int, cells: int, millions: float) -> None:
    with torch.device("meta"):
        net = DeepPose(17, (), 1, view_px=view_px)
    assert parameters(net) == alexnet_parameters(17, cells)
    assert parameters(net) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("depth", "encoder", "features"), [(34, 21_284_672, 512), (50, 23_508_032, 2048), (101, 42_500_160, 2048)]
)
def test_residual_parameters(depth: int, encoder: int, features: int) -> None:
    with torch.device("meta"):
        one, three = deeppose_resnet(depth, 17), deeppose_resnet(depth, 16, stages=3)
    assert parameters(one) == encoder + features * 34 + 34
    assert parameters(three) == 3 * (encoder + features * 32 + 32)


def test_resnet34_has_the_size_of_the_compared_network() -> None:
    with torch.device("meta"):
        assert parameters(deeppose_resnet()) == 21_302_114


def test_the_slides_network_keeps_a_grid_of_two_by_two() -> None:
    with torch.device("meta"):
        net = deeppose_slides()
    # 512 features of each of 4 cells to 17 x and y, and biases.
    assert parameters(net) == 21_354_338 == 21_284_672 + 4 * 512 * 34 + 34


def test_windows_are_means_of_seven_by_seven_cells() -> None:
    net = vivid(toy("resnet34", stages=1, view_px=256, pool="windows")).double()
    stage = net.stages[0]
    image = crop(256).double() / 255
    with torch.inference_mode():
        cells = stage.encoder[0](image)  # type: ignore[index, operator]
        assert cells.shape[-2:] == (8, 8)
        grid = [[cells[:, :, y : y + 7, x : x + 7].mean((2, 3)) for x in (0, 1)] for y in (0, 1)]
        flat = torch.stack([torch.stack(row, -1) for row in grid], -2).flatten(1)
        state = stage.state_dict()
        expected = (flat @ state["head.weight"].T + state["head.bias"]).reshape(-1, 4, 2)
        torch.testing.assert_close(net(image)[0], expected, rtol=1e-9, atol=1e-9)


def test_windows_need_as_many_cells() -> None:
    with pytest.raises(ValueError, match="view_px must be at least 193 for windows of 7 cells, not 192"):
        toy("resnet34", view_px=192, pool="windows")
    toy("resnet34", view_px=193, pool="windows")


def test_alexnet_may_have_batch_norms_instead_of_response_norms() -> None:
    plain, normed = toy(stages=1), toy(stages=1, batch_norm=True)
    kinds = {type(module) for module in normed.modules()}
    assert nn.LocalResponseNorm not in kinds
    norms = [m for m in normed.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert [norm.num_features for norm in norms] == [6, 16, 24, 24, 16, 256, 256]
    assert parameters(normed) == parameters(plain) + sum(2 * norm.num_features for norm in norms)
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in plain.modules())
    # Before the ReLU: what a layer gives is normalised, so about half of it is cut off.
    features = normed.stages[0].encoder(torch.randn(64, 3, 64, 64))  # type: ignore[operator]
    assert 0.3 < (features > 0).float().mean() / (1 - 0.6) < 0.7
    with pytest.raises(ValueError, match="batch_norm is for alexnet; resnet34 has batch-norms anyway"):
        toy("resnet34", batch_norm=True)


def test_narrow_alexnet_is_narrow_everywhere() -> None:
    with torch.device("meta"):
        shapes = [p.shape[0] for p in DeepPose(5, (), 1, width=2).parameters() if p.ndim > 1]
    assert shapes == [3, 8, 12, 12, 8, 128, 128, 10]


# --- the regressor, a second implementation ---------------------------------------------------------------


def alexnet_reference(s: State, x: Tensor) -> Tensor:
    def response_norm(x: Tensor) -> Tensor:
        """Of activities a, a / (2 + 1e-4 * sum of a^2 over the 5 nearest features)^0.75."""
        near = F.pad(x**2, (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
        return x / (2 + 1e-4 * near) ** 0.75

    def pool(x: Tensor) -> Tensor:
        return x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))

    def conv(at: int, x: Tensor, stride: int, padding: int) -> Tensor:
        weight, bias = s[f"encoder.{at}.weight"], s[f"encoder.{at}.bias"]
        return F.conv2d(x, weight, bias, stride, padding).clamp_min(0)

    x = pool(response_norm(conv(0, x, 4, 4)))
    x = pool(response_norm(conv(4, x, 1, 2)))
    x = conv(12, conv(10, conv(8, x, 1, 1), 1, 1), 1, 1)
    x = pool(x).flatten(1)
    for at in (16, 19):
        x = (x @ s[f"encoder.{at}.weight"].T + s[f"encoder.{at}.bias"]).clamp_min(0)
    return x


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_first_stage_equals_the_second_implementation(backbone: str) -> None:
    net = vivid(toy(backbone, stages=1, view_px=80)).double()  # several cells at the end of either
    stage = net.stages[0]
    state = stage.state_dict()
    image = crop(net.view_px).double() / 255  # no resizing
    with torch.inference_mode():
        if backbone == "alexnet":
            features = alexnet_reference(state, image)
        else:
            features = stage.encoder[0](image).mean((2, 3))  # type: ignore[index, operator]
        flat = features @ state["head.weight"].T + state["head.bias"]
        expected = torch.stack([flat[:, 0::2], flat[:, 1::2]], -1)
        assert expected.std() > 0.01
        torch.testing.assert_close(net(image)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_stages_have_weights_of_their_own_and_every_parameter_learns(backbone: str) -> None:
    net = vivid(toy(backbone))
    answers = net(crop())
    answers[-1].square().sum().backward()
    taught = {n for n, p in net.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert taught == {n for n, _ in net.named_parameters() if n.startswith("stages.1.")}
    answers[0].square().sum().backward()
    assert without_gradient(net) == []


def test_given_boxes_answer_in_box_sides() -> None:
    net = vivid(toy(stages=3))
    image = crop()
    centers = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    sides = torch.tensor([[0.3, 0.4, 0.5, 0.6], [0.7, 0.3, 0.2, 0.9]])
    for active in (2, 3):
        net.set_active_stages(active)
        with torch.inference_mode():
            (answer,) = net(image, (centers, sides))
            views = cut_views(image.float() / 255, centers, sides, 64)
            every = net.stages[active - 1](views).view(2, 4, 4, 2)
        torch.testing.assert_close(answer, torch.stack([every[:, j, j] for j in range(4)], 1))
    net.set_active_stages(1)
    with pytest.raises(ValueError, match="stage 1 sees the whole crop: boxes need at least 2 active stages"):
        net(image, (centers, sides))


# --- active stages ------------------------------------------------------------------------------------------


def test_active_stages_are_run_and_travel_with_the_weights() -> None:
    net = vivid(toy("resnet34", stages=3))
    image = crop(40)
    with torch.inference_mode():
        whole = net(image)
        assert len(whole) == net.active_stages == 3
        net.set_active_stages(2)
        shorter = net(image)
    assert len(shorter) == 2
    assert torch.equal(shorter[-1], whole[1])
    other, holder = toy("resnet34", stages=3).eval(), nn.Module()
    holder.inner = other
    holder.load_state_dict({f"inner.{k}": v for k, v in net.state_dict().items()})
    for copied in (other, copy.deepcopy(other)):
        assert copied.active_stages == int(copied.active) == 2
        with torch.inference_mode():
            assert torch.equal(copied(image)[-1], shorter[-1])
    twin = copy.deepcopy(other)
    twin.load_state_dict(toy("resnet34", stages=3).state_dict())
    assert (twin.active_stages, other.active_stages) == (3, 2)


@pytest.mark.parametrize("count", [0, 4])
def test_active_stages_that_are_not_there(count: int) -> None:
    net = toy(stages=3)
    with pytest.raises(ValueError, match=f"active stages must be 1 to 3, not {count}"):
        net.set_active_stages(count)
    assert (net.active_stages, int(net.active)) == (3, 3)


# --- options, values, precision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"view_px": 48},
        {"box_sigma": 1.0},
        {"torso": ((0, 2),)},
        {"torso": ()},
        {"mean": (0.4, 0.3, 0.2)},
        {"std": (0.2, 0.3, 0.4)},
    ],
)
def test_every_option_changes_the_answer(change: dict[str, Any]) -> None:
    base, other = vivid(toy("resnet34")), toy("resnet34", **change).eval()
    weights = {k: v for k, v in base.state_dict().items() if not k.startswith("normalise.")}
    other.load_state_dict(weights, strict=False)
    with torch.inference_mode():
        assert (base(crop())[-1] - other(crop())[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_dropout_acts_in_training_only(backbone: str) -> None:
    for dropout in (0.0, 0.6):
        net = vivid(toy(backbone, stages=1, dropout=dropout))
        for module in net.modules():
            module.train(isinstance(module, nn.Dropout))
        with torch.inference_mode():
            differs = not torch.equal(net(crop())[0], net(crop())[0])
            assert differs == (dropout > 0)
            net.eval()
            assert torch.equal(net(crop())[0], net(crop())[0])


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_bytes_and_floats_of_one_picture_give_the_same(backbone: str) -> None:
    net, image = vivid(toy(backbone)), crop()
    with torch.inference_mode():
        for from_bytes, from_floats in zip(net(image), net(image.float() / 255), strict=True):
            assert torch.equal(from_bytes, from_floats)


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_bf16_autocast_stays_close_and_keeps_the_last_layer_exact(backbone: str) -> None:
    net, image = vivid(toy(backbone)), crop()
    for rounded, exact in under_autocast(net, image):
        assert rounded.dtype == torch.float32
        assert (exact - rounded).abs().max() < 0.05
    with torch.inference_mode():
        net.set_active_stages(1)
        nn.init.zeros_(net.stages[0].head.weight)  # type: ignore[union-attr, arg-type]
        nn.init.constant_(net.stages[0].head.bias, 0.4567)  # type: ignore[union-attr, arg-type]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(net(image)[0], torch.full((2, 4, 2), 0.4567))


@pytest.mark.parametrize("backbone", ["alexnet", "resnet34"])
def test_export_answers_another_batch_size(backbone: str) -> None:
    net = vivid(toy(backbone))
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.inference_mode():
        expected = net(crop(80, 5))
    with torch.no_grad():
        exported = torch.export.export(net, (crop(80, 2),), dynamic_shapes={"image": {0: batch}})
        for ours, theirs in zip(expected, exported.module()(crop(80, 5)), strict=True):
            torch.testing.assert_close(theirs, ours)


# Made by this network; a change here is a change of what old weights answer.
GOLDEN = {
    "alexnet": [[0.1760, -0.1270], [0.2221, -0.3577], [-0.5999, 0.2162], [0.2431, -0.0321]],
    "resnet34": [[0.1301, 0.2236], [-0.1842, -0.4065], [0.2942, -0.0914], [-0.5501, 0.3441]],
    "resnet50": [[-0.0042, -0.1512], [-0.5009, -0.1991], [-0.4784, 0.0673], [0.2320, 0.2146]],
    "resnet101": [[0.0710, -0.2126], [0.1770, -0.1122], [-0.3727, -0.5042], [0.2562, 0.1239]],
}


@pytest.mark.parametrize("backbone", sorted(GOLDEN))
def test_stored_answers(backbone: str) -> None:
    net = vivid(toy(backbone))
    with torch.inference_mode():
        answer = net(crop(70, 1))[-1][0]
    torch.testing.assert_close(answer, torch.tensor(GOLDEN[backbone]), rtol=0, atol=5e-4)


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": 0, "torso": ()}, "joints must be at least 1, not 0"),
        ({"stages": 0}, "stages must be at least 1, not 0"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"width": 3}, "width must be a positive even number for alexnet, not 3"),
        ({"view_px": 58}, "view_px must be at least 59 for alexnet's three poolings, not 58"),
        ({"view_px": -100}, "view_px must be at least 59 .* not -100"),
        ({"backbone": "resnet34", "view_px": 31}, "view_px must be at least 32 .* not 31"),
        ({"box_sigma": 0.0}, r"box_sigma must be positive, not 0\.0"),
        ({"box_sigma": float("nan")}, "box_sigma must be positive, not nan"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, not 1\.0"),
        ({"dropout": -0.1}, r"dropout must be at least 0 and below 1, not -0\.1"),
        ({"torso": ((0, 4),)}, r"torso must hold pairs of two rows below 4, not \(0, 4\)"),
        ({"torso": ((1, 1),)}, r"torso must hold pairs of two rows below 4, not \(1, 1\)"),
        ({"torso": ((0, -1),)}, r"torso must hold pairs .* not \(0, -1\)"),
        ({"torso": ((0, 1, 2),)}, r"torso must hold pairs .* not \(0, 1, 2\)"),
    ],
)
def test_options_that_make_no_network_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(**change)


def test_unknown_backbones_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of alexnet, .*, not 'vgg'"):
        DeepPose(4, (), backbone="vgg")
    with pytest.raises(ValueError, match=r"backbone must be one of .*, not 'resnet18'"):
        deeppose_resnet(18)


def test_the_smallest_views_work_and_others_than_squares_do_not() -> None:
    with torch.inference_mode():
        assert toy(view_px=59, width=2)(crop())[-1].shape == (2, 4, 2)
        assert toy("resnet34", view_px=32, width=1)(crop())[-1].shape == (2, 4, 2)
    with pytest.raises(ValueError, match="square crops, not 64 x 96 px"):
        toy()(torch.zeros(1, 3, 64, 96))


# --- learning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "steps", "lr"), [("alexnet", 150, 1e-3), ("resnet34", 60, 3e-3)])
def test_a_narrow_network_learns_eight_pictures_by_heart(backbone: str, steps: int, lr: float) -> None:
    net = toy(backbone, stages=1, dropout=0.0)
    image = crop(net.view_px, 8)
    truth = torch.rand(8, 4, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    optimiser = torch.optim.Adam(net.parameters(), lr)
    losses = []
    for _ in range(steps):
        loss = (net(image)[-1] - truth).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 20
