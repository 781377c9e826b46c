"""Training DeepPose's stages: who learns when, from which boxes, and with which statistics."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hourglass.core.structs import Batch
from hourglass.models.deeppose import MIN_DIAMETER, DeepPose
from hourglass.training.cascade import (
    begin_stage,
    fit_displacements,
    set_displacements,
    stage_of,
    training_inputs,
)
from hourglass.training.losses import coordinate_loss

SIDE = 64
TORSO = ((0, 2), (1, 3))


def toy(joints: int = 4, torso: tuple[tuple[int, int], ...] = TORSO, stages: int = 3) -> DeepPose:
    torch.manual_seed(0)
    return DeepPose(joints, torso, stages, "resnet34", 2, 32, box_sigma=1.5, dropout=0.0)


def people(count: int, joints: int = 4, seed: int = 0) -> Batch:
    """Random poses on black crops that take no memory."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8).expand(count, -1, -1, -1)
    keypoints = torch.rand(count, joints, 2, generator=generator) * (SIDE - 1)
    return Batch(image, keypoints, torch.ones(count, joints))


def shares(batch: Batch) -> Tensor:
    """The batch's joints from the middle of the crop, in sides of it."""
    return (batch.keypoints - (SIDE - 1) / 2) / SIDE


def true_diameters(batch: Batch, torso: tuple[tuple[int, int], ...] = TORSO) -> Tensor:
    truth = shares(batch)
    return torch.stack([(truth[:, a] - truth[:, b]).norm(dim=-1) for a, b in torso]).mean(0)


