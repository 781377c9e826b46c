"""The two inception-resnet units against a parameter formula and a second implementation."""

import pytest
import torch
from torch import Tensor

from hourglass.models.multi_scale import InceptionResidualA, InceptionResidualB
from plain_layers import inception, inception_residual, live_statistics, parameters, without_gradient

Unit = type[InceptionResidualA]
BOTH = pytest.mark.parametrize("unit", [InceptionResidualA, InceptionResidualB])


def make(unit: Unit, i: int = 12, o: int = 16) -> InceptionResidualA:
    """A unit as after training: no batch-norm at 0 or 1, so that a forgotten one changes the answer."""
    torch.manual_seed(0)
    net = unit(i, o)
    live_statistics(net)
    return net.eval()


def features(i: int, height: int, width: int) -> Tensor:
    return torch.randn(2, i, height, width, generator=torch.Generator().manual_seed(3))


# --- a second implementation ------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("i", "o"), [(12, 16), (16, 16), (5, 4)])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (4, 3), (1, 6), (1, 1), (2, 2)])
def test_equals_the_second_implementation(unit: Unit, i: int, o: int, height: int, width: int) -> None:
    net, x = make(unit, i, o).double(), features(i, height, width).double()
    state = {f"unit.{name}": tensor for name, tensor in net.state_dict().items()}
    before = x.clone()
    with torch.inference_mode():
        found = net(x)
        expected = inception_residual(state, "unit", x, halved=unit is InceptionResidualB)
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


@BOTH
@pytest.mark.parametrize(("i", "o"), [(256, 256), (64, 128), (4, 8)])
def test_parameters(unit: Unit, i: int, o: int) -> None:
    with torch.device("meta"):
        assert parameters(unit(i, o)) == inception(i, o)


def test_parameters_by_hand() -> None:
    # Four norms 512 + 512 + 128 + 128; 1x1 32,896 and 16,448; 3x3 36,928 and 73,856; 1x1 65,792.
    assert inception(256, 256) == 227_200


@BOTH
@pytest.mark.parametrize("i", [16, 12])
def test_every_parameter_learns(unit: Unit, i: int) -> None:
    net = make(unit, i)
    (net(features(i, 6, 6)) ** 2).sum().backward()
    assert without_gradient(net) == []


@BOTH
@pytest.mark.parametrize("out", [0, 2, 6, -4])
def test_widths_that_do_not_split_are_refused(unit: Unit, out: int) -> None:
    with pytest.raises(ValueError, match=f"out_features must be a positive multiple of 4, not {out}"):
        unit(8, out)
