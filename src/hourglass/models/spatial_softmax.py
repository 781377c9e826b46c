"""Answers as distributions over cells: spatial softmax, its loss, and when to feed a chain the truth.

Logits and probabilities are (B, J, h, w), one map per joint; coordinates are heatmap cells as in `heatmap`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from hourglass.models import heatmap

LEAST_SHARE = 1e-3
"""A joint counts when at least this share of its Gaussian lies on the map: up to about 3.5 sigma outside."""

_TINY = 1e-10
_DRAW = 0x7EAC4E12
"""Keeps these draws apart from whatever else is keyed by (seed, step)."""


def spatial_softmax(logits: Tensor) -> Tensor:
    """Probabilities (B, J, h, w), each map summing to one; at least float32, also under autocast."""
    maps = _at_least_float32(logits)
    return maps.flatten(2).softmax(-1).reshape(maps.shape)


def normalise_maps(maps: Tensor) -> Tensor:
    """Non-negative maps (B, J, h, w), each scaled to the sum one; an empty one stays zero."""
    maps = _at_least_float32(maps)
    mass = maps.sum((-1, -2), keepdim=True)
    full = mass > _TINY
    return torch.where(full, maps / torch.where(full, mass, 1.0), 0.0)


def cross_entropy(logits: Tensor, keypoints_hm: Tensor, sigma_hm: float, weight: Tensor) -> Tensor:
    """Cross-entropy of each joint's map against its Gaussian, in nats: (J,) float32, also under autocast.

    Each term is the weighted mean over the batch, 0 for a joint that nobody shows. The target is
    `heatmap.encode` divided by its sum, so a perfect answer scores the Gaussian's entropy, about
    `1 + ln(2 pi sigma^2)`, and an even one `ln(h w)`.

    Args:
        logits: (B, J, h, w), any float dtype.
        keypoints_hm: (B, J, 2) heatmap cells; may be anything, NaN included, where the weight is 0.
        sigma_hm: standard deviation of the target in cells.
        weight: (B, J), 0 where a joint is not labelled. A joint with less than `LEAST_SHARE` of its
            Gaussian on the map gets none either: its target would be noise, or 0 / 0.

    Source: Chained Predictions (arXiv 1605.02346) for softmax over locations; the Gaussian target is ours.
    """
    height, width = logits.shape[-2:]
    log_probability = logits.float().flatten(2).log_softmax(-1)
    target = heatmap.encode(keypoints_hm, height, width, sigma_hm).flatten(2)
    mass = target.sum(-1)
    # A comparison with NaN is false. Targets are cleaned before they meet the logits, not after: 0 times
    # NaN would still be NaN in the gradient.
    counts = mass > LEAST_SHARE * 2 * math.pi * sigma_hm**2
    target = torch.where(counts.unsqueeze(-1), target / torch.where(counts, mass, 1.0).unsqueeze(-1), 0.0)
    share = torch.where(counts, weight.float(), 0.0)
    total = share.sum(0)
    terms = -(target * log_probability).sum(-1)
    return (terms * share).sum(0) / torch.where(total > 0, total, 1.0)


def unit_peak(probabilities: Tensor, sigma_hm: float) -> Tensor:
    """Probabilities times `2 pi sigma^2`: a perfect answer peaks at about 1, like the heatmaps of `encode`.

    Decoding and scores then mean the same as for a network that answers heatmaps. A network surer than
    its target of `sigma_hm` cells peaks above 1.
    """
    return probabilities * (2 * math.pi * sigma_hm**2)


def scheduled_truth(step: int, total_steps: int, batch: int, joints: int, seed: int, decay: float) -> Tensor:
    """Which predictions of a chain to replace by the truth in this step: (batch, joints) bool, on the CPU.

    Each is drawn by itself, with a probability that falls from 1 in step 0 in a straight line to 0 after
    the share `decay` of the run, and stays there. The draw is a function of (seed, step) alone, so a resumed
    run draws what an uninterrupted one would have.

    Args:
        step: 0 or more; the steps already taken.
        total_steps: length of the run, 1 or more.
        decay: in 0..1; 0 never feeds the truth.
        seed: of the run, 0 or more.

    Raises ValueError naming the argument that lies outside. Source: scheduled sampling with the linear
    decay of Bengio et al. 2015.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be a share of the run between 0 and 1, not {decay}")
    if step < 0 or total_steps < 1:
        raise ValueError(
            f"step {step} of total_steps {total_steps}: steps start at 0 and a run has 1 or more"
        )
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if not decay:
        return torch.zeros(batch, joints, dtype=torch.bool)
    probability = 1 - step / (decay * total_steps)
    draw = np.random.default_rng((_DRAW, seed, step)).random((batch, joints))
    return torch.from_numpy(draw < probability)


def _at_least_float32(maps: Tensor) -> Tensor:
    return maps.to(torch.promote_types(maps.dtype, torch.float32))
