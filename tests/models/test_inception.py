"""The two inception-resnet units against a parameter formula and a second implementation."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.models.inception import InceptionResidualA, InceptionResidualB

State = dict[str, Tensor]
Unit = type[InceptionResidualA]
BOTH = pytest.mark.parametrize("unit", [InceptionResidualA, InceptionResidualB])


def make(unit: Unit, i: int = 12, o: int = 16) -> InceptionResidualA:
    """A unit as after training: no batch-norm at 0 or 1, so that a forgotten one changes the answer."""
    torch.manual_seed(0)
    net = unit(i, o)
    generator = torch.Generator().manual_seed(8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.3, 0.3, generator=generator)
    return net.eval()


def features(i: int, height: int, width: int) -> Tensor:
    return torch.randn(2, i, height, width, generator=torch.Generator().manual_seed(3))


# --- a second implementation, one line per box of figure 4 ------------------------------------------------


def bn_relu_conv(s: State, at: str, x: Tensor) -> Tensor:
    scale = s[f"{at}.0.weight"] / torch.sqrt(s[f"{at}.0.running_var"] + 1e-5)
    y = x - s[f"{at}.0.running_mean"].view(1, -1, 1, 1)
    y = (y * scale.view(1, -1, 1, 1) + s[f"{at}.0.bias"].view(1, -1, 1, 1)).clamp_min(0)
    weight = s[f"{at}.2.weight"]
    return F.conv2d(y, weight, s[f"{at}.2.bias"], padding=(weight.shape[-1] - 1) // 2)


def halve(x: Tensor) -> Tensor:
    """2 x 2 maxima; a window over the edge holds what is there."""
    x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), value=-torch.inf)
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).amax((3, 5))


def double(x: Tensor, like: Tensor) -> Tensor:
    rows, columns = (torch.arange(n) // 2 for n in like.shape[-2:])
    return x[:, :, rows][..., columns]


def reference(s: State, x: Tensor, halved: bool) -> Tensor:
    y = halve(x) if halved else x
    for k in range(3):
        y = bn_relu_conv(s, f"deep.{k}", y)
    y = torch.cat([bn_relu_conv(s, "wide", x), double(y, x) if halved else y], 1)
    y = F.conv2d(y, s["join.weight"], s["join.bias"])
    return y + (F.conv2d(x, s["skip.weight"], s["skip.bias"]) if "skip.weight" in s else x)


@BOTH
@pytest.mark.parametrize(("i", "o"), [(12, 16), (16, 16), (5, 4)])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (4, 3), (1, 6), (1, 1), (2, 2)])
def test_equals_the_second_implementation(unit: Unit, i: int, o: int, height: int, width: int) -> None:
    net, x = make(unit, i, o).double(), features(i, height, width).double()
    before = x.clone()
    with torch.inference_mode():
        found = net(x)
        expected = reference(net.state_dict(), x, halved=unit is InceptionResidualB)
    assert found.shape == (2, o, height, width)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(x, before), "an in-place ReLU reached the input"


def test_the_units_share_their_weights_and_differ_in_what_they_see() -> None:
    a, b = make(InceptionResidualA), make(InceptionResidualB)
    b.load_state_dict(a.state_dict())
    with torch.inference_mode():
        assert torch.equal(a(features(12, 1, 1)), b(features(12, 1, 1)))
        assert not torch.allclose(a(features(12, 2, 2)), b(features(12, 2, 2)), atol=1e-2)


def test_the_second_branch_sees_5_or_10_cells() -> None:
    # Two 3x3 convolutions reach 2 cells to each side; at half the resolution, 4 and the pooled pair.
    for unit, reach in ((InceptionResidualA, range(6, 11)), (InceptionResidualB, range(4, 14))):
        x = features(12, 1, 16).requires_grad_()
        make(unit)(x)[..., 8].sum().backward()
        assert x.grad is not None
        seen = x.grad.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
        assert set(seen) <= set(reach)
        assert (min(seen), max(seen)) == (min(reach), max(reach))


# --- parameters and gradients -----------------------------------------------------------------------------


def conv(i: int, o: int, kernel: int = 1) -> int:
    return i * o * kernel**2 + o


def count(i: int, o: int) -> int:
    wide = 2 * i + conv(i, o // 2)
    deep = 2 * i + conv(i, o // 4) + 2 * (2 * (o // 4)) + conv(o // 4, o // 4, 3) + conv(o // 4, o // 2, 3)
    return wide + deep + conv(o, o) + (conv(i, o) if i != o else 0)


@BOTH
@pytest.mark.parametrize(("i", "o"), [(256, 256), (64, 128), (4, 8)])
def test_parameters(unit: Unit, i: int, o: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in unit(i, o).parameters()) == count(i, o)


def test_parameters_by_hand() -> None:
    # Four norms 512 + 512 + 128 + 128; 1x1 32,896 and 16,448; 3x3 36,928 and 73,856; 1x1 65,792.
    assert count(256, 256) == 227_200


@BOTH
@pytest.mark.parametrize("i", [16, 12])
def test_every_parameter_learns(unit: Unit, i: int) -> None:
    net = make(unit, i)
    (net(features(i, 6, 6)) ** 2).sum().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert dead == []


@BOTH
@pytest.mark.parametrize("out", [0, 2, 6, -4])
def test_widths_that_do_not_split_are_refused(unit: Unit, out: int) -> None:
    with pytest.raises(ValueError, match=f"out_features must be a positive multiple of 4, not {out}"):
        unit(8, out)