class Replays(nn.Module):
    """A first stage that gives prepared answers, one batch after the other."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def forward(self, view: Tensor) -> Tensor:
        assert not self.training
        return next(self.answers)


# --- the parts of a run -------------------------------------------------------------------------------


def test_stages_share_a_run_by_hand() -> None:
    assert [stage_of(s, 10, 3) for s in (0, 2, 3, 5, 6, 9, 10, 50)] == [
        *[(1, 0, 3)] * 2,
        *[(2, 3, 3)] * 2,
        *[(3, 6, 4)] * 4,
    ]
    assert stage_of(7, 8, 1) == (1, 0, 8)
    assert [stage_of(s, 2, 2)[0] for s in (0, 1)] == [1, 2]


@given(st.integers(1, 6), st.integers(0, 60))
def test_stages_follow_one_another_without_a_gap(stages: int, more: int) -> None:
    total = stages + more
    parts = [stage_of(step, total, stages) for step in range(total)]
    distinct = sorted(set(parts))
    assert parts == sorted(parts)
    assert [p[0] for p in distinct] == list(range(1, stages + 1))
    ends = [first + length for _, first, length in distinct]
    assert [0, *ends] == [*(first for _, first, _ in distinct), total]
    assert all(first <= step < first + length for step, (_, first, length) in enumerate(parts))
    lengths = [length for _, _, length in distinct]
    assert len(set(lengths[:-1])) <= 1
    assert lengths[-1] - lengths[0] in range(stages)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 3), "3 stages can't be trained in 2 steps: give each at least one"),
        ((0, 5, 0), "0 stages can't be trained in 5 steps"),
        ((-1, 5, 2), "step must not be negative, it is -1"),
    ],
)
def test_runs_that_can_not_be_shared(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stage_of(*arguments)


# --- one stage at a time --------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_only_the_stage_in_training_learns(stage: int) -> None:
    net = toy()
    batch = people(8)
    images = torch.randint(0, 256, batch.image.shape, generator=torch.Generator().manual_seed(1)).byte()
    batch = Batch(images, batch.keypoints, batch.weight)
    begin_stage(net, stage)
    assert (net.active_stages, int(net.active)) == (stage, stage)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    around, target, weight = training_inputs(net, batch, stage, torch.Generator().manual_seed(0))
    # In evaluation mode, since a batch's own mean would cancel biases; as in the networks' own tests.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(images, around)
    net.eval()
    (answer,) = net(images, around)
    coordinate_loss(answer, target, weight).backward()  # type: ignore[no-untyped-call]
    prefix = f"stages.{stage - 1}."
    for name, p in net.named_parameters():
        assert p.requires_grad == name.startswith(prefix)
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) == name.startswith(prefix), name
    # Nor do the running statistics of the other stages move.
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith(prefix) for name in moved)


def test_a_stage_starts_fresh_or_from_the_one_before() -> None:
    net = toy()
    fresh = {k: v.clone() for k, v in net.stages[1].state_dict().items()}
    for tensor in net.stages[0].state_dict().values():
        tensor.add_(1)
    begin_stage(net, 2)
    assert all(torch.equal(v, fresh[k]) for k, v in net.stages[1].state_dict().items())
    begin_stage(net, 2, copy=True)
    for name, tensor in net.stages[1].state_dict().items():
        source = net.stages[0].state_dict() if name.startswith("encoder") else fresh
        assert torch.equal(tensor, source[name]), name


def test_stages_that_can_not_begin() -> None:
    with pytest.raises(ValueError, match="active stages must be 1 to 3, not 4"):
        begin_stage(toy(), 4)
    with pytest.raises(ValueError, match="stage 1 has no stage before it to copy"):
        begin_stage(toy(), 1, copy=True)


# --- displacements ----------------------------------------------------------------------------------------


def test_fitted_displacements_are_truth_minus_answer_in_true_diameters() -> None:
    generator = torch.Generator().manual_seed(3)
    batches = [people(500, seed=s) for s in range(4)]
    mean = torch.tensor([[0.1, -0.2], [0.0, 0.0], [0.3, 0.1], [-0.1, -0.1]])
    factor = torch.tensor([[0.2, 0.0], [0.1, 0.15]]) * torch.tensor([1.0, 2.0, 0.5, 1.5]).view(4, 1, 1)
    off = [
        mean + (factor @ torch.randn(500, 4, 2, 1, generator=generator)).squeeze(-1)
        for _ in range(len(batches))
    ]
    net = toy()
    answers = [shares(b) - d * true_diameters(b)[:, None, None] for b, d in zip(batches, off, strict=True)]
    net.stages[0] = Replays(answers)
    begin_stage(net, 1)
    net.train()
    fitted_mean, fitted_cov = fit_displacements(net, iter(batches))
    assert net.training
    assert fitted_mean.dtype == fitted_cov.dtype == torch.float64
    for j in range(4):
        samples = torch.cat(off)[:, j].double().numpy()
        np.testing.assert_allclose(fitted_mean[j], samples.mean(0), atol=1e-5)
        np.testing.assert_allclose(fitted_cov[j], np.cov(samples.T), atol=2e-5)
    torch.testing.assert_close(fitted_mean, mean.double(), rtol=0, atol=0.03)
    torch.testing.assert_close(fitted_cov, (factor @ factor.mT).double(), rtol=0.15, atol=0.005)


def test_the_last_active_stage_is_the_one_that_is_measured() -> None:
    class Moves(nn.Module):
        def forward(self, view: Tensor) -> Tensor:
            return torch.tensor([0.1, -0.2]).expand(len(view), 4, 2)

    net = toy()
    batch = people(50)
    net.stages[0] = Replays([shares(batch)] * 2)
    net.stages[1] = Moves()
    net.set_active_stages(1)
    mean, cov = fit_displacements(net, [batch])
    torch.testing.assert_close(mean, torch.zeros(4, 2).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(cov, 1e-6 * torch.eye(2).double().expand(4, 2, 2), rtol=1e-2, atol=1e-9)
    net.set_active_stages(2)
    mean, _ = fit_displacements(net, [batch])  # off by a move of 1.5 diameters' share, backwards
    torch.testing.assert_close(mean, torch.tensor([-0.15, 0.3]).double().expand(4, 2), rtol=0, atol=1e-4)


def test_unlabelled_joints_do_not_count_and_rare_ones_borrow() -> None:
    batch = people(60)
    weight = torch.ones(60, 4)
    weight[2:, 1] = 0  # two samples of joint 1
    weight[:, 3] = 0  # joint 3 is never seen, so the first diagonal alone measures
    keypoints = torch.where(weight[..., None] > 0, batch.keypoints, torch.nan)
    net = toy()
    off = 0.2 * torch.randn(60, 4, 2, generator=torch.Generator().manual_seed(5)) + 0.1
    diameter = true_diameters(batch, ((0, 2),))
    net.stages[0] = Replays([shares(batch) - off * diameter[:, None, None]])
    net.set_active_stages(1)
    mean, cov = fit_displacements(net, [Batch(batch.image, keypoints, weight)])
    labelled = off[weight > 0].double().numpy()
    for j, samples in ((0, off[:, 0].numpy()), (2, off[:, 2].numpy()), (1, labelled), (3, labelled)):
        np.testing.assert_allclose(mean[j], samples.mean(0), atol=1e-5)
        np.testing.assert_allclose(cov[j], np.cov(samples.T), atol=1e-5)


def test_people_without_a_torso_do_not_bend_the_statistics() -> None:
    batch = people(60)
    weight = torch.ones(60, 4)
    weight[:30, 2:] = 0  # no diagonal has both ends
    off = 0.2 * torch.randn(60, 4, 2, generator=torch.Generator().manual_seed(5))
    net = toy()
    net.stages[0] = Replays([shares(batch) - off * true_diameters(batch)[:, None, None]])
    net.set_active_stages(1)
    mean, cov = fit_displacements(net, [Batch(batch.image, batch.keypoints, weight)])
    for j in range(4):
        np.testing.assert_allclose(mean[j], off[30:, j].double().numpy().mean(0), atol=1e-5)
        np.testing.assert_allclose(cov[j], np.cov(off[30:, j].double().numpy().T), atol=1e-5)


def test_a_skeleton_without_a_torso_is_measured_by_its_box() -> None:
    net, batch = toy(torso=()), people(6)
    around, _, weight = training_inputs(net, batch, 2, torch.Generator().manual_seed(0))
    assert around is not None
    points = shares(batch)
    box = (points.amax(1) - points.amin(1)).amax(-1)
    torch.testing.assert_close(around[1], (1.5 * box)[:, None].expand(6, 4))
    assert torch.equal(weight, batch.weight)


def test_nothing_labelled_can_not_be_fitted() -> None:
    batch = people(3)
    alone = torch.zeros(3, 4)
    alone[:, 0] = 1  # three joints, but a pose of one joint has no size
    for batches in ([], [Batch(batch.image, batch.keypoints, alone)]):
        with pytest.raises(ValueError, match="the training batches hold 0 labelled joints"):
            fit_displacements(toy(), batches)


def test_statistics_travel_with_the_weights() -> None:
    net, other = toy(), toy()
    mean = torch.arange(8.0).view(4, 2)
    cov = torch.tensor([[4.0, 2.0], [2.0, 10.0]]).expand(4, 2, 2)
    set_displacements(net, 2, mean.double(), cov.double())
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.displacement_mean[1], mean)
    torch.testing.assert_close(other.displacement_chol[1], torch.tensor([[2.0, 0], [1, 3]]).expand(4, 2, 2))
    for stage in (0, 2):  # the others keep what a new network has
        assert torch.equal(other.displacement_mean[stage], toy().displacement_mean[stage])
        assert torch.equal(other.displacement_chol[stage], toy().displacement_chol[stage])


@pytest.mark.parametrize(
    ("stage", "mean", "cov", "message"),
    [
        (1, torch.zeros(4, 2), torch.eye(2).expand(4, 2, 2), "stages 2 to 3, not to stage 1"),
        (4, torch.zeros(4, 2), torch.eye(2).expand(4, 2, 2), "stages 2 to 3, not to stage 4"),
        (2, torch.zeros(5, 2), torch.eye(2).expand(4, 2, 2), r"shapes \(5, 2\) and \(4, 2, 2\), expected"),
        (2, torch.zeros(4, 2), -torch.eye(2).expand(4, 2, 2), "not finite and positive definite"),
        (2, torch.full((4, 2), torch.nan), torch.eye(2).expand(4, 2, 2), "not finite and positive definite"),
    ],
)
def test_statistics_that_are_none(stage: int, mean: Tensor, cov: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        set_displacements(toy(), stage, mean, cov)


# --- what a step feeds to the network ---------------------------------------------------------------------


def test_stage_1_learns_the_truth_as_shares_of_the_crop() -> None:
    batch = people(5)
    around, target, weight = training_inputs(toy(), batch, 1, torch.Generator())
    assert around is None
    torch.testing.assert_close(target, shares(batch))
    assert torch.equal(weight, batch.weight)


def test_boxes_lie_where_the_stage_before_would_have_answered() -> None:
    """With no spread an answer is truth - mean: the box is there, and the target leads back."""
    net, batch = toy(), people(6)
    mean = torch.tensor([[0.5, 0.0], [0.0, -0.25], [0.1, 0.2], [0.0, 0.0]])
    set_displacements(net, 2, mean, 1e-12 * torch.eye(2).expand(4, 2, 2))
    around, target, weight = training_inputs(net, batch, 2, torch.Generator().manual_seed(0))
    assert around is not None
    centers, sides = around
    diameter = true_diameters(batch)
    torch.testing.assert_close(sides, (1.5 * diameter)[:, None].expand(6, 4))
    expected = shares(batch) - mean * diameter[:, None, None]
    torch.testing.assert_close(centers, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(target, (mean / 1.5).expand(6, 4, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(centers + target * sides[..., None], shares(batch))
    assert torch.equal(weight, batch.weight)


def test_noise_has_the_fitted_statistics_and_fits_itself() -> None:
    net, batch = toy(), people(4000)
    mean = torch.tensor([[0.1, -0.2], [0.0, 0.05], [0.3, 0.1], [-0.1, -0.1]])
    factor = torch.tensor([[0.2, 0.0], [0.1, 0.15]]) * torch.tensor([1.0, 2.0, 0.5, 1.5]).view(4, 1, 1)
    cov = factor @ factor.mT
    set_displacements(net, 2, mean, cov)
    around, target, weight = training_inputs(net, batch, 2, torch.Generator().manual_seed(7))
    assert around is not None
    counted = weight[:, 0] > 0
    assert counted.float().mean() > 0.99
    drawn = 1.5 * target[counted]
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.015)
    for j in range(4):
        torch.testing.assert_close(torch.cov(drawn[:, j].T), cov[j], rtol=0.1, atol=0.002)
    # Fed back as answers of the stage before, the boxes' centres give the statistics they were drawn from.
    net.stages[0] = Replays([around[0]])
    net.set_active_stages(1)
    again_mean, again_cov = fit_displacements(net, [batch])
    torch.testing.assert_close(again_mean.float(), mean, rtol=0, atol=0.015)
    torch.testing.assert_close(again_cov.float(), cov, rtol=0.1, atol=0.002)


def test_draws_depend_on_the_generator_alone() -> None:
    net, batch = toy(), people(3)

    def draw(seed: int) -> Tensor:
        torch.rand(7)  # the global generator's state plays no part
        around, _, _ = training_inputs(net, batch, 3, torch.Generator().manual_seed(seed))
        assert around is not None
        return around[0]

    assert torch.equal(draw(11), draw(11))
    assert not torch.equal(draw(11), draw(12))


def test_people_of_unknown_size_and_unlabelled_joints_have_no_weight_and_stay_finite() -> None:
    nan = torch.nan
    keypoints = torch.tensor(
        [
            [[10.0, 10], [20, 10], [10, 42], [nan, nan]],  # the first diagonal: 32 px
            [[nan, nan], [20, 10], [nan, nan], [28, 26]],  # the second
            [[10.0, 10], [26, 18], [nan, nan], [nan, nan]],  # neither, so no size
            [[10.0, 10], [nan, nan], [nan, nan], [nan, nan]],  # a single joint
            [[nan, nan]] * 4,
        ]
    )
    labelled = torch.isfinite(keypoints).all(-1).float()
    image = torch.zeros(5, 3, SIDE, SIDE, dtype=torch.uint8)
    batch = Batch(image, keypoints, labelled)
    _, target, weight = training_inputs(toy(), batch, 1, torch.Generator())
    assert bool(torch.isfinite(target).all())
    assert torch.equal(weight, labelled)  # the first stage needs nobody's size
    around, target, weight = training_inputs(toy(), batch, 2, torch.Generator().manual_seed(0))
    assert around is not None
    least = MIN_DIAMETER * SIDE
    sizes = torch.tensor([32, (8**2 + 16**2) ** 0.5, least, least, least]) / SIDE
    torch.testing.assert_close(around[1], (1.5 * sizes)[:, None].expand(5, 4))
    assert all(bool(torch.isfinite(t).all()) for t in (*around, target, weight))
    assert torch.equal(weight, labelled * torch.tensor([1.0, 1, 0, 0, 0])[:, None])


@pytest.mark.parametrize("stage", [0, 4])
def test_inputs_for_stages_that_are_not_there(stage: int) -> None:
    with pytest.raises(ValueError, match=f"stage must be 1 to 3, not {stage}"):
        training_inputs(toy(), people(1), stage, torch.Generator())


# --- altogether ---------------------------------------------------------------------------------------------


def dots(count: int, seed: int) -> Batch:
    """Crops of 96 px with a coloured dot on each of two joints."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = 20 + 55 * torch.rand(count, 2, 2, generator=generator)
    pixels = torch.arange(96.0)
    squared = (pixels - keypoints[..., :1])[:, :, None] ** 2 + (pixels - keypoints[..., 1:])[..., None] ** 2
    red, blue = (255 * torch.exp(-squared / 18)).byte().unbind(1)
    return Batch(torch.stack([red, torch.zeros_like(red), blue], 1), keypoints, torch.ones(count, 2))


@pytest.mark.slow
def test_a_second_stage_trained_on_the_first_ones_errors_mends_them() -> None:
    torch.manual_seed(1)
    net = DeepPose(2, ((0, 1),), 2, "alexnet", 2, 64, box_sigma=1.0, dropout=0.0)
    held_out = dots(32, 99)
    errors = []

    def steps(stage: int) -> Iterator[Tensor]:
        optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-3)
        for step in range(100):
            batch = dots(16, step)
            generator = torch.Generator().manual_seed(step)
            around, target, weight = training_inputs(net, batch, stage, generator)
            loss = coordinate_loss(net(batch.image, around)[-1], target, weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            yield loss.detach()

    for stage in (1, 2):
        if stage > 1:
            set_displacements(net, stage, *fit_displacements(net, [dots(16, s) for s in range(4)]))
        begin_stage(net, stage)
        losses = list(steps(stage))
        assert torch.stack(losses[-10:]).mean() < torch.stack(losses[:10]).mean() / 2
        with torch.inference_mode():
            answer = net.eval()(held_out.image)[-1]
        net.train()
        errors.append(float((answer - (held_out.keypoints - 47.5) / 96).norm(dim=-1).mean()))
    assert errors[1] < 0.8 * errors[0]
