import math

import pytest
import torch
from torch import nn

from hourglass.recipe.recipe import Duration, OptimiserRecipe, ScheduleRecipe
from hourglass.training.setup import Ema, lr_factor, make_optimiser, total_norm


def factor(step: int, recipe: ScheduleRecipe, total: int = 100) -> float:
    return lr_factor(step, total, recipe, steps_per_epoch=10, batch_size=4)


def test_step_schedule_drops_where_each_unit_says() -> None:
    drops = (Duration(epochs=2), Duration(steps=50), Duration(examples=320))  # steps 20, 50 and 80
    recipe = ScheduleRecipe("step", drops=drops, factor=0.1)
    got = [factor(step, recipe) for step in (0, 19, 20, 49, 50, 79, 80, 99)]
    assert got == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_cosine_schedule_by_hand() -> None:
    recipe = ScheduleRecipe("cosine", factor=0.2)
    # 0..100 in 101 steps: the middle is half way between 1 and 0.2.
    assert lr_factor(0, 101, recipe, 10, 4) == pytest.approx(1.0)
    assert lr_factor(50, 101, recipe, 10, 4) == pytest.approx(0.6)
    assert lr_factor(25, 101, recipe, 10, 4) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.sqrt(0.5)))
    assert lr_factor(100, 101, recipe, 10, 4) == pytest.approx(0.2)


def test_warmup_rises_linearly_from_a_tenth() -> None:
    recipe = ScheduleRecipe("constant", warmup=Duration(epochs=1))
    assert [factor(s, recipe) for s in (0, 5, 10, 11)] == pytest.approx([0.1, 0.55, 1, 1])


def test_only_convolution_weights_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimiser = make_optimiser(network, OptimiserRecipe("adamw", lr=0.1, weight_decay=0.5))
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimiser.step()
    after = dict(network.named_parameters())
    torch.testing.assert_close(after["0.weight"].detach(), before["0.weight"] * (1 - 0.1 * 0.5))
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(after[name], before[name])


def test_rmsprop_is_torch7s() -> None:
    """Against the update written out: m = a m + (1 - a) g^2 from m = 0; p -= lr g / (sqrt(m) + eps)."""
    p = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    network = nn.Module()
    network.p = p
    optimiser = make_optimiser(network, OptimiserRecipe("rmsprop", lr=0.01, alpha=0.9))
    want, m = p.detach().clone(), torch.zeros_like(p)
    for gradient in (torch.tensor([[0.3, -0.1]]).double(), torch.tensor([[-0.2, 0.4]]).double()):
        p.grad = gradient
        optimiser.step()
        m = 0.9 * m + 0.1 * gradient**2
        want = want - 0.01 * gradient / (m.sqrt() + 1e-8)
    torch.testing.assert_close(p.detach(), want)


def test_adagrad_by_hand() -> None:
    """Sums squares and forgets none: p -= lr g / (sqrt(sum of g^2) + eps)."""
    p = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    network = nn.Module()
    network.p = p
    optimiser = make_optimiser(network, OptimiserRecipe("adagrad", lr=0.01))
    want, total = p.detach().clone(), torch.zeros_like(p)
    for gradient in (torch.tensor([[0.3, -0.1]]).double(), torch.tensor([[-0.2, 0.4]]).double()):
        p.grad = gradient
        optimiser.step()
        total = total + gradient**2
        want = want - 0.01 * gradient / (total.sqrt() + 1e-10)
    torch.testing.assert_close(p.detach(), want)


def test_ema_by_hand_and_batch_norm_follows() -> None:
    convs, norms = [nn.Conv2d(1, 1, 1, bias=False) for _ in "ab"], [nn.BatchNorm2d(1) for _ in "ab"]
    network, averaged = (nn.Sequential(*pair) for pair in zip(convs, norms, strict=True))
    nn.init.constant_(convs[0].weight, 1.0)
    ema = Ema(network, averaged, decay=0.5)
    nn.init.constant_(convs[0].weight, 3.0)
    network.load_state_dict({**network.state_dict(), "1.running_mean": torch.full((1,), 8.0)})
    network.load_state_dict({**network.state_dict(), "1.num_batches_tracked": torch.tensor(7)})
    ema.update(step=1)  # decay (1 + 1) / (10 + 1) so early on
    assert convs[1].weight.item() == pytest.approx(1 * 2 / 11 + 3 * 9 / 11)
    ema.update(step=1000)  # decay 0.5 by now
    assert convs[1].weight.item() == pytest.approx((1 * 2 / 11 + 3 * 9 / 11 + 3) / 2)
    after = averaged.state_dict()
    assert after["1.running_mean"].item() == pytest.approx((8 * 9 / 11 + 8) / 2)
    assert after["1.num_batches_tracked"].item() == 7


def test_without_ema_the_average_is_the_network() -> None:
    network, averaged = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    ema = Ema(network, averaged, decay=0.0)
    nn.init.constant_(network.weight, 5.0)
    ema.update(1)
    assert averaged.weight.item() == 5.0


def test_total_norm_by_hand() -> None:
    assert total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item() == pytest.approx(5.0)
