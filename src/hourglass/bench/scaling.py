"""How time and memory grow with stacks, width, input, batch, people and data, and with which exponent."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hourglass.core.skeleton import LSP14
from hourglass.drawing.plots import scaling_curve
from hourglass.evaluation.evaluate import predict_records, score
from hourglass.inference.device import choose_device, choose_precision
from hourglass.inference.predictor import Predictor
from hourglass.models.build import build_network, channels_last
from hourglass.recipe.network import NetworkRecipe
from hourglass.synthetic.render import load_records
from hourglass.training.losses import heatmap_loss
from hourglass.training.setup import keep_freed_memory
from hourglass.weights.checkpoint import WeightFacts

EXPECTED = {"stacks": 1, "features": 2, "input_px": 2, "batch_size": 1, "people": 1, "dataset": 1}
"""The exponent that the arithmetic of each axis has: convolutions are square in width and in side."""

VALUES = {
    "stacks": (1, 2, 4, 8),
    "features": (64, 96, 128, 192, 256),
    "input_px": (128, 192, 256, 320, 384),
    "batch_size": (2, 4, 8, 16, 32),
    "people": (1, 2, 4, 8, 16, 32),
    "dataset": (128, 256, 512, 1024),
}
"""What is measured along each axis; `people` is in one picture, `dataset` in one evaluation."""

WORSE = 0.15
"""An exponent above the expected one by more than this is worse than it should be: noise makes 0.1."""

BASE = NetworkRecipe(stacks=2, features=128)


@dataclass(frozen=True)
class Point:
    """One measurement: `value` along `axis`, seconds of one run, and bytes of memory it added at its peak.

    `what` is `predicting` or `training` (a step with its backward pass). Bytes are None where the system
    doesn't tell.
    """

    axis: str
    what: str
    value: int
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Growth:
    """seconds ~ value ** exponent, over all of an axis; `last` is that of its two largest values alone."""

    axis: str
    what: str
    exponent: float
    last: float
    expected: int

    @property
    def worse(self) -> bool:
        return max(self.exponent, self.last) > self.expected + WORSE


def measure_axis(axis: str, rounds: int = 3, values: Sequence[int] = ()) -> list[Point]:
    """Every point of one axis of `EXPECTED`: the median of so many rounds, after one that is not counted.

    Raises ValueError for an unknown axis.
    """
    if axis not in EXPECTED:
        raise ValueError(f"--axis {axis!r} is not one of {', '.join(EXPECTED)}")
    points = []
    for value in values or VALUES[axis]:
        for what, run in _runs(axis, value).items():
            keep_freed_memory(what == "training" and choose_device().type == "cpu")  # as training does
            run()
            peak = _peak_bytes(run)
            points.append(
                Point(axis, what, value, statistics.median(_seconds(run) for _ in range(rounds)), peak)
            )
    keep_freed_memory(False)
    return points


def growths(points: Sequence[Point]) -> list[Growth]:
    """The exponents of each axis and kind of run, by least squares on logarithms."""
    found = []
    for axis, what in dict.fromkeys((p.axis, p.what) for p in points):
        mine = [p for p in points if (p.axis, p.what) == (axis, what)]
        x, y = np.log([p.value for p in mine]), np.log([p.seconds for p in mine])
        slope = float(np.polyfit(x, y, 1)[0])
        last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
        found.append(Growth(axis, what, slope, last, EXPECTED[axis]))
    return found


def draw(points: Sequence[Point], path: Path) -> None:
    """A figure of one axis; raises OSError when it can't be written."""
    series = {
        growth.what: [
            {
                "value": p.value,
                "seconds": p.seconds,
                "megabytes": None if p.peak_bytes is None else p.peak_bytes / 1e6,
                "exponent": growth.exponent,
            }
            for p in points
            if p.what == growth.what
        ]
        for growth in growths(points)
    }
    scaling_curve(series, path, points[0].axis.replace("_", " "))


def _runs(axis: str, value: int) -> dict[str, Callable[[], object]]:
    """What to time at one point."""
    if axis == "people":
        return {"predicting": _people(value)}
    if axis == "dataset":
        return {"evaluating": _dataset(value)}
    recipe = BASE
    input_px, batch_size = 128, 4
    if axis == "stacks":
        recipe = NetworkRecipe(stacks=value, features=BASE.features)
    elif axis == "features":
        recipe = NetworkRecipe(stacks=BASE.stacks, features=value)
    elif axis == "input_px":
        input_px = value
    else:
        batch_size = value
    device = choose_device()
    dtype = choose_precision("auto", device)
    network = channels_last(build_network(recipe, LSP14)).to(device)
    crops = torch.zeros(batch_size, 3, input_px, input_px, dtype=torch.uint8, device=device)
    crops = crops.contiguous(memory_format=torch.channels_last)
    joints = torch.zeros(batch_size, len(LSP14), 2, device=device)

    def predicting() -> None:
        network.eval()
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            network(crops)

    def training() -> None:
        network.train()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            stages = network(crops)
        terms = heatmap_loss(stages, joints, torch.ones_like(joints[..., 0]), 4, 1.0)
        terms.sum().backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    return {"predicting": predicting, "training": training}


def _facts(recipe: NetworkRecipe) -> WeightFacts:
    return WeightFacts("scaling", recipe, LSP14, 128, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _people(count: int) -> Callable[[], object]:
    predictor = Predictor(build_network(BASE, LSP14), _facts(BASE), flip_test=False)
    picture = np.zeros((720, 1280, 3), np.uint8)
    boxes = [(10.0 + 35 * n, 100.0, 120.0, 400.0) for n in range(count)]
    return lambda: predictor(picture, boxes)


def _dataset(count: int) -> Callable[[], object]:
    recipe = NetworkRecipe(stacks=1, features=16)
    network = build_network(recipe, LSP14)
    some = load_records(LSP14, 32, seed=0, size_px=128)
    # The same few people under new numbers: a picture's content costs nothing.
    people = [replace(some[n % len(some)], person_id=n) for n in range(count)]
    return lambda: score(predict_records(network, _facts(recipe), people, flip_test=False), people)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _peak_bytes(run: Callable[[], object]) -> int | None:
    """Memory that one run adds at its peak: of the GPU where there is one, else of this process (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = _status("VmRSS")
        run()
        return max(0, _status("VmHWM") - before)
    except (OSError, StopIteration):
        run()
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key + ":")).split()[1])
