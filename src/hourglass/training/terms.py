"""One batch to loss terms: the only place that knows which loss belongs to which network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hourglass.core.geometry import input_to_heatmap
from hourglass.core.structs import Batch
from hourglass.data.loading.photos import PhotoBatch
from hourglass.models import heatmap
from hourglass.models.deeppose import DeepPose
from hourglass.models.spatial_softmax import LEAST_SHARE, cross_entropy, scheduled_truth
from hourglass.recipe.recipe import Recipe, TargetRecipe
from hourglass.training.cascade import training_inputs, training_weight
from hourglass.training.losses import (
    adaptive_weights,
    center_loss,
    coordinate_loss,
    heatmap_loss,
    joint_losses,
)

_CHAINED_STRIDE = 8
"""Input pixels per heatmap cell of a chained network's answer."""

AnyBatch = Batch | PhotoBatch
"""Crops of people, or whole photos."""


@dataclass(frozen=True)
class Moment:
    """Where in a run a batch is met; everything drawn at random depends on nothing else.

    Args:
        step: optimiser steps taken before.
        total: steps of the whole run.
        stage: of a cascade trained stage by stage, from 1; 1 for every other network.
        part, parts: the batch is rows `part::parts` of the whole one; processes and micro-batches share it.
    """

    step: int
    total: int
    stage: int = 1
    part: int = 0
    parts: int = 1


def label_totals(
    fabric: Fabric, network: nn.Module, batches: Sequence[AnyBatch], recipe: Recipe, moment: Moment
) -> Tensor | None:
    """Labels of the whole batch over its number of parts, for losses that are means over labels; else None.

    The mean over all parts of such a loss, with these in place of the part's own number, is the loss of the
    whole batch. () for `coordinates` and `centers`, (J,) for `cross_entropy`, on the device.

    Args:
        batches: this process's micro-batches.
        moment: of any of them.
    """
    if moment.parts == 1 or recipe.target.loss == "mse":
        return None
    total = torch.stack([_labels(network, batch, recipe, moment) for batch in batches]).sum(0)
    everywhere = fabric.all_reduce(total, reduce_op="sum")
    assert isinstance(everywhere, Tensor)
    return everywhere / moment.parts


def _labels(network: nn.Module, batch: AnyBatch, recipe: Recipe, moment: Moment) -> Tensor:
    """How many labels of a batch count: () for `coordinates` and `centers`, (J,) for `cross_entropy`."""
    if isinstance(batch, PhotoBatch):
        return batch.present.sum()
    if recipe.target.loss == "coordinates":
        return training_weight(_cascade(network), batch, moment.stage).sum()
    sigma_hm, side = recipe.target.sigma_hm, batch.image.shape[-1] // _CHAINED_STRIDE
    cells = input_to_heatmap(batch.keypoints, _CHAINED_STRIDE)
    mass = heatmap.encode(cells, side, side, sigma_hm).sum((2, 3))
    return torch.where(mass > LEAST_SHARE * 2 * math.pi * sigma_hm**2, batch.weight, 0.0).sum(0)


def _rescaled(loss: Tensor, own: Tensor, fair: Tensor | None) -> Tensor:
    """A mean over `own` labels as one over `fair` of them."""
    return loss if fair is None else torch.where(fair > 0, loss * own / fair, 0.0)


