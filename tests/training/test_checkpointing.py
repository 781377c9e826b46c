"""Hourglasses that are computed twice: the same run to the last bit, in less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.recipe.recipe import OptimiserRecipe
from hourglass.training.losses import heatmap_loss
from hourglass.training.ranks import RankBatchNorm2d
from hourglass.training.setup import make_optimiser
from hourglass.training.state import checkpoint_hourglasses, hourglasses_of

BUILDS = {
    "eccv": NetworkRecipe(stacks=3, features=8, depth=2),
    "workshop": NetworkRecipe(build="workshop", features=8, depth=2),
    "hg_int": NetworkRecipe(build="hg_int", features=8, depth=3),
    "hg_stacked_add": NetworkRecipe(build="hg_stacked_add", features=8, depth=2),
    "mssh": NetworkRecipe(build="mssh", stacks=3, features=8, depth=2),
    "residual_stacked": NetworkRecipe(build="residual_stacked", stacks=3, features=8, depth=2),
    "cornernet": NetworkRecipe(build="cornernet", features=8, depth=2),
}


def two_steps(network: nn.Module, autocast: bool = False) -> tuple[list[Tensor], int, dict[str, Tensor]]:
    """Losses and gradients of two steps, bytes kept for the backward pass of the second, and the state."""
    network.train()
    optimiser = make_optimiser(network, OptimiserRecipe(lr=1e-3))
    generator = torch.Generator().manual_seed(5)
    seen: list[Tensor] = []
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    for _ in range(2):
        image = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
        keypoints = 64 * torch.rand(2, 14, 2, generator=generator)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                stages = network(image)
            loss = heatmap_loss(stages, keypoints, torch.ones(2, 14), 4, 1.0).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        seen += [loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]
        optimiser.step()
        optimiser.zero_grad()
    return seen, sum(kept.values()), network.state_dict()


def twins(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(make())
    checkpoint_hourglasses(networks[1])
    return networks[0], networks[1]


@pytest.mark.parametrize("build", BUILDS)
def test_two_steps_are_the_same_to_the_bit_in_less_memory(build: str) -> None:
    plain, twice = twins(lambda: build_network(BUILDS[build], LSP14))
    before, bytes_before, state_before = two_steps(plain)
    after, bytes_after, state_after = two_steps(twice)
    assert len(before) == len(after) > 2
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    # Names, weights, running statistics, and how many batches were counted.
    assert list(state_before) == list(state_after)
    assert all(torch.equal(state_before[name], state_after[name]) for name in state_before)
    counted = [int(value) for name, value in state_after.items() if name.endswith("num_batches_tracked")]
    assert set(counted) == {2}
    assert bytes_after < 0.95 * bytes_before


def test_most_memory_is_inside_the_hourglasses() -> None:
    """Eight stacks, as the option is made for."""
    plain, twice = twins(lambda: StackedHourglass(14, 8, 8, 2))
    _, before, _ = two_steps(plain)
    _, after, _ = two_steps(twice)
    assert after < 0.65 * before


def test_bf16_and_synchronised_norms_are_computed_twice_alike() -> None:
    def make() -> nn.Module:
        network = StackedHourglass(14, 2, 8, 2)
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, RankBatchNorm2d.like(child))
        return network

    plain, twice = twins(make)
    before, _, state_before = two_steps(plain, autocast=True)
    after, _, state_after = two_steps(twice, autocast=True)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(state_before[name], state_after[name]) for name in state_before)


def test_a_network_in_evaluation_runs_once() -> None:
    network = StackedHourglass(14, 2, 8, 2)
    calls = []
    first = hourglasses_of(network)[0]
    first.register_forward_hook(lambda *_: calls.append(1))
    inner = next(m for m in first.modules() if isinstance(m, nn.Conv2d))
    inner.register_forward_hook(lambda *_: calls.append(2))
    checkpoint_hourglasses(network)
    network.eval()(torch.zeros(1, 3, 64, 64))
    assert sorted(calls) == [1, 2]
    network.train()(torch.rand(2, 3, 64, 64))[-1].sum().backward()
    assert sorted(calls) == [1, 1, 2, 2, 2]  # the insides a second time


def test_a_network_without_hourglasses_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has no hourglasses"):
        checkpoint_hourglasses(nn.Sequential(nn.Conv2d(3, 3, 1)))
