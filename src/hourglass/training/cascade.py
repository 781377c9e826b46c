"""How DeepPose's stages are trained, one after another, each on the errors of those before.

For stage s >= 2, once: `fit_displacements` on the stages before, `set_displacements`, `begin_stage`; then
at every step `training_inputs`, the network on its boxes, and a squared error against its target. A run
that is resumed inside a stage has the statistics in its weights and calls `begin_stage` alone.

People whose torso isn't labelled teach the first stage alone. A later stage looks at squares of so many
torsos around each joint, and where the torso is a guess it would be shown squares that no answer gives it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from hourglass.core.geometry import input_to_heatmap
from hourglass.core.structs import Batch
from hourglass.models.deeppose import MIN_DIAMETER, DeepPose, Regressor, pose_diameter

MIN_SAMPLES = 3
"""A joint seen less often borrows the statistics of all joints."""
_MIN_VARIANCE = 1e-6  # of squared diameters; keeps the factor of a covariance from collapsing


def stage_of(step: int, total_steps: int, stages: int) -> tuple[int, int, int]:
    """(stage, its first step, its length in steps): stages count from 1 and share a run equally.

    The last stage takes what the division leaves; a step past the end belongs to it.

    Raises ValueError for a negative step, or when there are fewer steps than stages.
    """
    if stages < 1 or total_steps < stages:
        raise ValueError(f"{stages} stages can't be trained in {total_steps} steps: give each at least one")
    if step < 0:
        raise ValueError(f"step must not be negative, it is {step}")
    share = total_steps // stages
    stage = min(step // share + 1, stages)
    first = (stage - 1) * share
    return stage, first, share if stage < stages else total_steps - first


def begin_stage(network: DeepPose, stage: int, copy: bool = False) -> None:
    """Make this stage the last active one and the only one whose parameters want gradients.

    Args:
        stage: from 1.
        copy: start its encoder from the stage before (ours); the last layer stays fresh, since a position
            is no displacement. The paper's stages start from their own random weights. Leave it off when
            a run resumes inside a stage.

    Raises ValueError for a stage that there isn't, or a copy where none is before.
    """
    if copy and stage == 1:
        raise ValueError("stage 1 has no stage before it to copy")
    network.set_active_stages(stage)
    for i, regressor in enumerate(network.stages):
        regressor.requires_grad_(i == stage - 1)
    if copy:
        before, current = network.stages[stage - 2], network.stages[stage - 1]
        assert isinstance(before, Regressor)
        assert isinstance(current, Regressor)
        current.encoder.load_state_dict(before.encoder.state_dict())


@torch.no_grad()
def fit_displacements(network: DeepPose, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Mean (J, 2) and covariance (J, 2, 2), float64 on the CPU, of how far the active stages are off.

    A displacement is `truth - answer` of a labelled joint in diameters of the true pose; people whose
    diameter can't be told are left out. A joint with fewer than three takes the statistics of all joints
    together. 1e-6 is added to every variance. The network answers in evaluation mode and is put back.

    Raises ValueError when the batches hold fewer than three labelled joints.
    """
    was_training = network.training
    network.eval()
    displacements, counted = [], []
    try:
        for batch in batches:
            batch = batch.to(network.displacement_mean.device)
            truth, weight, diameter = _truth(network, batch)
            answer = network(batch.image)[-1]
            displacements.append(((truth - answer) / diameter[:, None, None]).cpu().double())
            counted.append((weight > 0).cpu())
    finally:
        network.train(was_training)
    known = torch.cat(counted) if counted else torch.zeros(0, network.joints, dtype=torch.bool)
    if int(known.sum()) < MIN_SAMPLES:
        raise ValueError(
            f"the training batches hold {int(known.sum())} labelled joints of people whose size is known: "
            f"at least {MIN_SAMPLES} are needed to fit displacements"
        )
    every = torch.cat(displacements)
    pooled = _moments(every[known])
    columns = [every[known[:, j], j] for j in range(network.joints)]
    moments = [_moments(c) if len(c) >= MIN_SAMPLES else pooled for c in columns]
    return torch.stack([mean for mean, _ in moments]), torch.stack([cov for _, cov in moments])


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,) and regularised, unbiased covariance (2, 2) of samples (N, 2)."""
    floor = _MIN_VARIANCE * torch.eye(2, dtype=samples.dtype)
    return samples.mean(0), torch.cov(samples.T) + floor


def set_displacements(network: DeepPose, stage: int, mean: Tensor, cov: Tensor) -> None:
    """Store what `fit_displacements` found, for training this stage (2 or later); it travels in the weights.

    Raises ValueError for another stage, wrong shapes or a covariance that is none.
    """
    stages, joints = len(network.stages), network.joints
    if not 2 <= stage <= stages:
        raise ValueError(f"displacements belong to the stages 2 to {stages}, not to stage {stage}")
    if mean.shape != (joints, 2) or cov.shape != (joints, 2, 2):
        raise ValueError(
            f"displacements have shapes {tuple(mean.shape)} and {tuple(cov.shape)}, "
            f"expected {(joints, 2)} and {(joints, 2, 2)}"
        )
    factor, failed = torch.linalg.cholesky_ex(cov.double())
    if bool(failed.any()) or not bool(torch.isfinite(mean).all() and torch.isfinite(factor).all()):
        raise ValueError("the displacements' mean or covariance is not finite and positive definite")
    network.displacement_mean[stage - 1] = mean.to(network.displacement_mean)
    network.displacement_chol[stage - 1] = factor.to(network.displacement_chol)


def training_weight(network: DeepPose, batch: Batch, stage: int) -> Tensor:
    """Weight (B, J) of each joint in a stage: the batch's; from stage 2 on 0 for people of unknown size."""
    return batch.weight if stage == 1 else _truth(network, batch)[1]


