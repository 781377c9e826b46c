"""Group-norms in the hourglass: where they stand, and what they are for."""

import pytest
import torch
from torch import nn

from hourglass.core.skeleton import LSP14, MPII16
from hourglass.models.build import build_network
from hourglass.models.layers import groups_of
from hourglass.recipe.network import NetworkRecipe
from plain_layers import parameters, picture


@pytest.mark.parametrize(
    ("features", "groups"),
    [(256, 32), (128, 32), (64, 32), (32, 16), (16, 8), (24, 4), (6, 1), (2, 1), (7, 1)],
)
def test_groups_have_two_features_or_more(features: int, groups: int) -> None:
    assert groups_of(features) == groups
    assert features % groups == 0


def test_every_batch_norm_is_one_and_nothing_else_changes() -> None:
    with torch.device("meta"):
        plain, grouped = (build_network(NetworkRecipe(norm=norm), MPII16) for norm in ("batch", "group"))
    norms = {name for name, module in plain.named_modules() if isinstance(module, nn.BatchNorm2d)}
    groups = {name: module for name, module in grouped.named_modules() if isinstance(module, nn.GroupNorm)}
    assert set(groups) == norms
    assert all(norm.num_groups == 32 for norm in groups.values())  # as in hourglass_gn
    assert not any(isinstance(module, nn.BatchNorm2d) for module in grouped.modules())
    assert parameters(plain) == parameters(grouped)
    assert {k for k in plain.state_dict() if "running" not in k and "tracked" not in k} == set(
        grouped.state_dict()
    )


def test_a_crop_is_answered_alike_in_any_batch_and_mode() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkRecipe(features=16, depth=2, norm="group"), LSP14).train()
    crops = picture(64, 64, 4).float() / 255
    with torch.no_grad():
        together = network(crops)[-1]
        torch.testing.assert_close(network(crops[1:2])[-1], together[1:2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.eval()(crops)[-1], together)
    assert together.std() > 1e-3
