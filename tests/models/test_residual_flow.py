"""RLE: densities that add up to one, the loss by hand, and a regressor that learns by it how sure it is."""

import math

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.models.deeppose import DeepPose, Regressor, ResidualFlow, surprise
from hourglass.recipe.network import NetworkRecipe


def lively(seed: int = 0) -> ResidualFlow:
    """Far from the standard normal that a new one is close to."""
    torch.manual_seed(seed)
    flow = ResidualFlow().double()
    with torch.no_grad():
        for name, p in flow.named_parameters():
            p.normal_(0, 0.15 if name.endswith("weight") else 0.2)
    return flow


def over_the_plane(steps: int = 401, reach: float = 12.0) -> tuple[Tensor, float]:
    at = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    return torch.stack(torch.meshgrid(at, at, indexing="xy"), -1), float(at[1] - at[0]) ** 2


def test_a_flow_is_a_density() -> None:
    points, area = over_the_plane()
    with torch.no_grad():
        mass = lively()(points).exp()
    assert (mass.sum() * area).item() == pytest.approx(1, abs=2e-3)
    # And none that one could have written down: its middle lies elsewhere.
    mean = (points * mass[..., None]).sum((0, 1)) * area
    assert mean.abs().max() > 0.05


def test_a_new_flow_is_close_to_a_standard_normal() -> None:
    torch.manual_seed(0)
    points = torch.randn(200, 2)
    normal = -(points**2).sum(-1) / 2 - math.log(2 * math.pi)
    torch.testing.assert_close(ResidualFlow()(points), normal, rtol=0, atol=0.02)
    assert sum(p.numel() for p in ResidualFlow().parameters()) == 53_784


class Normal(ResidualFlow):
    def forward(self, points: Tensor) -> Tensor:
        return -(points**2).sum(-1) / 2 - math.log(2 * math.pi)


def test_the_loss_by_hand() -> None:
    predicted, truth = torch.tensor([[[0.1, 0.2]]]), torch.tensor([[[0.3, 0.1]]])
    sigma = torch.tensor([[[0.1, 0.2]]])
    found = surprise(predicted, sigma, truth, Normal())
    # Errors of 2 and 1/2 widths: log 0.1 + log 0.2, then Laplace and normal.
    e = (2.0, 0.5)
    laplace = -sum(e) - math.log(4)
    normal = -(e[0] ** 2 + e[1] ** 2) / 2 - math.log(2 * math.pi)
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(math.log(0.1) + math.log(0.2) - laplace - normal, rel=1e-5)


def toy(stages: int = 2) -> DeepPose:
    recipe = NetworkRecipe(build="deeppose", stacks=stages, width=4, view_px=32, dropout=0.0, spread=True)
    network = build_network(recipe, LSP14)
    assert isinstance(network, DeepPose)
    return network


def test_answers_are_coordinates_and_a_truth_is_told_how_unlikely_it_is() -> None:
    torch.manual_seed(0)
    network, image = toy().eval(), torch.rand(3, 3, 64, 64)
    truth = torch.rand(3, 14, 2) - 0.5
    assert [tuple(stage.shape) for stage in network(image)] == [(3, 14, 2)] * 2
    network.set_active_stages(1)
    first = network.stages[0]
    assert isinstance(first, Regressor)
    assert first.flow is not None
    small = nn.functional.interpolate(image, (32, 32), mode="bilinear", antialias=True)
    predicted, sigma = first.with_spread(network.normalise(small))
    torch.testing.assert_close(predicted, network(image)[0])
    assert ((sigma > 0) & (sigma < 1)).all()
    (found,) = network(image, None, truth)
    torch.testing.assert_close(found, surprise(predicted, sigma, truth, first.flow))
    network.set_active_stages(2)
    around = (torch.zeros(3, 14, 2), torch.full((3, 14), 0.5))
    (later,) = network(image, around, truth)
    (displacements,) = network(image, around)
    # The nearer a truth is to what the stage says, the likelier.
    (nearest,) = network(image, around, displacements)
    assert later.shape == (3, 14)
    assert (nearest < later).all()
    with pytest.raises(ValueError, match="needs around"):
        network(image, None, truth)


def test_a_network_without_spread_can_not_tell() -> None:
    network = DeepPose(14, (), 1, "resnet34", 4, 32)
    with pytest.raises(ValueError, match="only a network made with spread"):
        network(torch.rand(1, 3, 32, 32), None, torch.zeros(1, 14, 2))


def test_every_parameter_of_the_stage_in_training_learns() -> None:
    torch.manual_seed(0)
    network = toy(1)
    (found,) = network(torch.rand(8, 3, 32, 32), None, torch.rand(8, 14, 2) - 0.5)
    found.mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_it_learns_where_and_how_sure() -> None:
    """One coordinate is told almost exactly, the other is off by 0.2; the flow has a part in the widths."""
    torch.manual_seed(0)
    place, width, flow = (
        nn.Parameter(torch.zeros(1, 1, 2)),
        nn.Parameter(torch.zeros(1, 1, 2)),
        ResidualFlow(),
    )
    optimiser = torch.optim.Adam([place, width, *flow.parameters()], 1e-2)
    spread = torch.tensor([0.01, 0.2])
    for _ in range(600):
        truth = torch.tensor([0.3, -0.1]) + spread * torch.randn(64, 1, 2)
        loss = surprise(place.expand_as(truth), width.sigmoid().expand_as(truth), truth, flow).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    torch.testing.assert_close(place.detach()[0, 0], torch.tensor([0.3, -0.1]), rtol=0, atol=0.06)
    sharp, blunt = width.detach().sigmoid()[0, 0].tolist()
    assert sharp < 0.6 * blunt
    # Together they tell the exact one's error from the other's: off by 0.1, one is out of the question.
    at = torch.tensor([[[0.4, -0.1]], [[0.3, 0.0]], [[0.3, -0.1]]])
    sigma = width.detach().sigmoid().expand_as(at)
    off_x, off_y, right = surprise(place.detach().expand_as(at), sigma, at, flow).detach()[:, 0].tolist()
    assert off_x > right + 5
    assert off_y < right + 2
