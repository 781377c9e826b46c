"""Before the first step: processes, durations in steps, and whether a folder's run may go on."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from hourglass.checkpoint import WeightsError
from hourglass.recipe import Duration, Recipe, RecipeError, recipe_to_yaml
from hourglass.training.memory import keep_freed_memory

# A run may go on with these changed: they move the work, not its result.
_FREE_ON_RESUME = ("data.root", "data.workers", "data.cache_gb", "train.log_every")


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


def launch(recipe: Recipe, accelerator: str, devices: str) -> Fabric:
    """Start the run's processes, or join those that torchrun started, with one seed.

    Raises RecipeError when the batch can't be shared evenly or the devices are not there.
    """
    precision = "bf16-mixed" if recipe.train.precision == "bf16" else "32-true"
    local = os.environ.get("LOCAL_WORLD_SIZE")
    count: int | str = int(local) if local else (int(devices) if devices.isdigit() else devices)
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // int(local) if local else 1
    if count == "auto" and accelerator in ("auto", "cpu") and not torch.cuda.is_available():
        count = 1
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # A cascade trains one stage at a time: the other stages' parameters see no gradient.
    partly = recipe.network.build == "deeppose" and count != 1
    strategy = "ddp_find_unused_parameters_true" if partly else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=count,
            num_nodes=nodes,
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"--accelerator {accelerator} --devices {devices} can't be used here: {reason}"
        ) from error
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    fabric.seed_everything(recipe.train.seed, verbose=False)
    if recipe.train.batch_size % fabric.world_size:
        raise RecipeError(
            f"train.batch_size: {recipe.train.batch_size} can't be shared by {fabric.world_size} processes"
        )
    return fabric


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
