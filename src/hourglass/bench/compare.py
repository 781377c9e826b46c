"""Paired speed comparisons in one process: our path against the plain one that older code takes.

The two alternate, round after round, so that whatever else the machine does hits both; what is
reported is the ratio of each round, its median and its range.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import torch

from hourglass.recipe.network import NetworkRecipe
from hourglass.training.setup import keep_freed_memory


@dataclass(frozen=True)
class Comparison:
    """Seconds per image of both paths, round by round."""

    plain: tuple[float, ...]
    ours: tuple[float, ...]

    def summary(self) -> dict[str, Any]:
        ratios = sorted(p / o for p, o in zip(self.plain, self.ours, strict=True))
        return {
            "images_per_s": 1 / statistics.median(self.ours),
            "plain_images_per_s": 1 / statistics.median(self.plain),
            "ratio": statistics.median(ratios),
            "ratio_range": [ratios[0], ratios[-1]],
            "rounds": len(ratios),
        }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return {
        "date": date.today().isoformat(),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def compare(
    plain: Callable[[], object],
    ours: Callable[[], object],
    images: int,
    rounds: int,
    seconds: float,
    ours_keeps_memory: bool = False,
) -> Comparison:
    """Alternate both paths; each round repeats a path for about `seconds` after one unmeasured call."""
    times: tuple[list[float], list[float]] = ([], [])
    repeats = [1, 1]
    for number in range(rounds + 1):
        for side, path in enumerate((plain, ours)):
            # As in training. What ours has kept also spares the plain path some page faults.
            keep_freed_memory(ours_keeps_memory and path is ours)
            if number == 0:
                path()
                repeats[side] = max(1, round(seconds / _timed(path, 1)))
            else:
                times[side].append(_timed(path, repeats[side]) / images)
    keep_freed_memory(False)
    return Comparison(tuple(times[0]), tuple(times[1]))


def _timed(path: Callable[[], object], repeats: int) -> float:
    """Mean seconds of one call, the device's queue drained."""
    began = time.perf_counter()
    for _ in range(repeats):
        path()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """The machine's own rate on square matrices, in FLOP/s: the best of five."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    a @ a
    return 2 * size**3 / min(_timed(lambda: a @ a, 4) for _ in range(5))


def words(network: NetworkRecipe) -> str:
    """What tables call a network: build, stacks and width."""
    return f"{network.build} {network.stacks} x {network.features}"
