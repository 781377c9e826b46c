"""Which loss a batch meets, and that everything drawn in it depends on seed, step and rank alone."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hourglass.core.geometry import input_to_heatmap
from hourglass.core.skeleton import LSP14
from hourglass.core.structs import Batch
from hourglass.models.build import build_network
from hourglass.models.heatmap import encode
from hourglass.recipe.data import DataRecipe
from hourglass.recipe.network import NetworkRecipe
from hourglass.recipe.recipe import Recipe, TargetRecipe
from hourglass.training.cascade import begin_stage
from hourglass.training.losses import joint_losses
from hourglass.training.terms import Moment, loss_terms, target_widths

FABRIC = Fabric(accelerator="cpu", devices=1)


def recipe(network: NetworkRecipe, **target: object) -> Recipe:
    return Recipe(network, DataRecipe(input_px=64), target=TargetRecipe(**target))  # type: ignore[arg-type]


def batch(occluded: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 3, 64, 64), generator=generator, dtype=torch.uint8)
    weight = torch.ones(3, 14)
    weight[0, 3] = weight[1, 5] = 0
    weight[:, 7] = 0  # nobody shows this one
    hidden = torch.zeros(3, 14, dtype=torch.bool)
    hidden[:, 2] = occluded
    return Batch(image, torch.rand(3, 14, 2, generator=generator) * 63, weight, hidden)


class Fixed(nn.Module):
    """Answers with the same maps, whatever it sees."""

    def __init__(self, *stages: Tensor) -> None:
        super().__init__()
        self.stages = list(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.stages


TWO = NetworkRecipe(stacks=2, features=8, depth=2)


def random_stages() -> Fixed:
    generator = torch.Generator().manual_seed(2)
    # Ever worse from joint to joint, so that weights have something to tell.
    scale = torch.linspace(0.05, 0.6, 14)[None, :, None, None]
    return Fixed(*(torch.randn(3, 14, 16, 16, generator=generator) * scale for _ in range(2)))


def test_adaptive_weights_leave_the_first_stage_and_lift_the_hard_joints_of_the_next() -> None:
    network, people = random_stages(), batch()
    plain = loss_terms(FABRIC, network, people, recipe(TWO), Moment(0, 10))
    adaptive = loss_terms(FABRIC, network, people, recipe(TWO, adaptive="half_linear"), Moment(0, 10))
    assert adaptive.shape == plain.shape == (2,)
    torch.testing.assert_close(adaptive[0], plain[0])  # equal weights 1/J are the mean over joints
    assert adaptive[1] > 1.05 * plain[1]


def test_a_joint_labelled_less_often_is_not_taken_for_an_easy_one() -> None:
    people = batch()
    people.weight[:] = 1
    maps = torch.full((3, 14, 16, 16), 0.3)
    network = Fixed(maps, maps)
    base = recipe(TWO, adaptive="half_linear")
    everyone = loss_terms(FABRIC, network, people, base, Moment(0, 10))
    # Every joint errs alike; when joint 0 is labelled in one picture only, its mean per label is the same.
    people.weight[1:, 0] = 0
    sparse = loss_terms(FABRIC, network, people, base, Moment(0, 10))
    losses = joint_losses(network.stages, people.keypoints, people.weight, 4, 1.0)
    torch.testing.assert_close(sparse, losses.mean(1), rtol=2e-2, atol=0)
    assert sparse[0] < everyone[0]


def test_sums_over_cells_and_widths_by_stage_reach_the_loss() -> None:
    network, people = random_stages(), batch()
    rule = recipe(TWO, cells="sum", sigmas=(2.0, 1.0))
    found = loss_terms(FABRIC, network, people, rule, Moment(0, 10))
    truth = (people.keypoints, people.weight, 4)
    first = joint_losses(network.stages[:1], *truth, 2.0, cells="sum").mean(1)
    second = joint_losses(network.stages[1:], *truth, 1.0, cells="sum").mean(1)
    torch.testing.assert_close(found, torch.cat([first, second]))
    weighed = loss_terms(FABRIC, network, people, recipe(TWO, cells="sum", adaptive="square"), Moment(0, 10))
    plain = loss_terms(FABRIC, network, people, recipe(TWO, adaptive="square"), Moment(0, 10))
    torch.testing.assert_close(weighed, 256 * plain)  # shares of the largest loss are the same


def test_targets_narrow_as_a_run_goes_on() -> None:
    network, people = random_stages(), batch()
    rule = recipe(TWO, sigma_start=3.0, sigmas=(2.0, 1.0))  # over the first half
    assert target_widths(rule.target, Moment(0, 100)) == (6.0, 3.0)
    assert target_widths(rule.target, Moment(25, 100)) == (4.0, 2.0)
    assert (
        target_widths(rule.target, Moment(50, 100))
        == target_widths(rule.target, Moment(99, 100))
        == (2.0, 1.0)
    )
    assert target_widths(recipe(TWO).target, Moment(5, 10)) == 1.0
    found = loss_terms(FABRIC, network, people, rule, Moment(25, 100))
    truth = (people.keypoints, people.weight, 4)
    wide = [joint_losses([s], *truth, w).mean() for s, w in zip(network.stages, (4.0, 2.0), strict=True)]
    torch.testing.assert_close(found, torch.stack(wide))


def test_hidden_joints_get_negative_gaussians_only_where_the_recipe_says_so() -> None:
    people = batch(occluded=True)
    target = encode(input_to_heatmap(people.keypoints, 4), 16, 16, 1.0)
    sign = torch.ones(3, 14)
    sign[:, 2] = -1
    network = Fixed(target * sign[..., None, None])
    one = NetworkRecipe(stacks=1, features=8, depth=2)
    right = loss_terms(FABRIC, network, people, recipe(one, occluded="negative"), Moment(0, 10))
    wrong = loss_terms(FABRIC, network, people, recipe(one), Moment(0, 10))
    assert right.item() == pytest.approx(0, abs=1e-10)
    assert wrong.item() > 1e-3


CHAINED = NetworkRecipe(build="chained", width=4, hidden=4)


def test_a_chain_is_fed_truth_early_in_the_run_and_its_own_answers_later() -> None:
    torch.manual_seed(0)
    network = build_network(CHAINED, LSP14).eval()
    people = batch()
    fed = recipe(CHAINED, loss="cross_entropy", truth_share=0.5)
    never = recipe(CHAINED, loss="cross_entropy")
    own = loss_terms(FABRIC, network, people, never, Moment(0, 10))
    assert own.shape == (1,)
    # Far into the run nothing is fed any more, at its start everything is.
    torch.testing.assert_close(loss_terms(FABRIC, network, people, fed, Moment(9, 10)), own)
    early = loss_terms(FABRIC, network, people, fed, Moment(0, 10))
    assert early.item() != own.item()
    moments = [Moment(2, 10, part=part, parts=2) for part in (0, 0, 1)]
    between = [loss_terms(FABRIC, network, people, fed, moment).item() for moment in moments]
    assert between[0] == between[1] != between[2]


def test_a_raw_chain_learns_from_squared_error() -> None:
    torch.manual_seed(0)
    raw = NetworkRecipe(build="chained", width=4, hidden=4, feedback="raw")
    network, people = build_network(raw, LSP14).eval(), batch()
    found = loss_terms(FABRIC, network, people, recipe(raw), Moment(0, 10))
    (maps,) = network(people.image)
    assert network.output == "heatmap"
    torch.testing.assert_close(found, joint_losses([maps], people.keypoints, people.weight, 8, 1.0).mean(1))


DEEPPOSE = NetworkRecipe(build="deeppose", stacks=2, backbone="resnet34", width=4, view_px=32, dropout=0.0)


def test_a_cascade_meets_the_truth_first_and_simulated_errors_later() -> None:
    torch.manual_seed(0)
    network, people = build_network(DEEPPOSE, LSP14).eval(), batch()
    rule = recipe(DEEPPOSE, loss="coordinates")
    begin_stage(network, 1)  # type: ignore[arg-type]
    first = loss_terms(FABRIC, network, people, rule, Moment(0, 10, stage=1))
    shares = (people.keypoints - 31.5) / 64
    squared = ((network(people.image)[0] - shares) ** 2).sum(-1) * people.weight
    torch.testing.assert_close(first, (squared.sum() / people.weight.sum()).reshape(1))
    begin_stage(network, 2)  # type: ignore[arg-type]
    moments = [Moment(step, 10, 2, part, 2) for step, part in ((5, 0), (5, 0), (6, 0), (5, 1))]
    drawn = [loss_terms(FABRIC, network, people, rule, moment).item() for moment in moments]
    assert drawn[0] == drawn[1]
    assert len({*drawn}) == 3


@pytest.mark.parametrize("distance", ["l1", "smooth_l1"])
def test_a_cascade_is_measured_as_the_recipe_says(distance: str) -> None:
    torch.manual_seed(0)
    network, people = build_network(DEEPPOSE, LSP14).eval(), batch()
    begin_stage(network, 1)  # type: ignore[arg-type]
    rule = recipe(DEEPPOSE, loss="coordinates", distance=distance)
    found = loss_terms(FABRIC, network, people, rule, Moment(0, 10))
    error = (network(people.image)[0] - (people.keypoints - 31.5) / 64).abs()
    each = error if distance == "l1" else torch.where(error < 0.02, error**2 / 0.04, error - 0.01)
    expected = (each.sum(-1) * people.weight).sum() / people.weight.sum()
    torch.testing.assert_close(found, expected.reshape(1))


def test_a_cascade_learns_by_likelihood_too() -> None:
    torch.manual_seed(0)
    network, people = build_network(replace(DEEPPOSE, spread=True), LSP14).eval(), batch()
    rule = recipe(replace(DEEPPOSE, spread=True), loss="coordinates", distance="rle")
    begin_stage(network, 1)  # type: ignore[arg-type]
    found = loss_terms(FABRIC, network, people, rule, Moment(0, 10))
    shares = torch.where(people.weight[..., None] > 0, (people.keypoints - 31.5) / 64, 0)
    (each,) = network(people.image, None, shares)
    torch.testing.assert_close(found, ((each * people.weight).sum() / people.weight.sum()).reshape(1))
    begin_stage(network, 2)  # type: ignore[arg-type]
    later = loss_terms(FABRIC, network, people, rule, Moment(5, 10, stage=2))
    assert later.shape == (1,)
    assert bool(later.isfinite())


class Ranks:
    """Stands for a process group of two: first it hears what each rank gives, then it answers."""

    world_size = 2

    def __init__(self) -> None:
        self.heard: list[Tensor] = []
        self.answers: list[Tensor] = []

    def all_reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        if self.answers:
            return self.answers.pop(0)
        self.heard.append(tensor)
        return tensor

    def agree(self) -> None:
        """Two sums of labels and two means of losses, for rank 0 and again for rank 1."""
        labels_0, losses_0, labels_1, losses_1 = self.heard
        self.answers = [labels_0 + labels_1, (losses_0 + losses_1) / 2] * 2


def test_adaptive_weights_are_those_of_the_whole_batch_on_every_rank() -> None:
    generator = torch.Generator().manual_seed(5)
    scale = torch.linspace(0.05, 0.6, 14)[None, :, None, None]
    stages = [torch.randn(4, 14, 16, 16, generator=generator) * scale for _ in range(2)]
    keypoints, weight = torch.rand(4, 14, 2, generator=generator) * 63, torch.ones(4, 14)
    weight[:3, 2] = 0  # one rank alone sees this joint
    image = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    rule = recipe(TWO, adaptive="half_linear")
    whole = loss_terms(FABRIC, Fixed(*stages), Batch(image, keypoints, weight), rule, Moment(0, 10))
    ranks = Ranks()

    def both() -> list[Tensor]:
        return [
            loss_terms(
                ranks,  # type: ignore[arg-type]
                Fixed(*(stage[part] for stage in stages)),
                Batch(image[part], keypoints[part], weight[part]),
                rule,
                Moment(0, 10),
            )
            for part in (slice(0, 2), slice(2, 4))
        ]

    alone = both()
    ranks.agree()
    together = both()
    torch.testing.assert_close((together[0] + together[1]) / 2, whole)
    assert not torch.allclose((alone[0] + alone[1]) / 2, whole, rtol=1e-4)
