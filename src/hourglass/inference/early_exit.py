"""Stop early: a crop whose joints no longer move from one stack to the next needs no further stack."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from hourglass.inference.forward import CropAnswer, merge_views, read_stage, views
from hourglass.models.anytime import staged
from hourglass.weights.checkpoint import WeightFacts

TOLERANCE = 0.02
"""Two stacks agree when the joints move by less than this share of the crop's side on average.

The mean saves more for what it costs than the joint that moves most (chosen on training people).
"""


@torch.inference_mode()
def answer_until_settled(
    network: nn.Module,
    crops: Tensor,
    facts: WeightFacts,
    flip_test: bool = False,
    precision: torch.dtype = torch.float32,
    tolerance: float = TOLERANCE,
) -> tuple[CropAnswer, Tensor]:
    """As `forward.answer_crops`, but each crop leaves when two successive stacks agree on it.

    Returns the answer, whose only stage is the one that each crop left with, and (B,) int64, how many stacks
    each crop went through: 2 at least. Raises ValueError when the network doesn't answer in stages.
    """
    stages = staged(network).stages(views(crops, flip_test))
    count = len(crops)
    used = torch.zeros(count, dtype=torch.int64, device=crops.device)
    waiting = torch.arange(count, device=crops.device)
    kept: list[tuple[Tensor, CropAnswer]] = []
    before: Tensor | None = None
    rows: Tensor | None = None
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        while len(waiting):
            try:
                raw = stages.send(rows)
            except StopIteration:
                break
            used[waiting] += 1
            with torch.autocast(crops.device.type, enabled=False):
                heat = merge_views(raw, "heatmap", facts, flip_test)
                answer = replace(read_stage(heat, facts, crops.shape[-1]), stages=(heat,))
            kept.append((waiting, answer))
            moved = torch.full_like(used[waiting], True, dtype=torch.bool)
            if before is not None:
                step = torch.linalg.vector_norm(answer.keypoints - before, dim=-1)
                moved = step.mean(-1) > tolerance * crops.shape[-1]
            left = moved.nonzero()[:, 0]
            before, waiting = answer.keypoints[left], waiting[left]
            rows = torch.cat([left, left + len(moved)]) if flip_test else left
    return _last_of_each(kept, count), used


def _last_of_each(kept: list[tuple[Tensor, CropAnswer]], count: int) -> CropAnswer:
    """Each crop's latest answer; maps of an earlier, coarser stage are brought to the last one's size."""
    _, last = kept[-1]
    size = last.stages[0].shape[-2:]
    keypoints = last.keypoints.new_empty(count, *last.keypoints.shape[1:])
    scores = last.scores.new_empty(count, *last.scores.shape[1:])
    heat = last.stages[0].new_empty(count, *last.stages[0].shape[1:])
    occluded = None if last.occluded is None else last.occluded.new_empty(count, *last.occluded.shape[1:])
    covariances = keypoints.new_empty(*keypoints.shape, 2)
    for rows, answer in kept:
        keypoints[rows], scores[rows] = answer.keypoints, answer.scores
        stage = answer.stages[0]
        heat[rows] = (
            stage if stage.shape[-2:] == size else nn.functional.interpolate(stage, size, mode="nearest")
        )
        if occluded is not None and answer.occluded is not None:
            occluded[rows] = answer.occluded
        assert answer.covariances is not None  # stacks answer with heatmaps
        covariances[rows] = answer.covariances
    return CropAnswer(keypoints, scores, (heat,), occluded, covariances)
