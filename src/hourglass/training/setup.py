"""Before the first step: processes and memory, durations in steps, whether a folder's run may go on."""

import ctypes
import inspect
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from hourglass.core.files import reason
from hourglass.inference.device import computes_bf16
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Duration, Recipe, recipe_to_yaml
from hourglass.weights.checkpoint import WeightsError

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
