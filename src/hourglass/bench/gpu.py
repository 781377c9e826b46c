"""Measure training on a GPU: speed, memory, and how long the MPII recipes would take.

    python -m hourglass.bench.gpu [--toy] [--rounds N] [--json FILE]

The steps are the training loop's own (`training.step.train_step`), on random crops that lie on the device.
Beside each of them, in the same run and in pairs, goes the plain eager loop: fp32, NCHW, no compiling, the
loss read after every step. `--toy` runs everything at a size for a CPU, to show that it runs.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hourglass.bench.compare import Comparison, compare, machine, matmul_flops
from hourglass.core.geometry import input_to_heatmap
from hourglass.core.skeleton import MPII16
from hourglass.core.structs import Batch, PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.loading.loader import training_windows
from hourglass.models import heatmap
from hourglass.models.build import build_network
from hourglass.models.parts import forward_flops
from hourglass.recipe.recipe import Recipe, TrainRecipe, bundled_recipes, load_recipe
from hourglass.training.setup import launch, plan_run
from hourglass.training.state import Trainer, set_up
from hourglass.training.step import train_step

RECIPES = {"hg2": "mpii_hg2", "hg8": "mpii_hg8"}

MODES: dict[str, dict[str, bool]] = {
    "eager": {},
    "compiled": {"compile": True},
    "graphs": {"compile": True, "cuda_graphs": True},
}

PEAK_TFLOPS = {
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
}
"""Dense bf16 rates of the makers' data sheets, by a part of the device's name; the first that fits counts."""


@dataclass(frozen=True)
class Size:
    """What is measured: batches and crop of the table, batch of the memory rows, modes, and for how long."""

    batches: tuple[int, ...]
    memory_batch: int
    modes: tuple[str, ...]
    overrides: tuple[str, ...]
    seconds: float


FULL = Size((32, 64, 128, 256), 64, ("eager", "compiled", "graphs"), (), 2.0)
TOY = Size((2, 4), 2, ("eager",), ("network.features=8", "network.depth=2", "data.input_px=64"), 0.05)


def main() -> None:
    """Print the tables and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="small networks and batches, on any device")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of measurements")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows here")
    options = parser.parse_args()
    if not options.toy and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --toy shows on a CPU that everything runs")
    found = measure(TOY if options.toy else FULL, options.rounds)
    print(tables(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(size: Size, rounds: int) -> dict[str, Any]:
    """Everything, as plain numbers; a row that doesn't fit into the device's memory says so instead."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = matmul_flops(device, torch.bfloat16, 8192 if device.type == "cuda" else 256)
    found: dict[str, Any] = {
        "machine": machine(),
        "bf16_matmul_tflops": rate / 1e12,
        "peak_tflops": peak_tflops(),
    }
    speed = []
    for name in RECIPES:
        own = recipe_of(name, size).train.batch_size
        for batch in sorted({*size.batches, own}):
            for mode in size.modes:
                row = fitting(partial(speed_row, name, batch, mode, size, rounds, rate))
                speed.append({"network": name, "batch": batch, "mode": mode, **row})
    found["speed"] = speed
    found["memory"] = [
        {
            "network": "hg8",
            "batch": size.memory_batch,
            "checkpoint_hourglasses": twice,
            **fitting(partial(memory_row, "hg8", size, twice)),
        }
        for twice in (False, True)
    ]
    found["device_augmentation"] = augmentation_row(size)
    found["recipes"] = [recipe_row(name, size, speed) for name in RECIPES]
    return found


def peak_tflops() -> float | None:
    """The data sheet's rate of the device that is here, where it is known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((value for part, value in PEAK_TFLOPS.items() if part in name), None)


def fitting(row: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row, or that the device's memory is too small for it."""
    try:
        return row()
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def recipe_of(network: str, size: Size) -> Recipe:
    """The published recipe, at the size that is measured."""
    return load_recipe(bundled_recipes()[RECIPES[network]], size.overrides)


def begin(network: str, size: Size, batch: int, **train: bool) -> Trainer:
    """A run of the recipe in bf16 with this batch, before its first step."""
    rule = recipe_of(network, size)
    options = TrainRecipe(length=rule.train.length, batch_size=batch, precision="bf16", **train)  # type: ignore[arg-type]
    rule = replace(rule, train=options)
    fabric = launch(rule, "auto", "1")
    return set_up(fabric, rule, plan_run(rule, 1000 * batch), MPII16, Path(tempfile.gettempdir()), network)


def random_batch(people: int, input_px: int, device: torch.device) -> Batch:
    """Crops and joints of nobody."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (people, 3, input_px, input_px), generator=generator, dtype=torch.uint8)
    keypoints = input_px * torch.rand(people, len(MPII16), 2, generator=generator)
    return Batch(image, keypoints, torch.ones(people, len(MPII16))).to(device)


def plain_step(network: str, size: Size, batch: Batch) -> Callable[[], None]:
    """One step as it is written without further thought: fp32, NCHW, eager, the loss read every time."""
    rule = recipe_of(network, size)
    net = build_network(rule.network, MPII16).to(batch.image.device)
    optimiser = torch.optim.RMSprop(net.parameters(), lr=2.5e-4)

    def step() -> None:
        side = batch.image.shape[-1] // 4
        target = heatmap.encode(input_to_heatmap(batch.keypoints, 4), side, side, 1.0)
        stages: list[Tensor] = net(batch.image.float() / 255)
        loss = torch.stack([torch.nn.functional.mse_loss(stage, target) for stage in stages]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()

    return step


def speed_row(network: str, batch: int, mode: str, size: Size, rounds: int, rate: float) -> dict[str, Any]:
    """Images/s of both loops, their ratio, utilisation and peak memory of ours."""
    trainer = begin(network, size, batch, **MODES[mode])
    people = random_batch(batch, trainer.recipe.data.input_px, trainer.fabric.device)

    def ours() -> None:
        train_step(trainer, [people])

    on_cuda = people.image.is_cuda
    if on_cuda:
        ours()
        torch.cuda.reset_peak_memory_stats()
        ours()
    peak_gb = torch.cuda.max_memory_allocated() / 1e9 if on_cuda else None
    found: Comparison = compare(plain_step(network, size, people), ours, batch, rounds, size.seconds)
    summary = found.summary()
    flops = step_flops(network, size) * summary["images_per_s"]
    peak = peak_tflops()
    return {
        **summary,
        "tflops": flops / 1e12,
        "share_of_matmul": flops / rate,
        "model_flop_utilisation": None if peak is None else flops / 1e12 / peak,
        "peak_gb": peak_gb,
    }


def step_flops(network: str, size: Size) -> float:
    """FLOPs of one crop's step: three times the forward pass; a multiply-add counts as two."""
    rule = recipe_of(network, size)
    with torch.device("meta"):
        net = build_network(rule.network, MPII16)
    return 3.0 * forward_flops(net, rule.data.input_px)


def memory_row(network: str, size: Size, twice: bool) -> dict[str, Any]:
    """Peak memory of a step on CUDA, and everywhere what is kept for the backward pass, in GB."""
    trainer = begin(network, size, size.memory_batch, checkpoint_hourglasses=twice)
    people = random_batch(size.memory_batch, trainer.recipe.data.input_px, trainer.fabric.device)
    train_step(trainer, [people])
    peak_gb = None
    if people.image.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        train_step(trainer, [people])
        peak_gb = torch.cuda.max_memory_allocated() / 1e9
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        train_step(trainer, [people])
    return {"peak_gb": peak_gb, "kept_for_backward_gb": sum(kept.values()) / 1e9}


def augmentation_row(size: Size) -> dict[str, Any]:
    """Crops/s that threads cut and the device makes, from decoded pictures."""
    rule = recipe_of("hg8", size)
    batch, steps = max(size.batches), 4
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    points = rng.uniform(200, 600, (len(MPII16), 2)).astype(np.float32)
    seen = np.full(len(MPII16), 2, np.uint8)
    person = PersonRecord(b"", "noise", 0, MPII16, points, seen, points.mean(0), 400.0)
    crops = TrainingCrops([person] * batch, rule.data.input_px, rule.augment, 0, [picture] * batch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    share = (crops, batch, 0, rule.data.workers, 0, 1, device.type == "cuda")
    batches = training_windows(*share)
    windows = next(batches).to(device)

    def cut_and_make() -> None:
        for _ in range(steps):
            next(batches).to(device).crops()

    both = compare(lambda: windows.crops(), cut_and_make, batch, 1, size.seconds)
    batches.close()  # type: ignore[attr-defined]
    return {
        "batch": batch,
        "made_on_device_per_s": 1 / both.plain[0],
        "cut_and_made_per_s": steps / both.ours[0],
        "window_px": int(windows.image.shape[-1]),
    }


def recipe_row(network: str, size: Size, speed: list[dict[str, Any]]) -> dict[str, Any]:
    """Hours of the whole published recipe at its own batch, and at the fastest that was measured."""
    rule = recipe_of(network, size)
    examples = rule.train.length.in_steps(1, rule.train.batch_size) * rule.train.batch_size
    rows = [r for r in speed if r["network"] == network and "images_per_s" in r]
    own = max((r["images_per_s"] for r in rows if r["batch"] == rule.train.batch_size), default=None)
    best = max(rows, key=lambda r: float(r["images_per_s"]), default=None)
    return {
        "recipe": RECIPES[network],
        "examples": examples,
        "own_batch": rule.train.batch_size,
        "hours_at_own_batch": None if own is None else examples / own / 3600,
        "fastest": None if best is None else f"{best['mode']}, batch {best['batch']}",
        "hours_at_fastest": None if best is None else examples / best["images_per_s"] / 3600,
    }


def tables(found: dict[str, Any]) -> str:
    """The rows for people, as Markdown."""
    about = found["machine"]
    lines = [f"{about['device']}, torch {about['torch']}, {about['date']}", ""]
    lines += _table(
        ("network", "batch", "mode", "images/s", "plain images/s", "ratio", "MFU", "of matmul", "peak GB"),
        [(r["network"], r["batch"], r["mode"], *_speed_cells(r)) for r in found["speed"]],
    )
    lines += _table(
        ("network", "batch", "hourglasses computed twice", "peak GB", "kept for the backward pass, GB"),
        [
            (
                r["network"],
                r["batch"],
                "yes" if r["checkpoint_hourglasses"] else "no",
                _number(r.get("peak_gb")),
                _number(r.get("kept_for_backward_gb"), 4),
            )
            for r in found["memory"]
        ],
    )
    lines += _table(
        ("recipe", "examples", "hours at its own batch", "hours at the fastest", "which is"),
        [
            (
                r["recipe"],
                r["examples"],
                _number(r["hours_at_own_batch"], 1),
                _number(r["hours_at_fastest"], 1),
                r["fastest"] or "",
            )
            for r in found["recipes"]
        ],
    )
    augment = found["device_augmentation"]
    lines.append(
        f"Crops made on the device: {augment['made_on_device_per_s']:.0f}/s, "
        f"{augment['cut_and_made_per_s']:.0f}/s with the loader's threads cutting windows of "
        f"{augment['window_px']} px, batch {augment['batch']}."
    )
    return "\n".join(lines)


def _speed_cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("out_of_memory"):
        return ("out of memory", "", "", "", "", "")
    low, high = row["ratio_range"]
    share = row["model_flop_utilisation"]
    return (
        f"{row['images_per_s']:.1f}",
        f"{row['plain_images_per_s']:.1f}",
        f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})",
        "" if share is None else f"{share:.1%}",
        f"{row['share_of_matmul']:.1%}",
        _number(row["peak_gb"]),
    )


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


if __name__ == "__main__":
    main()
