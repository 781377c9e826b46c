"""Crops that leave early: the same answers as the whole network's stage at which each crop settled."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hourglass.core.skeleton import LSP14
from hourglass.inference.early_exit import answer_until_settled
from hourglass.inference.forward import answer_stages
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts
from plain_layers import live_statistics

FACTS = WeightFacts("test", NetworkRecipe(stacks=4), LSP14, 64, (0.0,) * 3, (1.0,) * 3, decoding="argmax")


def network() -> StackedHourglass:
    torch.manual_seed(1)
    made = StackedHourglass(14, 4, 8, 2).eval()
    live_statistics(made)
    return made


def crops(count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def tolerance_for(keypoints: list[Tensor], share: float) -> float:
    """So large that this share of the crops leaves after two stages (0: that nobody ever leaves early)."""
    steps = [(after - before).norm(dim=-1).mean(-1) for before, after in pairwise(keypoints)]
    if not share:
        return float(torch.stack(steps).min()) / 64 * 0.5
    return float(steps[0].quantile(share)) / 64 * 1.001


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_each_crop_leaves_where_two_stages_agree(flip_test: bool, share: float) -> None:
    made = network()
    stages = answer_stages(made, crops(), FACTS, flip_test)
    tolerance = tolerance_for([stage.keypoints for stage in stages], share)
    answer, used = answer_until_settled(made, crops(), FACTS, flip_test, tolerance=tolerance)
    for crop in range(len(used)):
        expected = len(stages)
        for k in range(1, len(stages)):
            step = (stages[k].keypoints[crop] - stages[k - 1].keypoints[crop]).norm(dim=-1).mean()
            if step <= tolerance * 64:
                expected = k + 1
                break
        assert used[crop] == expected
        torch.testing.assert_close(answer.keypoints[crop], stages[expected - 1].keypoints[crop])
        torch.testing.assert_close(answer.scores[crop], stages[expected - 1].scores[crop])
        torch.testing.assert_close(
            answer.stages[0][crop], stages[expected - 1].stages[0][crop], rtol=1e-4, atol=1e-6
        )
    # The cases are worth testing: nobody leaves early, some do, everybody does.
    fewest, most = {0.0: (4, {4}), 0.3: (2, {3, 4}), 1.0: (2, {2})}[share]
    assert int(used.min()) == fewest
    assert int(used.max()) in most


def test_maps_of_coarser_stages_come_in_the_size_of_the_last() -> None:
    torch.manual_seed(1)
    made = MultiScaleStackedHourglass(14, strides=(8, 8, 4, 2), features=8, depth=2).eval()
    live_statistics(made)
    tolerance = tolerance_for([stage.keypoints for stage in answer_stages(made, crops(), FACTS)], 0.3)
    answer, used = answer_until_settled(made, crops(), FACTS, tolerance=tolerance)
    assert int(used.min()) < int(used.max())
    last = 64 // (8, 8, 4, 2)[int(used.max()) - 1]
    assert answer.stages[0].shape == (6, 14, last, last)


def test_a_network_with_one_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="has one answer"):
        answer_until_settled(StackedHourglass(14, 1, 8, 2).eval(), crops(), FACTS)
