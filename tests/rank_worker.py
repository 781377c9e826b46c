"""What each of several processes does in tests/training/test_ranks.py: `python rank_worker.py FOLDER`.

The same functions run in the test's own process, alone, for comparison.
"""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import GradBucket

from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.loading.records import load_records
from hourglass.models.build import build_network
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import loop, setup, state
from hourglass.training.cascade import begin_stage
from hourglass.training.ranks import RankBatchNorm2d, on_every_rank
from hourglass.training.setup import launch, plan_run
from hourglass.training.state import Trainer, set_up
from hourglass.training.step import train_step
from hourglass.training.validate import predict_shared

COMMON = [
    "network.stacks=2",
    "network.features=8",
    "network.depth=2",
    "data.people=36",
    "data.val_people=36",
    "data.input_px=32",
    "augment.shift=0.3",
    "optimiser.name=rmsprop",
    "optimiser.lr=1e-3",
    "optimiser.weight_decay=0",
    "optimiser.clip_norm=0",
    "schedule.warmup.steps=0",
    "train.length.steps=10",
    "train.batch_size=16",
    "train.precision=fp32",
]
SYNC = "train.sync_batch_norm=true"
OTHER = ["network.features=256", "network.depth=4", "target.peak_weight=0", "data.input_px=64"]
CHAINED = [*OTHER, "network.build=chained", "network.width=2", "network.hidden=4"]
DEEPPOSE = [*OTHER, "network.build=deeppose", "network.width=2", "network.view_px=32", "network.dropout=0"]

SYNCHRONISED = {
    "hourglasses": [SYNC],
    "hourglasses computed twice": [SYNC, "train.checkpoint_hourglasses=true"],
    "adaptive weights": [SYNC, "target.adaptive=half_linear", "target.peak_weight=0"],
    "a chain": [SYNC, *CHAINED, "target.loss=cross_entropy", "target.truth_share=0.9"],
    "a cascade": [SYNC, *DEEPPOSE, "target.loss=coordinates"],
}
"""Steps that must be the same on any number of processes."""

SHARED_ALIKE = {
    "parts": ([], ["train.accumulate=2"]),
    "parts of parts": (["train.accumulate=2"], ["train.accumulate=4"]),
}
"""On two processes and on one: the same parts of the batch, in which batch-norm sees the same crops."""


def recipe(*more: str) -> Recipe:
    return load_recipe(bundled_recipes()["synthetic_tiny"], [*COMMON, *more])


@cache
def rendered(split: str) -> list[PersonRecord]:
    return load_records(recipe().data, split)


def begin(rule: Recipe, double: bool = False) -> tuple[Trainer, TrainingCrops]:
    """A run before its first step; `double` computes in float64, where no ReLU turns on rounding."""
    fabric = launch(rule, "cpu", "1")
    records = rendered("train")
    plan = plan_run(rule, len(records))
    real = build_network
    if double:
        vars(state)["build_network"] = lambda *arguments: _doubled(real(*arguments))
    try:
        trainer = set_up(fabric, rule, plan, records[0].skeleton, Path("nowhere"), "test")
    finally:
        vars(state)["build_network"] = real
    return trainer, TrainingCrops(records, rule.data.input_px, rule.augment, rule.train.seed)


def _doubled(network: nn.Module) -> nn.Module:
    network.double()
    for name, buffer in network.named_buffers():
        if name.startswith("displacement"):  # meets the batch, not the network
            buffer.data = buffer.float()
    return network


def one_step(rule: Recipe) -> dict[str, Any]:
    """Gradients and state after one step, and how often gradients were averaged over processes."""
    trainer, crops = begin(rule, double=True)
    network: Any = trainer.network.module
    if rule.target.loss == "coordinates":  # the second stage also draws, and leaves some people out
        trainer.step = 6
        begin_stage(network, 2)
    gradients: dict[str, Tensor] = {}
    averaged = [0]
    step = trainer.optimiser.step

    def note(*args: Any, **kwargs: Any) -> Any:
        for name, p in network.named_parameters():
            if p.grad is not None:
                gradients[name] = p.grad.clone()
        return step(*args, **kwargs)

    trainer.optimiser.step = note  # type: ignore[method-assign]
    wrapped: Any = trainer.network._forward_module
    if trainer.fabric.world_size > 1:
        wrapped.register_comm_hook(averaged, _count_and_average)
    batches = loop._batches(trainer, crops)
    terms, norm = train_step(trainer, [next(batches) for _ in range(rule.train.accumulate)])
    everyone = trainer.fabric.all_reduce(terms, reduce_op="mean")
    return {
        "gradients": gradients,
        "state": {name: value.clone() for name, value in trainer.network.state_dict().items()},
        "terms": everyone,
        "norm": norm,
        "averaged": averaged[0],
    }


