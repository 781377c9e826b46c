from collections.abc import Callable

import pytest
import torch
from torch import nn

from hourglass.models.ablations import hg_int, hg_stacked_add
from hourglass.models.anytime import FirstStacks, stacks_of
from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.residual_stacked import ResidualStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass
from plain_layers import live_statistics

STAGED: dict[str, nn.Module] = {
    "eccv": StackedHourglass(4, 4, 8, 2),
    "workshop": WorkshopStackedHourglass(4, 2, 8, 2),
    "residual_stacked": ResidualStackedHourglass(4, 5, 8, 2),
    "mssh": MultiScaleStackedHourglass(4, strides=(8, 4, 2), features=8, depth=2),
    "cornernet": CornerNetStackedHourglass(4, 3, 8, 2),
}
for network in STAGED.values():
    live_statistics(network.eval())


def one_stack(joints: int, features: int, depth: int) -> nn.Module:
    return StackedHourglass(joints, 1, features, depth)


def crops(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", sorted(STAGED))
@torch.inference_mode()
def test_the_first_stacks_answer_as_they_do_in_the_whole_network(name: str) -> None:
    network = STAGED[name]
    whole = network(crops(2))
    assert stacks_of(network) == len(whole)
    for count in range(1, len(whole) + 1):
        some = FirstStacks(network, count)
        answer = some(crops(2))
        assert len(answer) == count
        for ours, full in zip(answer, whole, strict=False):
            assert torch.equal(ours, full)
        assert crops(1).shape[-1] // answer[-1].shape[-1] == some.stride


@pytest.mark.parametrize("name", sorted(STAGED))
@torch.inference_mode()
def test_stacks_that_nobody_asks_for_are_not_run(name: str) -> None:
    network = STAGED[name]
    ran: list[int] = []
    hourglasses = network.hourglasses
    assert isinstance(hourglasses, nn.ModuleList)
    hooks = [
        hourglass.register_forward_hook(lambda module, inputs, output, number=number: ran.append(number))
        for number, hourglass in enumerate(hourglasses)
    ]
    FirstStacks(network, 1)(crops(1))
    for hook in hooks:
        hook.remove()
    assert ran == [0]


@pytest.mark.parametrize("name", sorted(STAGED))
@torch.inference_mode()
def test_crops_that_leave_change_nothing_for_those_that_go_on(name: str) -> None:
    network = STAGED[name]
    whole = network(crops(3))
    stages = network.stages(crops(3))  # type: ignore[operator]
    left = torch.arange(3)
    for stage, full in enumerate(whole):
        rows = None if stage == 0 else (torch.tensor([0, 2]) if stage == 1 else torch.arange(2))
        left = left if rows is None else left[rows]
        torch.testing.assert_close(stages.send(rows), full[left], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [0, 5, -1])
def test_no_more_stacks_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match=f"stacks={count} is not possible: this network has 4"):
        FirstStacks(STAGED["eccv"], count)


@pytest.mark.parametrize("make", [hg_int, hg_stacked_add, one_stack])
def test_networks_with_one_answer_are_refused(make: Callable[[int, int, int], nn.Module]) -> None:
    with pytest.raises(ValueError, match="has one answer"):
        FirstStacks(make(3, 8, 3), 1)
