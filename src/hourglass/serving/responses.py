"""Poses as a response's JSON, with each stack's own answer and heatmaps where they were asked for."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Request
from hourglass.serving.requests import Ask
from hourglass.weights.facts import WeightFacts

Numbers = npt.NDArray[np.float32]


def answer_json(
    ask: Ask, pictures: Sequence[Request], poses: Sequence[Sequence[Pose]], facts: WeightFacts
) -> dict[str, Any]:
    """The body of a good answer: `model`, `skeleton`, and per picture its size and people."""
    images = []
    for picture, people in zip(pictures, poses, strict=True):
        height, width = picture.image.shape[:2]
        rows = [_person(ask, pose) for pose in people]
        images.append({"name": picture.image_id, "width": width, "height": height, "people": rows})
    return {"model": facts.name, "skeleton": facts.skeleton.to_dict(), "images": images}


def _person(ask: Ask, pose: Pose) -> dict[str, Any]:
    row = pose.to_dict()
    if ask.stages:
        row["stages"] = [
            _joints(pose, stage.keypoints, stage.scores, number)
            for number, stage in enumerate(pose.stages or (), 1)
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