def _count_and_average(count: list[int], bucket: GradBucket) -> torch.futures.Future[Tensor]:
    count[0] += 1
    handle: Any = distributed.all_reduce(bucket.buffer() / distributed.get_world_size(), async_op=True)
    future: torch.futures.Future[Tensor] = handle.get_future().then(lambda done: done.value()[0])
    return future


def answers() -> dict[str, Any]:
    """What validation predicts, with statistics that differ from process to process before."""
    rule = recipe()
    trainer, _ = begin(rule)
    for buffer in trainer.ema.network.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1 * trainer.fabric.global_rank)
    records = rendered("val")
    found = predict_shared(trainer, records, None)
    return {"keypoints": torch.from_numpy(found.keypoints), "scores": torch.from_numpy(found.scores)}


def norm_batch() -> tuple[Tensor, Tensor]:
    """A batch (12, 5, 7, 3) with means far from 0, and what comes back for it."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(12, 5, 7, 3, generator=generator) * torch.arange(1, 6).view(1, -1, 1, 1) + 50
    return x, torch.randn(12, 5, 7, 3, generator=generator)


def through_norm(fabric: Fabric, rows: slice, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Two batches through one batch-norm over all processes; this one has some rows of each."""
    plain = nn.BatchNorm2d(5, momentum=0.3)
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 5))
        plain.bias.copy_(torch.linspace(-1, 1, 5))
    norm = RankBatchNorm2d.like(plain)
    x, upstream = norm_batch()
    own = x[rows].to(dtype).requires_grad_()
    norm(own.flip(2) * 0.5)
    y = norm(own)
    (y * upstream[rows]).sum().backward()
    gradients = torch.stack([p.grad for p in norm.parameters() if p.grad is not None])
    assert own.grad is not None
    return {
        "y": y.detach(),
        "x": own.grad,
        "parameters": fabric.all_reduce(gradients, reduce_op="sum"),
        **norm.state_dict(),
    }


def disagreements(folder: Path) -> dict[str, str]:
    """What this process is told when the second one was started otherwise, or can't read its data."""
    second = int(os.environ["RANK"]) == 1
    cases = {
        "another recipe": recipe("train.seed=1") if second else recipe(),
        "other people": recipe(),
        "an uneven batch": recipe("train.batch_size=15"),
        "uneven micro-batches": recipe("train.batch_size=15", "train.accumulate=3"),
        "no bf16": recipe("train.precision=bf16"),
    }
    told = {}
    for case, rule in cases.items():
        with pytest.MonkeyPatch.context() as patch:
            less = 1 if case == "other people" and second else 0
            patch.setattr(loop, "load_records", lambda _, split, less=less: rendered(split)[less:])
            patch.setattr(setup, "computes_bf16", lambda _, case=case: case != "no bf16" or not second)
            try:
                loop.train(rule, folder / "run", "test", accelerator="cpu")
            except ValueError as error:
                told[case] = str(error)
    return told | {"unreadable": _unreadable(second)}


def _unreadable(second: bool) -> str:
    def read() -> int:
        if second:
            raise ValueError("people.json is not a whole JSON file")
        return 1

    try:
        return str(on_every_rank(begin(recipe())[0].fabric, read))
    except ValueError as error:
        return str(error)


def main() -> None:
    """Everything, once; results into FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {name: one_step(recipe(*more)) for name, more in SYNCHRONISED.items()}
    found |= {name: one_step(recipe(*more)) for name, (more, _) in SHARED_ALIKE.items()}
    found["answers"] = answers()
    fabric = begin(recipe())[0].fabric
    rank = fabric.global_rank
    rows = slice(0, 5) if rank == 0 else slice(5, 12)
    found["norm"] = through_norm(fabric, rows)
    found["norm in bf16"] = through_norm(fabric, rows, torch.bfloat16)
    found["told"] = disagreements(Path(sys.argv[1]))
    found["ranks"] = (fabric.global_rank, fabric.local_rank, fabric.node_rank, fabric.world_size)
    torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")


if __name__ == "__main__":
    main()
