"""One optimiser step, and what is read of it when a row of the log is due."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hourglass.training.setup import TrainingError, lr_factor, set_lr, total_norm
from hourglass.training.state import Trainer
from hourglass.training.terms import AnyBatch, Moment, label_totals, loss_terms


def train_step(trainer: Trainer, batches: Sequence[AnyBatch]) -> tuple[Tensor, Tensor]:
    """One optimiser step on this process's micro-batches, already on the device.

    Returns the loss terms (S,) of this process and the gradient norm, still on the device: nothing is read
    here. Gradients are averaged over processes after the last micro-batch only.
    """
    recipe, plan, fabric = trainer.recipe, trainer.plan, trainer.fabric
    stage, first, length = trainer.stage
    step = trainer.step - first
    factor = lr_factor(step, length, recipe.schedule, plan.per_epoch, recipe.train.batch_size)
    set_lr(trainer.optimiser, recipe.optimiser.lr * factor)
    if recipe.train.cuda_graphs:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    ranks, count = fabric.world_size, len(batches)
    moments = [
        Moment(trainer.step, plan.steps, stage, m * ranks + fabric.global_rank, ranks * count)
        for m in range(count)
    ]
    fair = label_totals(fabric, trainer.network, batches, recipe, moments[0])
    parts = []
    for batch, moment in zip(batches, moments, strict=True):
        with fabric.no_backward_sync(trainer.network, enabled=moment is not moments[-1]):  # type: ignore[arg-type]
            terms = loss_terms(fabric, trainer.network, batch, recipe, moment, fair)
            fabric.backward(terms.sum() / count)
        parts.append(terms.detach())
    norm = total_norm([p.grad for p in trainer.network.parameters() if p.grad is not None])
    if recipe.optimiser.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(
            trainer.network.parameters(), recipe.optimiser.clip_norm, norm, foreach=True
        )
    trainer.optimiser.step()
    trainer.optimiser.zero_grad(set_to_none=True)
    return torch.stack(parts).mean(0), norm


class Meter:
    """Sums loss terms on the device and reads them only when a row is asked for."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count steps and seconds from here on."""
        self.steps, self.since = 0, time.perf_counter()
        self.terms: Tensor | None = None
        self.norm: Tensor | None = None

    def add(self, terms: Tensor, norm: Tensor) -> None:
        """Take in what `train_step` returned."""
        self.terms = terms if self.terms is None else self.terms + terms
        self.norm = norm
        self.steps += 1

    def row(self) -> dict[str, Any]:
        """Means since the last row, over all processes; every process must ask.

        Raises TrainingError naming the first non-finite quantity, on every process.
        """
        trainer = self.trainer
        assert self.terms is not None
        assert self.norm is not None
        everyone = trainer.fabric.all_reduce(self.terms / self.steps, reduce_op="mean")
        assert isinstance(everyone, Tensor)
        terms = everyone.tolist()
        for quantity, value in (
            *((f"the loss of stage {i + 1}", term) for i, term in enumerate(terms)),
            ("the gradient norm", self.norm.item()),
            ("the norm of the weights", total_norm(list(trainer.network.parameters())).item()),
        ):
            if not math.isfinite(value):
                raise TrainingError(
                    f"{quantity} became {value} by step {trainer.step}; the last checkpoint is untouched: "
                    "lower optimiser.lr, set optimiser.clip_norm or use train.precision=fp32"
                )
        seconds = time.perf_counter() - self.since
        rate = self.steps * trainer.recipe.train.batch_size / seconds
        left = trainer.plan.steps - trainer.step
        row = {
            "kind": "train",
            "step": trainer.step,
            "epoch": trainer.step / trainer.plan.per_epoch,
            "loss": sum(terms),
            **{f"stage_{i + 1}": term for i, term in enumerate(terms)},
            "gradient_norm": self.norm.item(),
            "lr": trainer.optimiser.param_groups[0]["lr"],
            "images_per_s": rate,
            "eta_s": left * seconds / self.steps,
        }
        self.restart_clock()
        return row
