"""One run's moving parts: made, kept in a checkpoint and found again; activation checkpointing."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from hourglass.core.skeleton import Skeleton
from hourglass.models.build import build_network, channels_last
from hourglass.models.deeppose import DeepPose
from hourglass.models.layers import ResNetEncoder
from hourglass.recipe.recipe import LOADER_ONLY, Recipe, recipe_to_yaml
from hourglass.training.cascade import begin_stage, stage_of
from hourglass.training.compiling import try_compile
from hourglass.training.ranks import on_every_rank, synchronise_batch_norm, true_on_every_rank
from hourglass.training.setup import Ema, RunPlan, check_same_recipe, make_optimiser, precision_of
from hourglass.weights.checkpoint import load_checkpoint, save_checkpoint
from hourglass.weights.convert.torchvision_resnet import encoder_state
from hourglass.weights.facts import WeightFacts, WeightsError
from hourglass.weights.load import facts_of, load_network
from hourglass.weights.widen import widen


def hourglasses_of(network: nn.Module) -> list[nn.Module]:
    """The hourglasses of a network, in order; empty where it has none."""
    several = getattr(network, "hourglasses", None)
    if isinstance(several, nn.ModuleList):
        return list(several)
    one = getattr(network, "hourglass", None)
    return [one] if isinstance(one, nn.Module) else []


def checkpoint_hourglasses(network: nn.Module) -> None:
    """Let every hourglass keep only its input in training, and compute the rest again when gradients need it.

    Losses, gradients, batch-norm statistics and the names of the weights stay what they are. In evaluation
    nothing changes. Raises ValueError for a network without hourglasses.
    """
    found = hourglasses_of(network)
    if not found:
        raise ValueError(f"{type(network).__name__} has no hourglasses to compute twice")
    for hourglass in found:
        # On the instance, so that no module is added and no weight gets another name.
        hourglass.forward = _twice(hourglass, hourglass.forward)


def _twice(hourglass: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    norms = [m for m in hourglass.modules() if isinstance(m, _BatchNorm)]

    @contextmanager
    def frozen_statistics() -> Iterator[None]:
        # The first pass has counted this batch already. With a momentum of 0 and a counter that nobody reads
        # the second one computes the very same and leaves no trace.
        before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm, _, counter in before:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if counter is None else counter.clone()
        try:
            yield
        finally:
            for norm, momentum, counter in before:
                norm.momentum, norm.num_batches_tracked = momentum, counter

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics()

    def run(*inputs: Any) -> Any:
        if not hourglass.training:
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)

    return run


log = logging.getLogger(__name__)

METRIC = "PCK@0.2"
FINDER_METRIC = "recall"
"""Of a people finder: of people larger than 96 x 96 px (of all where nobody is), in percent, with 0.25 false
boxes a photo at most.
"""
CHECKPOINT, BEST, LAST = "last.ckpt", "best.safetensors", "last.safetensors"


@dataclass(eq=False)
class Trainer:
    """One run's moving parts. `step` counts optimiser steps taken."""

    fabric: Fabric
    recipe: Recipe
    plan: RunPlan
    facts: WeightFacts
    out: Path
    network: nn.Module
    optimiser: torch.optim.Optimizer
    ema: Ema
    step: int = 0
    best: float = -math.inf

    @property
    def metric(self) -> str:
        """By which the best weights are chosen."""
        return FINDER_METRIC if self.recipe.target.loss == "centers" else METRIC

    @property
    def stage(self) -> tuple[int, int, int]:
        """Stage of a cascade in training, its first step, and its steps; other networks are one stage."""
        cascade = self.recipe.target.loss == "coordinates"
        return stage_of(self.step, self.plan.steps, self.recipe.network.stacks if cascade else 1)

    @property
    def precision(self) -> torch.dtype:
        """What the network computes in here: float32 or bfloat16."""
        return precision_of(self.recipe, self.fabric.device)

    @property
    def augments_on_device(self) -> bool:
        """Whether crops are made in batch on the device, and not in the loader's threads."""
        wish = self.recipe.train.augment_on
        if any(getattr(self.recipe.augment, name) for name in LOADER_ONLY):
            return False
        return wish == "device" or (wish == "auto" and self.fabric.device.type == "cuda")

    def state(self) -> dict[str, Any]:
        return {
            "recipe": recipe_to_yaml(self.recipe),
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
        }

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint; raises WeightsError naming the file or the recipe key that differs."""
        state = load_checkpoint(path)
        try:
            check_same_recipe(self.recipe, state["recipe"], path)
            self.network.load_state_dict(state["network"])
            self.ema.network.load_state_dict(state["ema"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.best = int(state["step"]), float(state["best"])
            if isinstance(self.network.module, DeepPose):
                begin_stage(self.network.module, self.stage[0])
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(f"{path} does not hold a run of this recipe") from error

    def save(self) -> None:
        if self.fabric.is_global_zero:
            save_checkpoint(self.out / CHECKPOINT, self.state())


def set_up(
    fabric: Fabric, recipe: Recipe, plan: RunPlan, skeleton: Skeleton, out: Path, name: str
) -> Trainer:
    """Network, average and optimiser of a run that begins.

    Raises WeightsError when `train.init` or `train.encoder` names weights that don't fit.
    """
    facts = facts_of(recipe, skeleton, name)
    network = on_every_rank(fabric, lambda: _first_network(recipe, skeleton))
    averaged = build_network(recipe.network, skeleton, recipe.data.mean, recipe.data.std)
    if recipe.train.channels_last:
        network, averaged = channels_last(network), channels_last(averaged)
    averaged.to(fabric.device).eval().requires_grad_(False)
    network = _compiled(fabric, recipe, network.to(fabric.device))
    optimiser = make_optimiser(network, recipe.optimiser)
    wrapped, optimiser = fabric.setup(network, optimiser)
    return Trainer(
        fabric, recipe, plan, facts, out, wrapped, optimiser, Ema(wrapped, averaged, recipe.train.ema)
    )


def _first_network(recipe: Recipe, skeleton: Skeleton) -> nn.Module:
    """The network with random weights, with those of `train.init`, or its encoders with `train.encoder`'s."""
    network = build_network(recipe.network, skeleton, recipe.data.mean, recipe.data.std)
    if recipe.train.init:
        start, start_facts = load_network(recipe.train.init)
        known: Mapping[str, Tensor] = start.state_dict()
        try:
            if recipe.network == replace(start_facts.network, features=recipe.network.features):
                wide = build_network(recipe.network, start_facts.skeleton)
                known = widen(known, wide.state_dict(), len(start_facts.skeleton))
            network.load_state_dict(
                {
                    name: _for_joints(known[name], tensor, start_facts.skeleton, skeleton)
                    for name, tensor in network.state_dict().items()
                }
            )
        except (RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(f"{recipe.train.init} is another network than the recipe's") from error
    if recipe.train.encoder:
        depth = int(recipe.network.backbone.removeprefix("resnet"))
        state = encoder_state(Path(recipe.train.encoder), depth, recipe.network.width)
        for module in network.modules():  # a cascade has one in each stage
            if isinstance(module, ResNetEncoder):
                module.load_state_dict(state)
    return network


def _for_joints(old: Tensor, new: Tensor, have: Skeleton, skeleton: Skeleton) -> Tensor:
    """A tensor of other weights for these joints: what is there once for each joint is matched by name.

    A joint that is new keeps its random numbers.

    Only names and their order matter. Raises RuntimeError where the shapes differ in anything but the joints.
    """
    if have.joints == skeleton.joints or (old.shape == new.shape and len(have) not in old.shape[:2]):
        return old
    axes = [
        axis for axis in range(old.ndim) if old.shape[axis] == len(have) and new.shape[axis] == len(skeleton)
    ]
    others = [axis for axis in range(old.ndim) if old.shape[axis] != new.shape[axis] and axis not in axes]
    if old.ndim != new.ndim or others:
        raise RuntimeError(f"{tuple(old.shape)} is not {tuple(new.shape)}")
    if not axes:
        return old
    made = new.clone()
    both = [joint for joint in skeleton.joints if joint in have.joints]
    rows = torch.tensor([skeleton.index(joint) for joint in both])
    from_rows = torch.tensor([have.index(joint) for joint in both])
    if both:
        made.index_copy_(axes[0], rows, old.index_select(axes[0], from_rows))
    return made


def _compiled(fabric: Fabric, recipe: Recipe, network: nn.Module) -> nn.Module:
    """The network with what the recipe wants done inside it; its weights keep their names."""
    train = recipe.train
    if train.sync_batch_norm:
        network = synchronise_batch_norm(network, fabric.device)
    if train.compile:
        crops = train.batch_size // fabric.world_size // train.accumulate
        shape = (crops, 3, recipe.data.input_px, recipe.data.input_px)
        image = torch.zeros(shape, dtype=torch.uint8, device=fabric.device)
        layout = torch.channels_last if train.channels_last else torch.contiguous_format
        try_compile(
            network,
            image.contiguous(memory_format=layout),
            precision_of(recipe, fabric.device),
            train.cuda_graphs,
            partial(true_on_every_rank, fabric),
            log.warning if fabric.is_global_zero else lambda _: None,
        )
    if train.checkpoint_hourglasses:
        checkpoint_hourglasses(network)
    return network
