"""Crops through a network to joints in crop pixels: the one place that runs a network to answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hourglass.core.geometry import heatmap_to_input
from hourglass.models import heatmap
from hourglass.models.spatial_softmax import spatial_softmax, unit_peak
from hourglass.weights.checkpoint import WeightFacts


@dataclass(frozen=True, eq=False)
class CropAnswer:
    """What a network says of B crops.

    Args:
        keypoints: (B, J, 2) float32, crop pixels.
        scores: (B, J) float32, peak heights; 1 throughout for a network that regresses coordinates.
        stages: per supervised stage, heatmaps (B, J, h, w) float32, flip-averaged where asked; empty for
            a network that regresses coordinates.
        occluded: (B, J) bool, joints seen as hidden, for weights that tell; else None.
        covariances: (B, J, 2, 2) float32, how the heatmaps spread around the joints (`heatmap.spread`), crop
            pixels squared; None for a network that regresses coordinates.
    """

    keypoints: Tensor
    scores: Tensor
    stages: tuple[Tensor, ...]
    occluded: Tensor | None = None
    covariances: Tensor | None = None


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
    with _aside(network):
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
    with _aside(network):
        stages = run_stages(network, crops, facts, flip_test, precision)
        return [read_stage(stage, facts, crops.shape[-1]) for stage in stages]


@contextmanager
def _aside(network: nn.Module) -> Iterator[None]:
    """One thread for torch's own steps while an engine has threads of its own.

    Both pools keep their threads awake for a while after each piece of work, and so take each other's cores.
    """
    threads = torch.get_num_threads()
    if not getattr(network, "own_threads", False) or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_stages(
    network: nn.Module, crops: Tensor, facts: WeightFacts, flip_test: bool, precision: torch.dtype
) -> list[Tensor]:
    """Per stage heatmaps (B, J, h, w), or coordinates (B, J, 2) in -0.5..0.5 across the crop; float32."""
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        raw: list[Tensor] = network(views(crops, flip_test))
    return [merge_views(stage, str(network.output), facts, flip_test) for stage in raw]


def views(crops: Tensor, flip_test: bool) -> Tensor:
    """What the network looks at: the crops, and with a flip test their mirror images behind them."""
    x = torch.cat([crops, crops.flip(-1)]) if flip_test else crops
    return x.contiguous(memory_format=torch.channels_last)


def merge_views(raw: Tensor, output: str, facts: WeightFacts, flip_test: bool) -> Tensor:
    """One stage's raw answer to `views`, of a network with this `output`, as `run_stages` gives it."""
    stage = raw.float()
    if output == "logits":
        stage = unit_peak(spatial_softmax(stage), facts.sigma_hm)
    if not flip_test:
        return stage
    permutation = torch.tensor(facts.skeleton.flip_permutation, device=raw.device)
    straight, mirrored = stage.chunk(2)
    if output == "coordinates":
        return (straight + mirrored[:, permutation] * stage.new_tensor([-1.0, 1.0])) / 2
    return (straight + heatmap.flip_back(mirrored, permutation, facts.offset_hm)) / 2


def read_stage(stage: Tensor, facts: WeightFacts, side_px: int) -> CropAnswer:
    """Joints of one stage's heatmaps or coordinates, as `run_stages` gives them, for crops of this side."""
    if stage.ndim == 3:
        keypoints = stage * side_px + (side_px - 1) / 2
        return CropAnswer(keypoints, torch.ones_like(keypoints[..., 0]), ())
    maps, occluded = heatmap.unsigned(stage) if facts.signed else (stage, None)
    xy, scores = heatmap.decode(maps, facts.decoding, facts.sigma_hm)
    stride = side_px / maps.shape[-1]
    joints = heatmap_to_input(xy + facts.offset_hm, stride)
    covariances = stride**2 * heatmap.spread(maps, xy, facts.sigma_hm)
    return CropAnswer(joints, scores, (stage,), occluded, covariances)
