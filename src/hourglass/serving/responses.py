"""Poses as a response's JSON, with each stack's own answer and heatmaps where they were asked for."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hourglass.core.geometry import apply, crop_matrix
from hourglass.inference.forward import read_stage
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Request
from hourglass.serving.requests import Ask
from hourglass.weights.checkpoint import WeightFacts

Numbers = npt.NDArray[np.float32]


def answer_json(
    ask: Ask, pictures: Sequence[Request], poses: Sequence[Sequence[Pose]], facts: WeightFacts
) -> dict[str, Any]:
    """The body of a good answer: `model`, `skeleton`, and per picture its size and people."""
    images = []
    for picture, people in zip(pictures, poses, strict=True):
        height, width = picture.image.shape[:2]
        rows = [_person(ask, pose, facts) for pose in people]
        images.append({"name": picture.image_id, "width": width, "height": height, "people": rows})
    return {"model": facts.name, "skeleton": facts.skeleton.to_dict(), "images": images}


def stage_joints(pose: Pose, facts: WeightFacts) -> list[tuple[Numbers, Numbers]]:
    """Per stack its own joints (J, 2) in the picture's pixels, and scores (J,); the last is the pose itself.

    Needs a pose that was predicted with `keep_heatmaps=True`.
    """
    size = facts.input_px
    side = float(pose.box[2])
    center = pose.box[:2].astype(np.float64) + side / 2 - 0.5
    back = np.linalg.inv(crop_matrix(center, side, size))
    found = []
    for stage in (pose.heatmaps or ())[:-1]:
        answer = read_stage(torch.from_numpy(stage)[None], facts, size)
        points = apply(np.asarray(back, np.float64), answer.keypoints[0].numpy())
        found.append((points.astype(np.float32), answer.scores[0].numpy()))
    return [*found, (pose.keypoints, pose.scores)]


def _person(ask: Ask, pose: Pose, facts: WeightFacts) -> dict[str, Any]:
    row = pose.to_dict()
    if ask.stages:
        row["stages"] = [
            _joints(pose, points, scores, number)
            for number, (points, scores) in enumerate(stage_joints(pose, facts), 1)
        ]
    if ask.heatmaps:
        maps = enumerate(pose.heatmaps or (), 1)
        row["heatmaps"] = [{"stage": number, **_packed(stage)} for number, stage in maps]
    return row


def _joints(pose: Pose, points: Numbers, scores: Numbers, number: int) -> dict[str, Any]:
    joints = {
        name: {"x": round(float(x), 4), "y": round(float(y), 4), "score": round(float(score), 4)}
        for name, (x, y), score in zip(pose.skeleton.joints, points, scores, strict=True)
    }
    return {"stage": number, "score": round(float(scores.mean()), 4), "joints": joints}


def _packed(stage: Numbers) -> dict[str, Any]:
    """Heatmaps (J, h, w) as bytes: `low + byte / 255 * (high - low)`."""
    low, high = float(stage.min()), float(stage.max())
    scale = 255 / (high - low) if high > low else 0.0
    data = np.rint((stage - low) * scale).astype(np.uint8)
    return {
        "shape": list(stage.shape),
        "low": round(low, 6),
        "high": round(high, 6),
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }
