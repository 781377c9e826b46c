"""The CornerNet-style hourglass: size, shapes, gradients. `tests/convert` compares what it computes."""

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass, hourglass52, level_widths
from hourglass.models.parts import forward_flops
from hourglass.recipe.network import NetworkRecipe, RecipeError


def toy(stacks: int = 2, depth: int = 2) -> CornerNetStackedHourglass:
    torch.manual_seed(0)
    return CornerNetStackedHourglass(3, stacks, 8, depth)


def picture(side: int = 32, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def test_published_size() -> None:
    with torch.device("meta"):
        one, two = hourglass52(), CornerNetStackedHourglass(16, stacks=2)
    count = sum(p.numel() for p in one.parameters())
    # MMPose's count of one stack includes a block of two 3x3 convolutions that only a second stack would use.
    idle = 2 * (9 * 256 * 256 + 2 * 256)
    assert count + idle == pytest.approx(94.844e6 + 0.004e6, abs=1000)
    assert sum(p.numel() for p in two.parameters()) == pytest.approx(187.7e6, abs=50_000)
    assert forward_flops(one, 256) / 2e9 == pytest.approx(28.6, abs=0.05)
    assert forward_flops(two, 256) / 2e9 == pytest.approx(58.5, abs=0.05)


def test_widths_of_the_levels() -> None:
    assert level_widths(5, 256) == [256, 256, 384, 384, 384, 512]
    assert level_widths(1, 8) == [8, 16]
    assert level_widths(3, 8) == [8, 8, 12, 16]


@pytest.mark.parametrize(("stacks", "depth", "side"), [(1, 1, 16), (2, 2, 32), (3, 3, 64), (1, 5, 128)])
def test_shapes(stacks: int, depth: int, side: int) -> None:
    with torch.inference_mode():
        stages = toy(stacks, depth).eval()(picture(side))
    assert [tuple(stage.shape) for stage in stages] == [(2, 3, side // 4, side // 4)] * stacks


def test_every_parameter_learns() -> None:
    net = toy()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(picture())
    generator = torch.Generator().manual_seed(1)
    stages = net.eval()(picture())
    sum((stage * torch.randn(stage.shape, generator=generator)).sum() for stage in stages).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_bytes_and_shares_of_one_are_the_same_picture() -> None:
    net = toy().eval()
    with torch.inference_mode():
        torch.testing.assert_close(net(picture()), net(picture().float() / 255))


def test_half_precision_is_near() -> None:
    net = toy().eval()
    with torch.inference_mode():
        plain = net(picture())[-1]
        with torch.autocast("cpu", torch.bfloat16):
            half = net(picture())[-1]
    assert ((plain - half.float()).norm() / plain.norm()).item() < 0.05


def test_a_recipe_builds_it() -> None:
    recipe = NetworkRecipe("cornernet", stacks=2, features=8, depth=3)
    assert (recipe.input_multiple, recipe.stages, recipe.loss) == (32, 2, ("mse",))
    net = build_network(recipe, LSP14, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert isinstance(net, CornerNetStackedHourglass)
    assert len(net(picture(32))) == 2
    assert net.normalise.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    for option, value in (("blocks", 2), ("stem", "wide"), ("unit", "inception_a")):
        with pytest.raises(RecipeError, match=rf"network\.{option}: the cornernet build has no such option"):
            NetworkRecipe("cornernet", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stacks": 0}, "stacks"),
        ({"features": 6}, "features"),
        ({"depth": 0}, "depth"),
        ({"joints": 0}, "joints"),
    ],
)
def test_numbers_that_make_no_network(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CornerNetStackedHourglass(**{"joints": 3, "features": 8, **options})  # type: ignore[arg-type]


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"24 x 24 px.*multiples of 16"):
        toy()(picture(24))


@pytest.mark.slow
def test_forward_can_be_exported_with_any_batch() -> None:
    net = toy().eval()
    batch = torch.export.Dim("batch", min=2, max=8)
    exported = torch.export.export(net, (picture(),), dynamic_shapes=({0: batch},), strict=False)
    with torch.inference_mode():
        for a, b in zip(exported.module()(picture(count=3)), net(picture(count=3)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
