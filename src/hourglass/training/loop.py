"""The training loop: set up, fit, validate, save; resumable to the bit on CPU."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hourglass.build import build_network, channels_last, facts_of, load_network, load_records
from hourglass.checkpoint import (
    WeightFacts,
    WeightsError,
    load_checkpoint,
    save_checkpoint,
    save_weights,
    write_atomically,
)
from hourglass.data.dataset import Image, TrainingCrops, decode_all
from hourglass.data.loader import training_batches
from hourglass.evaluate import predict_records, score
from hourglass.models.deeppose import DeepPose
from hourglass.recipe import Recipe, recipe_to_yaml
from hourglass.structs import PersonRecord
from hourglass.training.cascade import begin_stage, fit_displacements, set_displacements, stage_of
from hourglass.training.logs import Row, RunLog, read_rows
from hourglass.training.optim import Ema, lr_factor, make_optimiser, set_lr, total_norm
from hourglass.training.setup import RunPlan, check_folder, check_same_recipe, launch, plan_run
from hourglass.training.terms import Moment, loss_terms

METRIC = "PCK@0.2"
CHECKPOINT, BEST, LAST = "last.ckpt", "best.safetensors", "last.safetensors"


_DISPLACEMENT_PEOPLE = 2000
"""crops on which a cascade's earlier stages are measured before the next one is trained"""


class TrainingError(RuntimeError):
    """Training can't go on; the message says why and what to do."""


class Interrupted(Exception):
    """The user asked to stop; the checkpoint is written."""


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
    def stage(self) -> tuple[int, int, int]:
        """Stage of a cascade in training, its first step, and its steps; other networks are one stage."""
        cascade = self.recipe.target.loss == "coordinates"
        return stage_of(self.step, self.plan.steps, self.recipe.network.stacks if cascade else 1)

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


def train(
    recipe: Recipe,
    out: Path,
    name: str,
    resume: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
    stop_after: int | None = None,
    watch: Callable[[Row], None] | None = None,
) -> Path:
    """Run a recipe and return the best weights' file.

    Args:
        out: folder for the recipe, log, curve, checkpoint and weights.
        name: what to call the weights.
        resume: go on from `out`'s checkpoint, where there is one.
        accelerator, devices: Lightning Fabric's; under torchrun its processes are used.
        stop_after: take this many steps in all, then stop as Ctrl-C would (for tests and slices).
        watch: gets every row of the log, and nothing is shown.

    Raises Interrupted after Ctrl-C or `stop_after`, TrainingError on a non-finite value, and ValueError
    or OSError for a recipe, data or folder that can't be used.
    """
    check_folder(out, out / CHECKPOINT, resume)
    fabric = launch(recipe, accelerator, devices)
    records = load_records(recipe.data, recipe.data.train_split)
    records = records[: recipe.data.people or None]
    val_records = load_records(recipe.data, recipe.data.val_split)[: recipe.data.val_people or None]
    if val_records[0].skeleton != records[0].skeleton:
        raise ValueError("training and validation people have different skeletons")
    plan = plan_run(recipe, len(records))
    trainer = _set_up(fabric, recipe, plan, records, out, name)
    if resume and (out / CHECKPOINT).exists():
        trainer.restore(out / CHECKPOINT)
    if fabric.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
        text = recipe_to_yaml(recipe)
        write_atomically(out / "recipe.yaml", lambda part: part.write_text(text))
    with RunLog(out, plan.steps, trainer.step, quiet=not fabric.is_global_zero, watch=watch) as log:
        millions = sum(p.numel() for p in trainer.network.parameters()) / 1e6
        log.say(
            f"{name}: {len(records)} people to train on, {len(val_records)} to validate, {plan.steps} steps "
            f"of {recipe.train.batch_size}, {millions:.2f} M "
            f"parameters, {recipe.train.precision} on {fabric.device}, into {out}"
        )
        images = decode_all(records, recipe.data.cache_gb, recipe.data.workers)
        val_images = decode_all(val_records, recipe.data.cache_gb, recipe.data.workers)
        crops = TrainingCrops(records, recipe.data.input_px, recipe.augment, recipe.train.seed, images)
        _fit(trainer, crops, val_records, val_images, log, stop_after)
        if fabric.is_global_zero:
            save_weights(out / LAST, trainer.ema.network.state_dict(), trainer.facts)
            _draw_curve(out)
            log.say(
                f"best {METRIC} {trainer.best:.2f}; weights in {out / BEST}, curve in {out / 'curve.png'}"
            )
    return out / BEST


