"""Losses. Targets are made here, on the device, at each stage's own resolution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hourglass import heatmap
from hourglass.geometry import input_to_heatmap


def heatmap_loss(
    stages: Sequence[Tensor],
    keypoints_input: Tensor,
    weight: Tensor,
    stride: float,
    sigma_hm: float,
    peak_weight: float = 0.0,
) -> Tensor:
    """Mean squared error of every stage against the same truth: (S,) float32, one term per stage.

    The papers sum the terms. Each is the mean over batch, joints and cells, so that a network which
    answers zero everywhere scores about `pi sigma^2 / (h w)` (FACTS C1's energies).

    Args:
        stages: S heatmap tensors (B, J, h, w).
        keypoints_input: (B, J, 2) crop pixels.
        weight: (B, J), 0 where a joint is not labelled; such a map is not compared at all.
        stride: crop pixels per heatmap cell of the last stage; another resolution has its own.
        sigma_hm: standard deviation of the target in cells.
        peak_weight: each cell counts `1 + peak_weight * target` (ours; 0 is the papers' loss). It
            shortens the plateau on which the network answers zero everywhere.
    """
    targets: dict[tuple[int, int], Tensor] = {}
    last_width = stages[-1].shape[-1]
    terms = []
    for stage in stages:
        height, width = stage.shape[-2:]
        target = targets.get((height, width))
        if target is None:
            cells = input_to_heatmap(keypoints_input, stride * last_width / width)
            target = targets[height, width] = heatmap.encode(cells, height, width, sigma_hm)
        error = (stage.float() - target) ** 2
        if peak_weight:
            error = error * (1 + peak_weight * target)
        terms.append((error * weight[..., None, None]).mean())
    return torch.stack(terms)
