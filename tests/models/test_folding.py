from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import LSP14
from hourglass.models.ablations import hg, hg_int, hg_stacked, hg_stacked_add
from hourglass.models.chained import ChainedPrediction, default_order
from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass
from hourglass.models.deeppose import DeepPose
from hourglass.models.folding import fold_batch_norms
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.residual_stacked import ResidualStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass
from plain_layers import live_statistics

# Batch-norms that stay: those on a sum of branches, which no single convolution ends in.
LEFT: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "eccv": (lambda: StackedHourglass(5, 2, 16, 3), 25),
    "workshop": (lambda: WorkshopStackedHourglass(5, 2, 16, 3), 0),
    "hg": (lambda: hg(5, 16, 3), 0),
    "hg_int": (lambda: hg_int(5, 16, 3), 0),
    "hg_stacked": (lambda: hg_stacked(5, 16, 3), 0),
    "hg_stacked_add": (lambda: hg_stacked_add(5, 16, 3), 0),
    "residual_stacked": (lambda: ResidualStackedHourglass(5, 2, 16, 3), 47),
    "mssh": (lambda: MultiScaleStackedHourglass(5, strides=(8, 4), features=16, depth=2), 38),
    "cornernet": (lambda: CornerNetStackedHourglass(5, 2, 16, 3), 0),
    "chained": (lambda: ChainedPrediction(14, default_order(LSP14.joints), width=8, hidden=8), 28),
    "deeppose": (lambda: DeepPose(14, LSP14.torso_indices, 2, "resnet50", 8, 64), 0),
}


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", sorted(LEFT))
def test_a_folded_network_answers_the_same(name: str) -> None:
    make, left = LEFT[name]
    torch.manual_seed(0)
    network = make().eval()
    live_statistics(network)
    before: dict[str, Tensor] = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norms(network)
    assert norms(network) > norms(folded) == left
    image = torch.rand(2, 3, 128, 128)
    with torch.inference_mode():
        for ours, plain in zip(folded(image), network(image), strict=True):
            assert (ours - plain).norm() < 1e-5 * plain.norm()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])  # the original is left as it was
    again = fold_batch_norms(folded).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in folded.state_dict().items())


def test_a_batch_norm_without_weights_and_a_convolution_without_bias() -> None:
    sequence = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3, affine=False)).eval()
    norm = sequence[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    image = torch.rand(1, 2, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(fold_batch_norms(sequence)(image), sequence(image))


def test_folding_needs_evaluation_mode() -> None:
    with pytest.raises(ValueError, match=r"network\.eval"):
        fold_batch_norms(StackedHourglass(3, 1, 8, 1).train())
