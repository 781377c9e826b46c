"""Crops through a network to joints in crop pixels: the one place that runs a network to answer."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hourglass import heatmap
from hourglass.checkpoint import WeightFacts
from hourglass.geometry import heatmap_to_input
from hourglass.spatial_softmax import spatial_softmax, unit_peak


@dataclass(frozen=True, eq=False)
class CropAnswer:
    """What a network says of B crops.

    Args:
        keypoints: (B, J, 2) float32, crop pixels.
        scores: (B, J) float32, peak heights; 1 throughout for a network that regresses coordinates.
        stages: per supervised stage, heatmaps (B, J, h, w) float32, flip-averaged where asked; empty for
            a network that regresses coordinates.
        occluded: (B, J) bool, joints seen as hidden, for weights that tell; else None.
    """

    keypoints: Tensor
    scores: Tensor
    stages: tuple[Tensor, ...]
    occluded: Tensor | None = None


@torch.inference_mode()
def answer_crops(
    network: nn.Module,
    crops: Tensor,
    facts: WeightFacts,
    flip_test: bool = False,
    precision: torch.dtype = torch.float32,
) -> CropAnswer:
    """Run a network in evaluation mode on crops (B, 3, H, W) uint8 RGB, on the crops' own device.

    `flip_test` also runs the mirrored crops, in the same batch, and averages the answers; only weights of
    another convention (`facts.offset_hm`) need a shift there. `precision` is the network's alone
    (float32 or bfloat16); decoding is float32.
    """
    stages = run_stages(network, crops, facts, flip_test, precision)
    answer = read_stage(stages[-1], facts, crops.shape[-1])
    return answer if stages[-1].ndim == 3 else replace(answer, stages=tuple(stages))


@torch.inference_mode()
def answer_stages(
    network: nn.Module,
    crops: Tensor,
    facts: WeightFacts,
    flip_test: bool = False,
    precision: torch.dtype = torch.float32,
) -> list[CropAnswer]:
    """As `answer_crops`, with every supervised stage's own answer; the last one is the network's."""
    stages = run_stages(network, crops, facts, flip_test, precision)
    return [read_stage(stage, facts, crops.shape[-1]) for stage in stages]


def run_stages(
    network: nn.Module, crops: Tensor, facts: WeightFacts, flip_test: bool, precision: torch.dtype
) -> list[Tensor]:
    """Per stage heatmaps (B, J, h, w), or coordinates (B, J, 2) in -0.5..0.5 across the crop; float32."""
    x = torch.cat([crops, crops.flip(-1)]) if flip_test else crops
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        raw: list[Tensor] = network(x)
    stages = [stage.float() for stage in raw]
    if network.output == "logits":
        stages = [unit_peak(spatial_softmax(stage), facts.sigma_hm) for stage in stages]
    if not flip_test:
        return stages
    permutation = torch.tensor(facts.skeleton.flip_permutation, device=crops.device)
    count = len(crops)
    if network.output == "coordinates":
        mirror = stages[0].new_tensor([-1.0, 1.0])
        return [(xy[:count] + xy[count:][:, permutation] * mirror) / 2 for xy in stages]
    mirrored = [heatmap.flip_back(h[count:], permutation, facts.offset_hm) for h in stages]
    return [(h[:count] + m) / 2 for h, m in zip(stages, mirrored, strict=True)]


def read_stage(stage: Tensor, facts: WeightFacts, side_px: int) -> CropAnswer:
    """Joints of one stage's heatmaps or coordinates, as `run_stages` gives them, for crops of this side."""
    if stage.ndim == 3:
        keypoints = stage * side_px + (side_px - 1) / 2
        return CropAnswer(keypoints, torch.ones_like(keypoints[..., 0]), ())
    maps, occluded = heatmap.unsigned(stage) if facts.signed else (stage, None)
    xy, scores = heatmap.decode(maps, facts.decoding, facts.sigma_hm)
    stride = side_px / maps.shape[-1]
    return CropAnswer(heatmap_to_input(xy + facts.offset_hm, stride), scores, (stage,), occluded)