def loss_terms(
    fabric: Fabric,
    network: nn.Module,
    batch: AnyBatch,
    recipe: Recipe,
    moment: Moment,
    fair: Tensor | None = None,
) -> Tensor:
    """Terms (S,) float32 to be summed, one for each supervised stage.

    Their mean over all parts of a batch is that of the whole batch; for losses that average over labels
    `fair`, from `label_totals`, makes it so.
    """
    memory = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
    image = batch.image.contiguous(memory_format=memory)
    if isinstance(batch, PhotoBatch):
        stages = network(image)
        stride = image.shape[-1] / stages[-1].shape[-1]
        terms = center_loss(stages, batch.people, batch.present, batch.background, stride)
        return _rescaled(terms, batch.present.sum().clamp_min(1), fair)
    if recipe.target.loss == "coordinates":
        return _cascade_terms(network, batch, image, recipe, moment, fair)
    if recipe.network.build == "chained":
        return _chained_terms(network, batch, image, recipe, moment, fair)
    target = recipe.target
    stages = network(image)
    stride = image.shape[-1] / stages[-1].shape[-1]
    truth = (stages, batch.keypoints, batch.weight, stride, target_widths(target, moment), target.peak_weight)
    if target.adaptive == "none" and target.occluded == "visible":
        return heatmap_loss(*truth, cells=target.cells)
    sign = None
    if target.occluded == "negative" and batch.occluded is not None:
        sign = 1 - 2 * batch.occluded.float()
    losses = joint_losses(*truth, sign=sign, cells=target.cells)
    if target.adaptive == "none":
        return losses.mean(1)
    # Weights must be those of the whole batch, whichever ranks hold it.
    labelled = fabric.all_reduce(batch.weight.sum(0), reduce_op="sum")
    everyone = fabric.all_reduce(losses.detach().clone(), reduce_op="mean")
    assert isinstance(labelled, Tensor)
    assert isinstance(everyone, Tensor)
    examples = batch.weight.shape[0] * fabric.world_size
    weights = adaptive_weights(everyone * examples / labelled.clamp_min(1), labelled > 0, target.adaptive)
    return (losses * weights).sum(1)


def target_widths(target: TargetRecipe, moment: Moment) -> float | tuple[float, ...]:
    """Standard deviation of the targets at this moment of a run, in cells: one, or one for each stage."""
    factor = 1.0
    if target.sigma_start:
        along = min(1.0, moment.step / (target.sigma_share * moment.total))
        factor = (1 - along) * target.sigma_start / target.sigma_hm + along
    return tuple(factor * s for s in target.sigmas) if target.sigmas else factor * target.sigma_hm


def _chained_terms(
    network: nn.Module, batch: Batch, image: Tensor, recipe: Recipe, moment: Moment, fair: Tensor | None
) -> Tensor:
    target, stride = recipe.target, _CHAINED_STRIDE
    people, joints = batch.weight.shape
    cells = input_to_heatmap(batch.keypoints, stride)
    side = image.shape[-1] // stride
    truth = use_truth = None
    if target.truth_share:
        truth = heatmap.encode(cells, side, side, target.sigma_hm)
        use_truth = scheduled_truth(
            moment.step,
            moment.total,
            people * moment.parts,
            joints,
            recipe.train.seed,
            target.truth_share,
        )
        use_truth = use_truth[moment.part :: moment.parts].to(image.device) & (batch.weight > 0)
    stages = network(image, truth, use_truth)
    if recipe.network.feedback == "softmax":
        each = cross_entropy(stages[-1], cells, target.sigma_hm, batch.weight)
        own = each if fair is None else _labels(network, batch, recipe, moment)
        return _rescaled(each, own, fair).mean().reshape(1)
    widths = target_widths(target, moment)
    return heatmap_loss(
        stages, batch.keypoints, batch.weight, stride, widths, target.peak_weight, target.cells
    )


def _cascade(network: nn.Module) -> DeepPose:
    cascade = getattr(network, "module", network)  # what a process group wraps
    assert isinstance(cascade, DeepPose)
    return cascade


def _cascade_terms(
    network: nn.Module, batch: Batch, image: Tensor, recipe: Recipe, moment: Moment, fair: Tensor | None
) -> Tensor:
    key = recipe.train.seed * 1_000_003 + moment.step * 1_009
    generator = torch.Generator().manual_seed(key)
    # Dropout draws from the global generator, which no checkpoint holds.
    torch.manual_seed(key + moment.part)
    around, truth, weight = training_inputs(
        _cascade(network), batch, moment.stage, generator, moment.part, moment.parts
    )
    own = weight.sum().clamp_min(1)
    if recipe.target.distance == "rle":
        (each,) = network(image, around, truth)
        loss = (each * weight).sum() / own
    else:
        predicted = network(image) if around is None else network(image, around)
        loss = coordinate_loss(predicted[-1], truth, weight, recipe.target.distance)
    return _rescaled(loss, own, fair).reshape(1)