def _set_up(
    fabric: Fabric, recipe: Recipe, plan: RunPlan, records: Sequence[PersonRecord], out: Path, name: str
) -> Trainer:
    skeleton = records[0].skeleton
    facts = facts_of(recipe, skeleton, name)
    network = build_network(recipe.network, skeleton, recipe.data.mean, recipe.data.std)
    if recipe.train.init:
        start, start_facts = load_network(recipe.train.init)
        if start_facts.skeleton != skeleton:
            raise WeightsError(
                f"{recipe.train.init} has skeleton {start_facts.skeleton.name!r}, the data {skeleton.name!r}"
            )
        try:
            network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise WeightsError(f"{recipe.train.init} is another network than the recipe's") from error
    averaged = build_network(recipe.network, skeleton, recipe.data.mean, recipe.data.std)
    if recipe.train.channels_last:
        network, averaged = channels_last(network), channels_last(averaged)
    averaged.to(fabric.device).eval().requires_grad_(False)
    optimiser = make_optimiser(network, recipe.optimiser)
    wrapped, optimiser = fabric.setup(network, optimiser)
    return Trainer(
        fabric, recipe, plan, facts, out, wrapped, optimiser, Ema(wrapped, averaged, recipe.train.ema)
    )


def _fit(
    trainer: Trainer,
    crops: TrainingCrops,
    val_records: Sequence[PersonRecord],
    val_images: Sequence[Image] | None,
    log: RunLog,
    stop_after: int | None,
) -> None:
    fabric, recipe, plan = trainer.fabric, trainer.recipe, trainer.plan
    batches = training_batches(
        crops,
        recipe.train.batch_size,
        trainer.step,
        recipe.data.workers,
        fabric.global_rank,
        fabric.world_size,
        pin=fabric.device.type == "cuda",
    )
    meter = _Meter(trainer)
    with _stop_flag() as stopped:
        while trainer.step < plan.steps:
            _enter_stage(trainer, crops)
            meter.add(*_train_step(trainer, next(batches).to(fabric.device)))
            first = trainer.stage[1]
            trainer.step += 1
            trainer.ema.update(trainer.step - first)
            log.advance(trainer.step)
            last = trainer.step == plan.steps
            stopping = bool(stopped) or trainer.step == stop_after
            validating = trainer.step % plan.validate_every == 0 or last
            saving = trainer.step % plan.checkpoint_every == 0 or last or stopping
            if trainer.step % recipe.train.log_every == 0 or validating or saving:
                log.write(meter.row())
            if validating:
                _validate(trainer, val_records, val_images, log)
                meter.restart_clock()
            if saving:
                trainer.save()
            if stopping and not last:
                raise Interrupted(
                    f"stopped at step {trainer.step}; --resume goes on from {trainer.out / CHECKPOINT}"
                )


def _enter_stage(trainer: Trainer, crops: TrainingCrops) -> None:
    """Where a cascade's next stage begins: keep what was learnt, and measure where it still errs."""
    stage, first, _ = trainer.stage
    network, averaged = trainer.network.module, trainer.ema.network
    if not isinstance(network, DeepPose) or not isinstance(averaged, DeepPose) or trainer.step != first:
        return
    network.load_state_dict(averaged.state_dict())
    if stage > 1:
        batch_size = trainer.recipe.train.batch_size
        batches = training_batches(crops, batch_size, trainer.step, trainer.recipe.data.workers)
        count = min(trainer.plan.per_epoch, math.ceil(_DISPLACEMENT_PEOPLE / batch_size))
        device = trainer.fabric.device
        some = (next(batches).to(device) for _ in range(count))
        set_displacements(network, stage, *fit_displacements(network, some))
    begin_stage(network, stage)
    begin_stage(averaged, stage)


