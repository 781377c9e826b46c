from dataclasses import replace

import pytest
import torch

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.widen import widen

NARROW = NetworkRecipe(stacks=2, features=8, depth=2)


@pytest.mark.parametrize("recipe", [NARROW, replace(NARROW, stacks=1, blocks=2)])
def test_the_wider_network_answers_the_same_and_its_copies_learn_apart(recipe: NetworkRecipe) -> None:
    torch.manual_seed(1)
    small = build_network(recipe, LSP14)
    for name, tensor in small.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.3)
    large = build_network(replace(recipe, features=16), LSP14)
    large.load_state_dict(widen(small.state_dict(), large.state_dict(), len(LSP14)))
    crops = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    for training in (False, True):
        for before, after in zip(small.train(training)(crops), large.train(training)(crops), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    large.zero_grad()
    torch.stack(large(crops)).square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = large.get_parameter("hourglasses.0.up.0.conv2.weight").grad
    assert gradients is not None
    rows = gradients.flatten(1)
    assert torch.cdist(rows, rows).fill_diagonal_(1).min() > 1e-6


def test_what_cannot_be_widened_is_refused() -> None:
    small = build_network(NARROW, LSP14).state_dict()
    for other, reason in (
        (replace(NARROW, features=4), "fewer"),
        (replace(NARROW, stacks=1), "other layers"),
    ):
        with pytest.raises(ValueError, match=reason):
            widen(small, build_network(other, LSP14).state_dict(), len(LSP14))
