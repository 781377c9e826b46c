"""Paired speed comparisons in one process: our path against the plain one that older code takes.

The two alternate, round after round, so that whatever else the machine does hits both; what is
reported is the ratio of each round, its median and its range.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import torch

from hourglass import geometry
from hourglass.build import build_network, channels_last
from hourglass.checkpoint import WeightFacts
from hourglass.data.dataset import TrainingCrops
from hourglass.data.loader import training_batches
from hourglass.data.synthetic import load_records
from hourglass.inference.device import choose_device, choose_precision
from hourglass.inference.forward import answer_crops
from hourglass.losses import heatmap_loss
from hourglass.models.size import forward_flops
from hourglass.recipe import AugmentRecipe, NetworkRecipe, OptimiserRecipe
from hourglass.skeleton import MPII16
from hourglass.training.memory import keep_freed_memory
from hourglass.training.optim import make_optimiser, set_lr, total_norm

SIGMA_HM = 1.0


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


def benchmark_training(
    network: NetworkRecipe, input_px: int, batch_size: int, rounds: int, seconds: float = 2.0
) -> dict[str, Any]:
    """One optimiser step, targets and loss included: ours against fp32 NCHW with numpy targets."""
    device = choose_device()
    plain_net = build_network(network, MPII16).to(device)
    our_net = channels_last(build_network(network, MPII16)).to(device)
    plain_optimiser = torch.optim.RMSprop(plain_net.parameters(), lr=2.5e-4, foreach=False)
    our_optimiser = make_optimiser(our_net, OptimiserRecipe())
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (batch_size, 3, input_px, input_px), dtype=np.uint8))
    joints = len(MPII16)
    keypoints = torch.from_numpy(rng.uniform(0, input_px, (batch_size, joints, 2)).astype(np.float32))
    weight = torch.ones(batch_size, joints)

    def plain() -> None:
        targets = torch.from_numpy(numpy_targets(keypoints.numpy(), input_px)).to(device)
        stages = plain_net(image.to(device).float() / 255)
        losses = [torch.nn.functional.mse_loss(stage, targets) for stage in stages]
        loss = torch.stack(losses).sum()
        plain_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        plain_optimiser.step()
        loss.item()

    def ours() -> None:
        crops = image.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            stages = our_net(crops)
        terms = heatmap_loss(stages, keypoints.to(device), weight.to(device), 4, SIGMA_HM)
        terms.sum().backward()  # type: ignore[no-untyped-call]
        total_norm([p.grad for p in our_net.parameters() if p.grad is not None])
        set_lr(our_optimiser, 2.5e-4)
        our_optimiser.step()
        our_optimiser.zero_grad(set_to_none=True)

    result = compare(plain, ours, batch_size, rounds, seconds, device.type == "cpu").summary()
    rate = matmul_flops(device, torch.bfloat16)
    flops = 3 * forward_flops(plain_net, input_px)
    loader = loader_images_per_s(input_px, batch_size)
    return {
        "what": "training",
        "network": _words(network),
        "input_px": input_px,
        "batch_size": batch_size,
        **result,
        "step_gflop_per_image": flops / 1e9,
        "bf16_matmul_gflops": rate / 1e9,
        "share_of_bf16_matmul": flops * result["images_per_s"] / rate,
        "loader_images_per_s": loader,
        "loader_over_step": loader / result["images_per_s"],
        **machine(),
    }


def benchmark_predicting(
    network: NetworkRecipe, input_px: int, batch_size: int, rounds: int, seconds: float = 2.0
) -> dict[str, Any]:
    """Pictures to joints, without flip test: ours against fp32 NCHW, cropped and decoded one by one."""
    device = choose_device()
    net = build_network(network, MPII16).to(device).eval()
    fast_net = channels_last(build_network(network, MPII16)).to(device).eval()
    facts = WeightFacts("benchmark", network, MPII16, input_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, 480, 360, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix(np.array([180.0, 240.0]), 400.0, input_px)
    inverse = np.linalg.inv(matrix)
    bf16 = choose_precision("auto", device)

    @torch.inference_mode()
    def plain() -> None:
        for picture in pictures:
            crop = geometry.warp(picture, matrix, input_px)
            x = torch.from_numpy(crop).permute(2, 0, 1).float()[None].to(device) / 255
            maps = net(x)[-1][0].cpu().numpy()
            cells = [np.unravel_index(m.argmax(), m.shape)[::-1] for m in maps]
            geometry.apply(inverse, (np.array(cells) + 0.5) * 4 - 0.5)

    def ours() -> None:
        crops = np.stack([geometry.warp(picture, matrix, input_px) for picture in pictures])
        answer = answer_crops(
            fast_net, torch.from_numpy(crops).permute(0, 3, 1, 2).to(device), facts, precision=bf16
        )
        geometry.apply(inverse, answer.keypoints.cpu().numpy())

    result = compare(plain, ours, batch_size, rounds, seconds).summary()
    rate = matmul_flops(device, bf16)
    flops = forward_flops(net, input_px)
    return {
        "what": "predicting",
        "network": _words(network),
        "input_px": input_px,
        "batch_size": batch_size,
        **result,
        "gflop_per_image": flops / 1e9,
        "matmul_gflops": rate / 1e9,
        "precision": "bf16" if bf16 == torch.bfloat16 else "fp32",
        "share_of_matmul": flops * result["images_per_s"] / rate,
        **machine(),
    }


def loader_images_per_s(input_px: int, batch_size: int, workers: int = 2, seconds: float = 3.0) -> float:
    """Augmented crops per second from decoded pictures, with nothing else running."""
    from hourglass.data.dataset import decode_all

    records = load_records(MPII16, 64, seed=0)
    images = decode_all(records, 1.0, workers)
    crops = TrainingCrops(
        records * 64, input_px, AugmentRecipe(shift=0.03), 0, images * 64 if images else None
    )
    batches = training_batches(crops, batch_size, 0, workers)
    for _ in range(8):
        next(batches)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += len(next(batches).image)
    rate = count / (time.perf_counter() - began)
    batches.close()  # type: ignore[attr-defined]
    return rate


def numpy_targets(keypoints_input: "np.ndarray[Any, Any]", input_px: int) -> "np.ndarray[Any, Any]":
    """Targets as older code makes them: sample by sample, joint by joint, a 7 x 7 patch in numpy."""
    batch, joints, _ = keypoints_input.shape
    size = input_px // 4
    offsets = np.arange(-3, 4)
    patch = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * SIGMA_HM**2))
    maps = np.zeros((batch, joints, size, size), np.float32)
    for b in range(batch):
        for j in range(joints):
            x, y = (keypoints_input[b, j] / 4).astype(int)
            left, right, top, bottom = max(0, x - 3), min(size, x + 4), max(0, y - 3), min(size, y + 4)
            if left < right and top < bottom:
                maps[b, j, top:bottom, left:right] = patch[
                    top - y + 3 : bottom - y + 3, left - x + 3 : right - x + 3
                ]
    return maps


def _words(network: NetworkRecipe) -> str:
    return f"{network.build} {network.stacks} x {network.features}"


def numbers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows for people: what, network, input, images/s of both, ratio with range, share of the matmul rate."""
    table: list[tuple[str, ...]] = []
    for row in rows:
        low, high = row["ratio_range"]
        share = row.get("share_of_bf16_matmul", row.get("share_of_matmul"))
        table.append(
            (
                row["what"],
                row["network"],
                f"{row['input_px']} px x {row['batch_size']}",
                f"{row['images_per_s']:.1f}",
                f"{row['plain_images_per_s']:.1f}",
                f"{row['ratio']:.2f} ({low:.2f} to {high:.2f}, {row['rounds']} rounds)",
                f"{share:.0%}",
                f"{row['loader_over_step']:.1f} x the step" if "loader_over_step" in row else "",
            )
        )
    return table
