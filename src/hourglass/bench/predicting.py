"""Pictures to joints: ours, on any backend, against the plain way."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hourglass.bench.compare import compare, machine, matmul_flops, words
from hourglass.core import geometry
from hourglass.core.skeleton import MPII16
from hourglass.data.loading.dataset import make_sample
from hourglass.data.loading.images import read_image
from hourglass.inference.backends import make_runnable
from hourglass.inference.device import choose_device, choose_precision
from hourglass.inference.forward import answer_crops
from hourglass.models.build import build_network, channels_last
from hourglass.models.parts import forward_flops
from hourglass.recipe.network import NetworkRecipe
from hourglass.synthetic.render import load_records
from hourglass.weights.facts import WeightFacts


def benchmark_predicting(
    network: NetworkRecipe,
    input_px: int,
    batch_size: int,
    rounds: int,
    seconds: float = 2.0,
    backend: str = "torch",
    precision: str = "auto",
) -> dict[str, Any]:
    """Pictures to joints, without flip test: ours against fp32 NCHW, cropped and decoded one by one.

    int8 measures its ranges on rendered people here: what they are changes accuracy, not speed.
    """
    device = choose_device()
    net = build_network(network, MPII16).to(device).eval()
    facts = WeightFacts("benchmark", network, MPII16, input_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    calibration = _rendered(input_px) if precision == "int8" else None
    runnable, dtype = make_runnable(net, facts, device, backend, precision, calibration=calibration)
    fast_net = channels_last(runnable).to(device)
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, 480, 360, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix(np.array([180.0, 240.0]), 400.0, input_px)
    inverse = np.linalg.inv(matrix)

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
            fast_net, torch.from_numpy(crops).permute(0, 3, 1, 2).to(device), facts, precision=dtype
        )
        geometry.apply(inverse, answer.keypoints.cpu().numpy())

    result = compare(plain, ours, batch_size, rounds, seconds).summary()
    bf16 = choose_precision("auto", device) if precision != "fp32" else torch.float32
    rate = matmul_flops(device, bf16)
    flops = forward_flops(net, input_px)
    return {
        "what": "predicting",
        "network": words(network),
        "input_px": input_px,
        "batch_size": batch_size,
        **result,
        "gflop_per_image": flops / 1e9,
        "matmul_gflops": rate / 1e9,
        "backend": backend,
        "precision": "int8" if precision == "int8" else "bf16" if bf16 == torch.bfloat16 else "fp32",
        "share_of_matmul": flops * result["images_per_s"] / rate,
        **machine(),
    }


def _rendered(input_px: int) -> npt.NDArray[np.uint8]:
    """Crops (N, 3, S, S) of rendered people."""
    people = load_records(MPII16, 16, seed=0)
    crops = [make_sample(read_image(p.image, p.image_id), p, input_px).image for p in people]
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
