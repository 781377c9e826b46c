"""Every kind of answer a network can give, through the one function that reads it."""

import pytest
import torch
from torch import Tensor, nn

from hourglass.core.geometry import input_to_heatmap
from hourglass.core.skeleton import Skeleton
from hourglass.inference.forward import answer_crops, answer_stages
from hourglass.models import heatmap
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts

PAIR = Skeleton("pair", ("left_hand", "right_hand", "head"), flip_pairs=(("left_hand", "right_hand"),))
TRUTH = torch.tensor([[[20.25, 33.5], [50.0, 12.75], [30.0, 40.0]], [[9.0, 8.0], [40.5, 50.0], [31.5, 31.5]]])


def facts(signed: bool = False) -> WeightFacts:
    return WeightFacts("told", NetworkRecipe(), PAIR, 64, (0, 0, 0), (1, 1, 1), 1.0, "dark", signed=signed)


class Told(nn.Module):
    """Knows the joints of two crops and of their mirror images, and says so in one of three ways."""

    def __init__(self, output: str, sign: Tensor | None = None) -> None:
        super().__init__()
        self.output = output
        self.sign = torch.ones(3) if sign is None else sign

    def forward(self, image: Tensor) -> list[Tensor]:
        mirrored = TRUTH[:, PAIR.flip_permutation] * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0.0])
        known = torch.cat([TRUTH, mirrored])[: len(image)]
        if self.output == "coordinates":
            shares = (known - 31.5) / 64
            return [torch.zeros_like(shares), shares]
        maps = heatmap.encode(input_to_heatmap(known, 4), 16, 16, 1.0)
        if self.output == "logits":
            return [maps.clamp_min(1e-12).log() + 3.0]
        early = heatmap.encode(input_to_heatmap(known + 8, 4), 16, 16, 1.0)
        return [early, maps * self.sign[:, None, None]]


CROPS = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("output", ["heatmap", "logits", "coordinates"])
def test_joints_come_back_whatever_the_kind_of_answer(output: str, flip_test: bool) -> None:
    answer = answer_crops(Told(output), CROPS, facts(), flip_test)
    torch.testing.assert_close(answer.keypoints, TRUTH, atol=0.3, rtol=0)
    torch.testing.assert_close(answer.scores, torch.ones(2, 3), atol=0.3, rtol=0)
    assert len(answer.stages) == {"heatmap": 2, "logits": 1, "coordinates": 0}[output]
    assert answer.occluded is None


def test_a_flip_test_averages_coordinates_with_the_mirrored_ones() -> None:
    class Leaning(Told):
        def forward(self, image: Tensor) -> list[Tensor]:
            return [stage + torch.tensor([4 / 64, 0.0]) for stage in super().forward(image)]

    # Leaning right in the crop and right in its mirror image cancels out.
    alone = answer_crops(Leaning("coordinates"), CROPS, facts())
    both = answer_crops(Leaning("coordinates"), CROPS, facts(), flip_test=True)
    torch.testing.assert_close(alone.keypoints, TRUTH + torch.tensor([4.0, 0.0]))
    torch.testing.assert_close(both.keypoints, TRUTH)


def test_hidden_joints_are_found_when_the_weights_say_so() -> None:
    network = Told("heatmap", torch.tensor([1.0, -1.0, 1.0]))
    answer = answer_crops(network, CROPS, facts(signed=True))
    torch.testing.assert_close(answer.keypoints, TRUTH, atol=0.3, rtol=0)
    assert answer.occluded is not None
    assert answer.occluded.tolist() == [[False, True, False]] * 2
    blind = answer_crops(network, CROPS, facts())
    assert (blind.keypoints - TRUTH)[:, 1].abs().max() > 8


def test_every_stage_answers_for_itself() -> None:
    first, last = answer_stages(Told("heatmap"), CROPS, facts())
    torch.testing.assert_close(first.keypoints, TRUTH + 8, atol=0.5, rtol=0)
    torch.testing.assert_close(last.keypoints, TRUTH, atol=0.3, rtol=0)
    start, end = answer_stages(Told("coordinates"), CROPS, facts())
    torch.testing.assert_close(start.keypoints, torch.full_like(TRUTH, 31.5))
    torch.testing.assert_close(end.keypoints, TRUTH)
