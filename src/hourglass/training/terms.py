"""One batch to loss terms: the only place that knows which loss belongs to which network."""

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hourglass import heatmap
from hourglass.adaptive import adaptive_weights
from hourglass.geometry import input_to_heatmap
from hourglass.losses import coordinate_loss, heatmap_loss, joint_losses
from hourglass.models.deeppose import DeepPose
from hourglass.recipe import Recipe
from hourglass.spatial_softmax import cross_entropy, scheduled_truth
from hourglass.structs import Batch
from hourglass.training.cascade import training_inputs


@dataclass(frozen=True)
class Moment:
    """Where in a run a batch is met; everything drawn at random depends on nothing else.

    Args:
        step: optimiser steps taken before.
        total: steps of the whole run.
        stage: of a cascade trained stage by stage, from 1; 1 for every other network.
        rank: of this process.
    """

    step: int
    total: int
    stage: int = 1
    rank: int = 0


def loss_terms(fabric: Fabric, network: nn.Module, batch: Batch, recipe: Recipe, moment: Moment) -> Tensor:
    """Terms (S,) float32 to be summed, one for each supervised stage."""
    memory = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
    image = batch.image.contiguous(memory_format=memory)
    if recipe.target.loss == "coordinates":
        return _cascade_terms(network, batch, image, recipe, moment)
    if recipe.network.build == "chained":
        return _chained_terms(network, batch, image, recipe, moment)
    target = recipe.target
    stages = network(image)
    stride = image.shape[-1] / stages[-1].shape[-1]
    truth = (stages, batch.keypoints, batch.weight, stride, target.sigma_hm, target.peak_weight)
    if target.adaptive == "none" and target.occluded == "visible":
        return heatmap_loss(*truth)
    sign = None
    if target.occluded == "negative" and batch.occluded is not None:
        sign = 1 - 2 * batch.occluded.float()
    losses = joint_losses(*truth, sign=sign)
    if target.adaptive == "none":
        return losses.mean(1)
    # Weights must be those of the whole batch, whichever ranks hold it.
    labelled = fabric.all_reduce(batch.weight.sum(0), reduce_op="sum")
    everyone = fabric.all_reduce(losses.detach(), reduce_op="mean")
    assert isinstance(labelled, Tensor)
    assert isinstance(everyone, Tensor)
    examples = batch.weight.shape[0] * fabric.world_size
    weights = adaptive_weights(everyone * examples / labelled.clamp_min(1), labelled > 0, target.adaptive)
    return (losses * weights).sum(1)


def _chained_terms(network: nn.Module, batch: Batch, image: Tensor, recipe: Recipe, moment: Moment) -> Tensor:
    target = recipe.target
    joints, stride = batch.weight.shape[1], 8
    cells = input_to_heatmap(batch.keypoints, stride)
    side = image.shape[-1] // stride
    truth = use_truth = None
    if target.truth_share:
        truth = heatmap.encode(cells, side, side, target.sigma_hm)
        use_truth = scheduled_truth(
            moment.step, moment.total, len(image), joints, recipe.train.seed + moment.rank, target.truth_share
        )
        use_truth = use_truth.to(image.device) & (batch.weight > 0)
    stages = network(image, truth, use_truth)
    if recipe.network.feedback == "softmax":
        return cross_entropy(stages[-1], cells, target.sigma_hm, batch.weight).mean().reshape(1)
    return heatmap_loss(stages, batch.keypoints, batch.weight, stride, target.sigma_hm, target.peak_weight)


def _cascade_terms(network: nn.Module, batch: Batch, image: Tensor, recipe: Recipe, moment: Moment) -> Tensor:
    key = recipe.train.seed * 1_000_003 + moment.step * 1_009 + moment.rank
    generator = torch.Generator().manual_seed(key)
    torch.manual_seed(key)  # dropout draws from the global generator, which no checkpoint holds
    cascade = getattr(network, "module", network)  # what a process group wraps
    assert isinstance(cascade, DeepPose)
    around, truth, weight = training_inputs(cascade, batch, moment.stage, generator)
    predicted = network(image) if around is None else network(image, around)
    return coordinate_loss(predicted[-1], truth, weight).reshape(1)
