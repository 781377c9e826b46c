"""The residual encoder against the published classifiers' counts and a functional second implementation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.models.layers import DEPTHS, STRIDE, ResNetEncoder
from plain_layers import State, dead_parameters, float_picture, live_statistics, norm, parameters

# Parameters of the published ImageNet classifiers, and the inputs of their 1000-way last layer.
PUBLISHED = {34: (21_797_672, 512), 50: (25_557_032, 2048), 101: (44_549_160, 2048)}
COUNTS = {34: 21_284_672, 50: 23_508_032, 101: 42_500_160}


def toy(depth: int, width: int = 4) -> ResNetEncoder:
    torch.manual_seed(0)
    return ResNetEncoder(depth, width)


@pytest.mark.parametrize("depth", sorted(PUBLISHED))
def test_as_many_parameters_as_the_classifier_without_its_last_layer(depth: int) -> None:
    with torch.device("meta"):
        net = ResNetEncoder(depth)
    whole, features = PUBLISHED[depth]
    assert parameters(net) == whole - (1000 * features + 1000) == COUNTS[depth]
    assert net.out_features == features


@pytest.mark.parametrize("depth", sorted(DEPTHS))
@pytest.mark.parametrize("width", [1, 6])
def test_width_scales_every_layer(depth: int, width: int) -> None:
    with torch.device("meta"):
        net = ResNetEncoder(depth, width)
        full = ResNetEncoder(depth)
    assert net.out_features * 64 == full.out_features * width
    for narrow, wide in zip(net.parameters(), full.parameters(), strict=True):
        expected = tuple(n if i == 1 and n == 3 else n * width // 64 for i, n in enumerate(wide.shape[:2]))
        assert (*narrow.shape[:2], *narrow.shape[2:]) == (*expected, *wide.shape[2:])


@pytest.mark.parametrize("depth", sorted(DEPTHS))
def test_one_cell_per_32_pixels(depth: int) -> None:
    net = toy(depth, width=2).eval()
    with torch.inference_mode():
        assert net(float_picture(64, 96)).shape == (2, net.out_features, 64 // STRIDE, 96 // STRIDE)


def reference(s: State, image: Tensor, depth: int) -> Tensor:
    """He et al.'s table 1 over the state dict: 7x7 stride 2, 3x3 pool, four stages of residuals."""
    blocks = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]

    def conv_norm(at: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = s[f"{at}.0.weight"]
        # Without biases, which the norm's shift makes needless.
        x = F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)
        return norm(s, f"{at}.1", x)

    x = conv_norm("layers.0", image, 2).clamp_min(0)
    # A border below every number, as a maximum over what lies inside.
    x = F.pad(x, (1, 1, 1, 1), value=-1e9).unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))
    at = 3
    for stage, count in enumerate(blocks):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            name = f"layers.{at}"
            at += 1
            if depth == 34:
                y = conv_norm(f"{name}.body.0", x, stride).clamp_min(0)
                y = conv_norm(f"{name}.body.2", y)
            else:
                y = conv_norm(f"{name}.body.0", x).clamp_min(0)
                y = conv_norm(f"{name}.body.2", y, stride).clamp_min(0)
                y = conv_norm(f"{name}.body.4", y)
            skip = conv_norm(f"{name}.skip", x, stride) if f"{name}.skip.0.weight" in s else x
            x = (y + skip).clamp_min(0)
    assert f"layers.{at}.body.0.0.weight" not in s
    return x


@pytest.mark.parametrize("depth", sorted(DEPTHS))
def test_encoder_equals_the_second_implementation(depth: int) -> None:
    net = toy(depth).double().eval()
    live_statistics(net)
    image = float_picture(64, 96).double()
    with torch.inference_mode():
        expected = reference(net.state_dict(), image, depth)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(net(image), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [34, 50])
def test_every_parameter_learns(depth: int) -> None:
    assert dead_parameters(toy(depth), float_picture(64, 96)) == []


@pytest.mark.parametrize(
    ("depth", "width", "message"),
    [(18, 64, "34, 50, 101 layers, not 18"), (34, 0, "width must be at least 1, not 0")],
)
def test_numbers_that_make_no_encoder_are_refused(depth: int, width: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetEncoder(depth, width)