def training_inputs(
    network: DeepPose,
    batch: Batch,
    stage: int,
    generator: torch.Generator,
    part: int = 0,
    parts: int = 1,
) -> tuple[tuple[Tensor, Tensor] | None, Tensor, Tensor]:
    """(around, target, weight): what to call the network with, and what it should answer.

    Stage 1 has no boxes and the truth, as shares of the crop, for target. A later stage has a box around
    a simulated answer, `truth - displacement`, drawn from the fitted normal; its side is `box_sigma` times
    the true pose's diameter, and the target is `(truth - centre) / side`.

    Args:
        batch: B crops, on the network's device.
        stage: the one that is trained, from 1.
        generator: draws the displacements; keyed by (seed, step) a resumed run repeats itself. It may
            live on another device than the batch.
        part, parts: the batch is rows `part::parts` of a larger one, for which the displacements are drawn.

    Returns boxes (centres (B, J, 2), sides (B, J)) or None, target (B, J, 2) and weight (B, J), which is
    the batch's, and 0 for people whose diameter can't be told in stages with boxes. Everything is finite.
    Raises ValueError for a stage that there isn't.
    """
    if not 1 <= stage <= len(network.stages):
        raise ValueError(f"stage must be 1 to {len(network.stages)}, not {stage}")
    truth, weight, diameter = _truth(network, batch)
    if stage == 1:
        return None, truth, batch.weight
    people, *shape = truth.shape
    normal = torch.randn(people * parts, *shape, generator=generator, device=generator.device)
    normal = normal[part::parts].to(truth)
    mean, factor = network.displacement_mean[stage - 1], network.displacement_chol[stage - 1]
    displacement = mean + (factor @ normal[..., None]).squeeze(-1)
    centers = truth - displacement * diameter[:, None, None]
    sides = (network.box_sigma * diameter)[:, None].expand(-1, network.joints)
    return (centers, sides), (truth - centers) / sides[..., None], weight


def _truth(network: DeepPose, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Truth (B, J, 2) as shares of the crop, 0 where unknown; weight (B, J); true diameters (B,)."""
    known = batch.weight > 0
    points = input_to_heatmap(batch.keypoints, batch.image.shape[-1])
    diameter = pose_diameter(points, network.torso, known)
    weight = batch.weight * (diameter >= MIN_DIAMETER)[:, None]
    return torch.where(known[..., None], points, 0), weight, diameter.clamp_min(MIN_DIAMETER)
