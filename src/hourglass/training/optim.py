"""Optimisers, learning-rate schedules as functions of the step, and the weights' moving average."""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hourglass.recipe.recipe import OptimiserRecipe, ScheduleRecipe

_WARMUP_START = 0.1


def make_optimiser(network: nn.Module, recipe: OptimiserRecipe) -> Optimizer:
    """The recipe's optimiser. Batch-norm parameters and biases are never decayed."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    if recipe.name == "rmsprop":
        return torch.optim.RMSprop(
            [*matrices, *vectors], lr=recipe.lr, alpha=recipe.alpha, eps=1e-8, foreach=True
        )
    if recipe.name == "adagrad":
        return torch.optim.Adagrad([*matrices, *vectors], lr=recipe.lr, eps=1e-10, foreach=True)
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # Gradients of a mean over all cells are small: the usual 1e-8 would already damp the steps.
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, recipe.alpha), eps=1e-10, fused=True)


def lr_factor(step: int, total: int, recipe: ScheduleRecipe, steps_per_epoch: int, batch_size: int) -> float:
    """Share of the peak learning rate at a step of 0..total-1; depends on nothing else."""
    warmup = recipe.warmup.in_steps(steps_per_epoch, batch_size)
    if step < warmup:
        return _WARMUP_START + (1 - _WARMUP_START) * step / warmup
    if recipe.name == "step":
        passed = sum(step >= d.in_steps(steps_per_epoch, batch_size) for d in recipe.drops)
        return float(recipe.factor**passed)
    if recipe.name == "cosine":
        along = (step - warmup) / max(1, total - 1 - warmup)
        return recipe.factor + (1 - recipe.factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
    return 1.0


def set_lr(optimiser: Optimizer, lr: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr


class Ema:
    """Moving average of a network's floating tensors, batch-norm statistics included.

    The decay grows with the steps taken, up to `decay`, so that random initial weights are soon
    forgotten. With `decay` 0 the average is the network itself.
    """

    def __init__(self, network: nn.Module, averaged: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = averaged
        averaged.load_state_dict(network.state_dict())
        source, target = network.state_dict(), averaged.state_dict()
        floating = [name for name, tensor in source.items() if tensor.is_floating_point()]
        self._source = [source[name] for name in floating]
        self._target = [target[name] for name in floating]
        counted = [name for name in source if name not in set(floating)]
        self._counted = [source[name] for name in counted], [target[name] for name in counted]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's tensors after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        torch._foreach_lerp_(self._target, self._source, 1 - decay)
        source, target = self._counted
        if source:
            torch._foreach_copy_(target, source)


def total_norm(tensors: list[Tensor]) -> Tensor:
    """Euclidean norm over all of them, without leaving the device."""
    return torch.nn.utils.get_total_norm(tensors, foreach=True)
