"""One training step: ours against the plain one, and the loader against the step."""

import time
from typing import Any

import numpy as np
import torch

from hourglass.bench.compare import compare, machine, matmul_flops, words
from hourglass.core.skeleton import MPII16
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.loading.loader import training_batches
from hourglass.inference.device import choose_device
from hourglass.models.build import build_network, channels_last
from hourglass.models.parts import forward_flops
from hourglass.recipe.network import NetworkRecipe
from hourglass.recipe.recipe import AugmentRecipe, OptimiserRecipe
from hourglass.synthetic.render import load_records
from hourglass.training.losses import heatmap_loss
from hourglass.training.setup import make_optimiser, set_lr, total_norm

SIGMA_HM = 1.0


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
        "network": words(network),
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


def loader_images_per_s(input_px: int, batch_size: int, workers: int = 2, seconds: float = 3.0) -> float:
    """Augmented crops per second from decoded pictures, with nothing else running."""
    from hourglass.data.loading.dataset import decode_all

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
