"""What holds for every network, whatever the recipe's words: shapes, gradients, half precision, options."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import COCO17, LSP14, Skeleton
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from plain_layers import dead_parameters

HORSE = Skeleton(
    "horse", ("nose", "withers", "left_hoof", "right_hoof", "tail"), (("left_hoof", "right_hoof"),)
)

NETWORKS = {
    "eccv": NetworkRecipe(stacks=3, features=8, depth=2),
    "eccv wide": NetworkRecipe(stacks=1, features=8, depth=2, blocks=2, stem="wide"),
    "workshop": NetworkRecipe("workshop", stacks=2, features=8, depth=2),
    "hg": NetworkRecipe("hg", features=8, depth=2),
    "hg_int": NetworkRecipe("hg_int", features=8, depth=3),
    "hg_stacked": NetworkRecipe("hg_stacked", features=8, depth=2),
    "hg_stacked_int": NetworkRecipe("hg_stacked_int", features=8, depth=2),
    "hg_stacked_add": NetworkRecipe("hg_stacked_add", features=8, depth=2),
    "mssh": NetworkRecipe("mssh", stacks=3, features=8, depth=2, unit="inception_a"),
    "mssh lateral": NetworkRecipe(
        "mssh", 3, 8, 2, strides=(8, 4, 4), unit="inception_b", lateral=True, fusion="concat"
    ),
    "mssh first": NetworkRecipe("mssh", stacks=2, features=8, depth=2, strides=(4, 4), dispatch="first"),
    "residual_stacked": NetworkRecipe("residual_stacked", stacks=3, features=8, depth=2, blocks=2),
    "deeppose": NetworkRecipe("deeppose", backbone="alexnet", width=2, view_px=64, dropout=0.0),
    "deeppose resnet": NetworkRecipe("deeppose", stacks=3, width=2, view_px=32, dropout=0.0),
    "chained": NetworkRecipe("chained", width=2, hidden=4),
    "chained raw": NetworkRecipe("chained", width=2, hidden=4, output_kernel=3, feedback="raw"),
}
SIDE = 64


def build(name: str, skeleton: Skeleton = LSP14) -> nn.Module:
    torch.manual_seed(0)
    return build_network(NETWORKS[name], skeleton)


def picture(side: int = SIDE, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("skeleton", [COCO17, HORSE], ids=lambda s: s.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_skeleton_and_any_divisible_size(name: str, skeleton: Skeleton) -> None:
    recipe = NETWORKS[name]
    net = build(name, skeleton).eval()
    for side in (SIDE, SIDE + max(32, recipe.input_multiple)):
        with torch.inference_mode():
            stages = net(picture(side))
        assert len(stages) == recipe.stages
        for stage in stages:
            assert stage.shape[:2] == (2, len(skeleton))
            assert bool(torch.isfinite(stage).all())
        if net.output == "coordinates":
            assert {stage.shape[2:] for stage in stages} == {(2,)}
        else:
            assert stages[-1].shape[-1] * getattr(net, "stride") == side  # noqa: B009 - a module's own


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    net = build(name)
    assert dead_parameters(net, picture()) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_near(name: str) -> None:
    net = build(name).eval()
    with torch.inference_mode():
        plain = net(picture())
        with torch.autocast("cpu", torch.bfloat16):
            half = net(picture())
    for a, b in zip(plain, half, strict=True):
        assert bool(torch.isfinite(b).all())
        assert ((a - b.float()).norm() / a.norm()).item() < 0.05


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_travel_and_answer_alike(name: str) -> None:
    net, other = build(name).eval(), build_network(NETWORKS[name], LSP14).eval()
    with torch.inference_mode():
        assert any(not torch.equal(a, b) for a, b in zip(net(picture()), other(picture()), strict=True))
        other.load_state_dict(net.state_dict())
        for a, b in zip(net(picture()), other(picture()), strict=True):
            assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_can_be_exported_with_any_batch(name: str) -> None:
    net = build(name).eval()
    batch = torch.export.Dim("batch", min=2, max=8)
    exported = torch.export.export(net, (picture(count=2),), dynamic_shapes=({0: batch},), strict=False)
    with torch.inference_mode():
        for a, b in zip(exported.module()(picture(count=3)), net(picture(count=3)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


CHANGES = [
    ("eccv", {"stacks": 2}),
    ("eccv", {"blocks": 2}),
    ("eccv", {"depth": 1}),
    ("eccv", {"features": 16}),
    ("eccv", {"stem": "wide"}),
    ("mssh", {"unit": "residual"}),
    ("mssh", {"unit": "inception_b"}),
    ("mssh", {"lateral": True}),
    ("mssh", {"fusion": "concat"}),
    ("mssh", {"strides": (8, 8, 4)}),
    ("mssh first", {"dispatch": "every"}),
    ("residual_stacked", {"highways": "none"}),
    ("residual_stacked", {"highways": "merged"}),
    ("residual_stacked", {"highways": "output"}),
    ("deeppose resnet", {"backbone": "resnet50"}),
    ("deeppose resnet", {"view_px": 48}),
    ("deeppose resnet", {"box_sigma": 1.0}),
    ("deeppose resnet", {"stacks": 2}),
    ("chained", {"order": tuple(reversed(LSP14.joints))}),
    ("chained", {"hidden": 8}),
    ("chained", {"hidden_kernel": 3}),
    ("chained", {"output_kernel": 3}),
    ("chained", {"feedback": "raw"}),
    ("chained", {"backbone": "resnet50"}),
    ("chained", {"width": 4}),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_every_option_changes_the_answer(name: str, change: dict[str, object]) -> None:
    torch.manual_seed(0)
    before = build_network(NETWORKS[name], LSP14).eval()
    torch.manual_seed(0)
    after = build_network(replace(NETWORKS[name], **change), LSP14).eval()  # type: ignore[arg-type]
    if before.state_dict().keys() == after.state_dict().keys():
        shapes = {key: value.shape for key, value in after.state_dict().items()}
        if all(value.shape == shapes[key] for key, value in before.state_dict().items()):
            after.load_state_dict(before.state_dict())  # the option alone, not other random weights
    with torch.inference_mode():
        a, b = before(picture())[-1], after(picture())[-1]
    assert a.shape != b.shape or not torch.equal(a, b)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    net = build_network(replace(NETWORKS["deeppose resnet"], dropout=0.5, stacks=1), LSP14)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    noisy = [net(picture())[-1] for _ in range(2)]
    assert not torch.equal(*noisy)
    net.eval()
    assert torch.equal(net(picture())[-1], net(picture())[-1])