def _train_step(trainer: Trainer, batch: Any) -> tuple[Tensor, Tensor]:
    """One optimiser step; returns the loss terms (S,) and the gradient norm, still on the device."""
    recipe, plan = trainer.recipe, trainer.plan
    stage, first, length = trainer.stage
    step = trainer.step - first
    factor = lr_factor(step, length, recipe.schedule, plan.per_epoch, recipe.train.batch_size)
    set_lr(trainer.optimiser, recipe.optimiser.lr * factor)
    moment = Moment(trainer.step, plan.steps, stage, trainer.fabric.global_rank)
    terms = loss_terms(trainer.fabric, trainer.network, batch, recipe, moment)
    trainer.fabric.backward(terms.sum())
    gradients = [p.grad for p in trainer.network.parameters() if p.grad is not None]
    norm = total_norm(gradients)
    if recipe.optimiser.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(
            trainer.network.parameters(), recipe.optimiser.clip_norm, norm, foreach=True
        )
    trainer.optimiser.step()
    trainer.optimiser.zero_grad(set_to_none=True)
    return terms.detach(), norm


class _Meter:
    """Sums loss terms on the device and reads them only when a row is asked for."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.restart_clock()

    def restart_clock(self) -> None:
        self.steps, self.since = 0, time.perf_counter()
        self.terms: Tensor | None = None
        self.norm: Tensor | None = None

    def add(self, terms: Tensor, norm: Tensor) -> None:
        self.terms = terms if self.terms is None else self.terms + terms
        self.norm = norm
        self.steps += 1

    def row(self) -> dict[str, Any]:
        """Means since the last row; raises TrainingError naming the first non-finite quantity."""
        trainer = self.trainer
        assert self.terms is not None
        assert self.norm is not None
        terms = (self.terms / self.steps).tolist()
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


def _validate(
    trainer: Trainer, records: Sequence[PersonRecord], images: Sequence[Image] | None, log: RunLog
) -> None:
    """Score the averaged weights on the validation people and keep them when they are the best."""
    if trainer.fabric.is_global_zero:
        began = time.perf_counter()
        precision = torch.bfloat16 if trainer.recipe.train.precision == "bf16" else torch.float32
        predictions = predict_records(
            trainer.ema.network,
            trainer.facts,
            records,
            device=trainer.fabric.device,
            flip_test=True,
            precision=precision,
            workers=trainer.recipe.data.workers,
            images=images,
        )
        metrics = score(predictions, records)["metrics"][METRIC]
        value = metrics["mean"]
        log.write(
            {
                "kind": "val",
                "step": trainer.step,
                "epoch": trainer.step / trainer.plan.per_epoch,
                METRIC: value,
                "joints": {joint: metrics[joint] for joint in trainer.facts.skeleton.joints},
                "seconds": time.perf_counter() - began,
            }
        )
        # Where nobody could be scored the latest weights are the best that are known.
        if value is None or value > trainer.best:
            trainer.best = trainer.best if value is None else value
            measured = {METRIC: value, "on": f"{trainer.recipe.data.name} {trainer.recipe.data.val_split}"}
            save_weights(
                trainer.out / BEST, trainer.ema.network.state_dict(), replace(trainer.facts, metrics=measured)
            )
    trainer.fabric.barrier()


@contextmanager
def _stop_flag() -> Iterator[list[int]]:
    """A list that Ctrl-C or SIGTERM fills, so that the step in hand is finished; a second one kills."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals go elsewhere
        before = {}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _draw_curve(out: Path) -> None:
    from hourglass.plots import training_curve

    training_curve(read_rows(out / "log.jsonl"), out / "curve.png")
