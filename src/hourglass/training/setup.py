"""Before the first step: processes and memory, durations in steps, whether a folder's run may go on."""

import ctypes
import inspect
import logging
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from hourglass.core.files import reason
from hourglass.inference.device import computes_bf16
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Duration, OptimiserRecipe, Recipe, ScheduleRecipe, recipe_to_yaml
from hourglass.weights.facts import WeightsError

# glibc's names for mallopt's options, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_DEFAULT_MMAP_MAX = 65536
_DEFAULT_THRESHOLD = 32 << 20  # where glibc's own adaptation ends on 64 bits


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep freed memory instead of handing it back, and say whether it could be told.

    By default glibc maps every tensor over 32 MB afresh and unmaps it when it is freed, so that each
    step touches new pages, which the system must find and clear. Only glibc (most Linux systems) knows
    these options; elsewhere nothing happens. `keep=False` restores glibc's own limits.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    told = mallopt(_M_MMAP_THRESHOLD, _DEFAULT_THRESHOLD)
    told &= mallopt(_M_MMAP_MAX, 0 if keep else _DEFAULT_MMAP_MAX)
    # An int of -1 is read as the largest size there is: never trim.
    told &= mallopt(_M_TRIM_THRESHOLD, -1 if keep else 2 * _DEFAULT_THRESHOLD)
    return bool(told)


log = logging.getLogger(__name__)

# A run may go on with these changed: they move the work, not its result (but for rounding, and for
# `accumulate` on other numbers of processes, which is free so that a batch can be shared as it was).
_FREE_ON_RESUME = (
    "data.root",
    "data.workers",
    "data.cache_gb",
    "train.log_every",
    "train.accumulate",
    "train.checkpoint_hourglasses",
    "train.compile",
    "train.cuda_graphs",
    "train.augment_on",
)


class TrainingError(RuntimeError):
    """Training can't go on; the message says why and what to do."""


class Interrupted(Exception):
    """The user asked to stop; the checkpoint is written."""


@dataclass(frozen=True)
class RunPlan:
    """The recipe's durations in steps."""

    steps: int
    per_epoch: int
    validate_every: int
    checkpoint_every: int


def plan_run(recipe: Recipe, people: int) -> RunPlan:
    """Turn durations into steps; raises RecipeError when one step needs more people than there are."""
    batch = recipe.train.batch_size
    per_epoch = people // batch
    if not per_epoch:
        raise RecipeError(f"train.batch_size: {batch} is more than the {people} people to train on")

    def steps(duration: Duration) -> int:
        return max(1, duration.in_steps(per_epoch, batch))

    train = recipe.train
    return RunPlan(steps(train.length), per_epoch, steps(train.validate_every), steps(train.checkpoint_every))


def check_folder(out: Path, checkpoint: Path, resume: bool) -> None:
    """Raise FileExistsError when a run can't be written to `out` without losing something."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; name a folder for the run")
    if not resume and checkpoint.exists():
        raise FileExistsError(f"{out} already holds a run: pass --resume to go on with it, or another --out")


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    """What the network computes in: the recipe's precision, or float32 where the device has no bf16."""
    bf16 = recipe.train.precision == "bf16" and computes_bf16(device)
    return torch.bfloat16 if bf16 else torch.float32


def launch(recipe: Recipe, accelerator: str, devices: str) -> Fabric:
    """Start the run's processes, or join those that torchrun started, with one seed.

    torchrun says in the environment who is who: RANK of WORLD_SIZE processes in all, LOCAL_RANK of
    LOCAL_WORLD_SIZE on this machine. Says so where bf16 is asked for and not to be had.

    Raises RecipeError when the batch can't be shared evenly or the devices are not there.
    """
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    precision = precision_of(recipe, torch.device("cpu" if on_cpu else "cuda"))
    local = os.environ.get("LOCAL_WORLD_SIZE")
    count: int | str = int(local) if local else (int(devices) if devices.isdigit() else devices)
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // int(local) if local else 1
    if count == "auto" and accelerator in ("auto", "cpu") and on_cpu:
        count = 1
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy=_strategy(recipe, count, nodes),
            devices=count,
            num_nodes=nodes,
            precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
        )
    except (ValueError, RuntimeError, TypeError) as error:
        why = reason(error)
        raise RecipeError(
            f"--accelerator {accelerator} --devices {devices} can't be used here: {why}"
        ) from error
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    fabric.seed_everything(recipe.train.seed, verbose=False)
    batch, accumulate, ranks = recipe.train.batch_size, recipe.train.accumulate, fabric.world_size
    if batch % (ranks * accumulate):
        times = f" times {accumulate} micro-batches (train.accumulate)" if accumulate > 1 else ""
        raise RecipeError(f"train.batch_size: {batch} can't be shared by {ranks} processes{times}")
    if precision != torch.bfloat16 and recipe.train.precision == "bf16" and fabric.is_global_zero:
        log.warning("train.precision: %s does not compute in bf16, so this run is fp32", fabric.device.type)
    return fabric


def _strategy(recipe: Recipe, count: int | str, nodes: int) -> "DDPStrategy | str":
    """One process by itself, or gradients averaged over several, in buckets, as the backward pass goes."""
    if count in (1, "1") and nodes == 1:
        return "auto"
    if count in ("auto", -1, "-1") and torch.cuda.device_count() < 2 and nodes == 1:
        return "auto"
    return DDPStrategy(
        # A cascade trains one stage at a time: the other stages' parameters see no gradient.
        find_unused_parameters=recipe.network.build == "deeppose",
        gradient_as_bucket_view=True,
        **_buffers(recipe),  # type: ignore[arg-type]
    )


def _buffers(recipe: Recipe) -> dict[str, bool]:
    """DDP's option for buffers: statistics are the first process's, or the same everywhere already."""
    if not recipe.train.sync_batch_norm:
        return {}
    known = inspect.signature(DistributedDataParallel).parameters
    # torch's new name for it since 2.13.
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def check_same_recipe(recipe: Recipe, saved_yaml: str, path: Path) -> None:
    """Raise WeightsError naming the first key that makes this another run than the saved one."""
    from omegaconf import OmegaConf

    now: Any = OmegaConf.create(recipe_to_yaml(recipe))
    # A key that the checkpoint's version did not know yet had what is now its default.
    then: Any = OmegaConf.merge(OmegaConf.create(recipe_to_yaml(Recipe())), OmegaConf.create(saved_yaml))
    for section in now:
        for key in now[section]:
            if f"{section}.{key}" not in _FREE_ON_RESUME and now[section][key] != then[section][key]:
                raise WeightsError(
                    f"{path} was written with {section}.{key}={then[section][key]}, "
                    f"the recipe now says {now[section][key]}: give the same, or start another run"
                )


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
