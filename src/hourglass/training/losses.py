"""Losses. Targets are made here, on the device, at each stage's own resolution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hourglass.core.geometry import input_to_heatmap
from hourglass.models import heatmap


def joint_losses(
    stages: Sequence[Tensor],
    keypoints_input: Tensor,
    weight: Tensor,
    stride: float,
    sigma_hm: float,
    peak_weight: float = 0.0,
    sign: Tensor | None = None,
) -> Tensor:
    """Mean squared error of every stage and joint against the truth: (S, J) float32.

    Each is the mean over the batch and the cells; where a joint is not labelled it adds nothing.

    Args:
        stages: S heatmap tensors (B, J, h, w).
        keypoints_input: (B, J, 2) crop pixels.
        weight: (B, J), 0 where a joint is not labelled; such a map is not compared at all.
        stride: crop pixels per heatmap cell of the last stage; another resolution has its own.
        sigma_hm: standard deviation of the target in cells, so in pixels it follows a stage's scale.
        peak_weight: each cell counts `1 + peak_weight * |target|` (ours; 0 is the papers' loss). It
            shortens the plateau on which the network answers zero everywhere.
        sign: (B, J), -1 where the target is a negative Gaussian (MSSH, equation 1), else 1.
    """
    # Made once for each resolution and shared by its stages; of a stage only the difference is kept.
    targets: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}
    last_width = stages[-1].shape[-1]
    terms = []
    for stage in stages:
        height, width = stage.shape[-2:]
        if (height, width) not in targets:
            cells = input_to_heatmap(keypoints_input, stride * last_width / width)
            target = heatmap.encode(cells, height, width, sigma_hm)
            if sign is not None:
                target = target * sign[..., None, None]
            targets[height, width] = target, 1 + peak_weight * target.abs() if peak_weight else None
        target, importance = targets[height, width]
        error = (stage.float() - target) ** 2
        if importance is not None:
            error = error * importance
        terms.append((error.mean((2, 3)) * weight).mean(0))
    return torch.stack(terms)


def heatmap_loss(
    stages: Sequence[Tensor],
    keypoints_input: Tensor,
    weight: Tensor,
    stride: float,
    sigma_hm: float,
    peak_weight: float = 0.0,
) -> Tensor:
    """Mean squared error of every stage against the same truth: (S,) float32, one term per stage.

    The papers sum the terms. Each is the mean of `joint_losses` over the joints, so that a network which
    answers zero everywhere scores about `pi sigma^2 / (h w)`. Arguments are those of `joint_losses`.
    """
    return joint_losses(stages, keypoints_input, weight, stride, sigma_hm, peak_weight).mean(1)


def coordinate_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared distance () float32 of labelled joints.

    Args:
        predicted, target: (B, J, 2) in the same unit.
        weight: (B, J), 0 where a joint is not labelled.

    Source: DeepPose's L2 loss with missing joints left out.
    """
    squared = ((predicted.float() - target) ** 2).sum(-1)
    return (squared * weight).sum() / weight.sum().clamp_min(1)
