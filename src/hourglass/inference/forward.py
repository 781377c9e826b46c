"""Crops through a network to joints in crop pixels: the one place that runs a network to answer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hourglass import heatmap
from hourglass.checkpoint import WeightFacts
from hourglass.geometry import heatmap_to_input


@dataclass(frozen=True, eq=False)
class CropAnswer:
    """What a network says of B crops.

    Args:
        keypoints: (B, J, 2) float32, crop pixels.
        scores: (B, J) float32, peak heights.
        stages: per supervised stage, heatmaps (B, J, h, w) float32, flip-averaged where asked.
    """

    keypoints: Tensor
    scores: Tensor
    stages: tuple[Tensor, ...]


@torch.inference_mode()
def answer_crops(
    network: nn.Module,
    crops: Tensor,
    facts: WeightFacts,
    flip_test: bool = False,
    precision: torch.dtype = torch.float32,
) -> CropAnswer:
    """Run a network in evaluation mode on crops (B, 3, H, W) uint8 RGB, on the crops' own device.

    `flip_test` also runs the mirrored crops, in the same batch, and averages the heatmaps; in this
    package's pixel-centre convention that needs no shift. `precision` is the network's alone
    (float32 or bfloat16); decoding is float32.
    """
    permutation = torch.tensor(facts.skeleton.flip_permutation, device=crops.device)
    count = len(crops)
    x = torch.cat([crops, crops.flip(-1)]) if flip_test else crops
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        raw: list[Tensor] = network(x)
    stages = [h.float() for h in raw]
    if flip_test:
        stages = [(h[:count] + heatmap.flip_back(h[count:], permutation)) / 2 for h in stages]
    xy, scores = heatmap.decode(stages[-1], facts.decoding, facts.sigma_hm)
    stride = crops.shape[-1] / stages[-1].shape[-1]
    return CropAnswer(heatmap_to_input(xy, stride), scores, tuple(stages))
