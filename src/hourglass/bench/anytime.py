"""Latency against PCK for the first k stacks of one trained network, and for leaving as soon as two agree.

PCK@0.2 is the mean over joints, without a flip test. Latency is of one crop, network and decoding: all ways
take turns in every round, in one process.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hourglass.bench.compare import machine
from hourglass.core import geometry
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import make_sample
from hourglass.data.loading.images import read_image
from hourglass.evaluation.evaluate import Predictions, score
from hourglass.inference.device import choose_device, choose_precision
from hourglass.inference.early_exit import answer_until_settled
from hourglass.inference.forward import CropAnswer, answer_crops
from hourglass.models.anytime import FirstStacks, stacks_of
from hourglass.models.build import channels_last
from hourglass.models.folding import fold_batch_norms
from hourglass.weights.load import load_pose_network

TOLERANCES = (0.01, 0.015, 0.02, 0.03, 0.05)
"""Shares of the crop's side by which joints may still move on average."""

BATCH = 32

HEAD = ("stacks", "used", "PCK@0.2", "ms, one crop", "times as fast as all (middle half)")

Way = Callable[[Tensor], tuple[CropAnswer, float]]
"""Crops to their answer, and how many stacks they went through on average."""


def _fixed(first: FirstStacks, facts: Any, dtype: torch.dtype, crops: Tensor) -> tuple[CropAnswer, float]:
    return answer_crops(first, crops, facts, precision=dtype), float(first.count)


def _leaving(
    network: nn.Module, facts: Any, dtype: torch.dtype, tolerance: float, crops: Tensor
) -> tuple[CropAnswer, float]:
    answer, used = answer_until_settled(network, crops, facts, precision=dtype, tolerance=tolerance)
    return answer, float(used.float().mean())


def ways(weights: str, device: torch.device) -> tuple[dict[str, Way], Any]:
    """Every way to answer by name, and the weights' facts."""
    network, facts = load_pose_network(weights)
    whole = channels_last(fold_batch_norms(network)).to(device).eval()
    dtype = choose_precision("auto", device)
    found: dict[str, Way] = {}
    for count in range(1, stacks_of(network) + 1):
        found[f"{count}"] = partial(_fixed, FirstStacks(whole, count).eval(), facts, dtype)
    for tolerance in TOLERANCES:
        found[f"auto, {tolerance:g}"] = partial(_leaving, whole, facts, dtype, tolerance)
    return found, facts


def crops_of(records: list[PersonRecord], side_px: int) -> Tensor:
    """(N, 3, S, S) uint8."""
    samples = [make_sample(read_image(r.image, r.image_id), r, side_px).image for r in records]
    return torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2)


def accuracy(way: Way, crops: Tensor, records: list[PersonRecord], facts: Any) -> tuple[float, float]:
    """PCK@0.2 in percent, and the mean number of stacks."""
    points, stacks = [], []
    for start in range(0, len(crops), BATCH):
        answer, used = way(crops[start : start + BATCH])
        stacks += [used] * len(answer.scores)
        for record, xy in zip(records[start:], answer.keypoints.cpu().numpy(), strict=False):
            matrix = geometry.crop_matrix(record.center, record.side_px, facts.input_px)
            points.append(geometry.apply(np.linalg.inv(matrix), xy))
    predictions = Predictions(
        np.array([r.person_id for r in records]),
        tuple(r.image_id for r in records),
        np.array(points, np.float32),
        np.ones((len(records), len(facts.skeleton)), np.float32),
        facts.skeleton,
    )
    return float(score(predictions, records)["metrics"]["PCK@0.2"]["mean"]), float(np.mean(stacks))


def latencies(found: dict[str, Way], crops: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of one crop, way by way in every round; the crops change from round to round."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 2):
        crop = crops[number % len(crops)][None]
        for name, way in found.items():
            began = time.perf_counter()
            way(crop)
            if number >= 2:
                times[name].append(1e3 * (time.perf_counter() - began))
    return times


def measure_anytime(
    weights: str, records: list[PersonRecord], rounds: int, watch: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """A row for each way to answer: `stacks`, `mean_stacks`, `pck`, `ms`, `faster_than_all`, `quartiles`.

    Args:
        weights: bundled name, file, folder or hub id of a network with several stacks.
        records: people to look at and to score.
        rounds: latency measurements of each way, at least 2.
        watch: called with (ways scored, ways in all).

    Raises ValueError when there are no people, or the network has one stack and nothing to leave out.
    """
    device = choose_device()
    found, facts = ways(weights, device)
    if not records:
        raise ValueError("there is nobody to be measured on")
    crops = crops_of(records, facts.input_px).to(device)
    times = latencies(found, crops, rounds)
    last = times[f"{sum(name.isdigit() for name in times)}"]
    rows: list[dict[str, Any]] = []
    for name, way in found.items():
        if watch is not None:
            watch(len(rows), len(found))
        pck, stacks = accuracy(way, crops, records, facts)
        ratios = sorted(whole / mine for whole, mine in zip(last, times[name], strict=True))
        rows.append(
            {
                "stacks": name,
                "mean_stacks": stacks,
                "pck": pck,
                "ms": statistics.median(times[name]),
                "faster_than_all": statistics.median(ratios),
                "quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
                "weights": facts.name,
                "people": len(records),
                "rounds": rounds,
                **machine(),
            }
        )
    return rows


def numbers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows for people, in the columns of `HEAD`."""
    return [
        (
            row["stacks"],
            f"{row['mean_stacks']:.2f}",
            f"{row['pck']:.2f}",
            f"{row['ms']:.1f}",
            "{:.2f} ({:.2f} to {:.2f})".format(row["faster_than_all"], *row["quartiles"]),
        )
        for row in rows
    ]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """PCK over latency: the first k stacks as a line, early leaving as points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, marker, chosen in (
        ("the first k stacks", "o-", [r for r in rows if r["stacks"].isdigit()]),
        ("until two stacks agree", "s--", [r for r in rows if not r["stacks"].isdigit()]),
    ):
        axes.plot([r["ms"] for r in chosen], [r["pck"] for r in chosen], marker, markersize=5, label=name)
        for r in chosen:
            axes.annotate(r["stacks"].removeprefix("auto, "), (r["ms"], r["pck"]), fontsize=7)
    axes.set_xlabel("ms for one crop")
    axes.set_ylabel("PCK@0.2")
    axes.grid(color="#e6e6e6")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path)
