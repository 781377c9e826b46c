"""COCO annotations and results drawn at random, and the two evaluators that others use."""

import contextlib
import copy
import importlib
import io
from typing import Any

import numpy as np

from hourglass.core.skeleton import COCO17

# FACTS, E1.
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def annotation(
    number: int, image: int, points: Any, flags: Any, area: float, crowd: int = 0
) -> dict[str, Any]:
    points, flags = np.asarray(points, float), np.asarray(flags)
    low, size = points.min(0), points.max(0) - points.min(0)
    triples = np.column_stack([np.where(flags[:, None] > 0, points, 0), flags])
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": crowd,
        "area": area,
        "bbox": [*low.tolist(), *size.tolist()],
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": triples.ravel().tolist(),
        # Detectors' boxes and masks: not looked at, but the other evaluators want one.
        "segmentation": [],
    }


def generated(seed: int, images: int = 5) -> dict[str, Any]:
    """COCO annotations: small and large people, crowds, people without joints, pictures without people."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 5)):
            side = float(rng.choice([20, 60, 90, 200, 400]))
            points = rng.uniform(0, 400, 2) + rng.uniform(0, side, (17, 2))
            flags = rng.choice([0, 1, 2], 17, p=[0.3, 0.2, 0.5])
            crowd = int(rng.random() < 0.1)
            if crowd or rng.random() < 0.15:
                flags[:] = 0
            number = len(annotations) + 1
            annotations.append(annotation(number, image, points, flags, 0.4 * side**2, crowd))
    if not annotations:
        return generated(seed + 10_000, images)
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    pictures = [{"id": i, "file_name": f"{i}.jpg", "width": 900, "height": 900} for i in range(1, images + 1)]
    return {"info": {}, "images": pictures, "annotations": annotations, "categories": [category]}


def perturbed(content: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Results around the annotations: near, far, several for one person, missing, invented, equally sure."""
    rng = np.random.default_rng(seed)
    results = []
    noise = float(rng.choice([0.01, 0.03, 0.08, 0.2]))
    coarse = rng.random() < 0.3
    for entry in content["annotations"]:
        for _ in range(int(rng.choice([0, 1, 2, 12], p=[0.1, 0.6, 0.25, 0.05]))):
            points = np.array(entry["keypoints"]).reshape(-1, 3)[:, :2]
            box = np.array(entry["bbox"])
            unlabelled = (points == 0).all(1)
            points[unlabelled] = box[:2] + rng.random((int(unlabelled.sum()), 2)) * box[2:]
            scale = noise * np.sqrt(entry["area"]) * rng.choice([0.3, 1, 3])
            results.append((entry["image_id"], points + rng.normal(0, scale, points.shape)))
    for picture in content["images"]:
        for _ in range(int(rng.integers(0, 2))):
            results.append(
                (picture["id"], rng.uniform(0, 500, 2) + rng.uniform(0, 300) * rng.random((17, 2)))
            )
    order = rng.permutation(len(results))
    scores = rng.random(len(results))
    scores = np.round(scores, 1) if coarse else scores
    return [
        {
            "image_id": results[n][0],
            "category_id": 1,
            "keypoints": np.column_stack([results[n][1], np.ones(17)]).ravel().tolist(),
            "score": float(scores[n]),
        }
        for n in order
    ]


def theirs(package: str, content: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """The ten numbers by pycocotools or faster-coco-eval, on copies, as both write into what they get."""
    if package == "pycocotools":
        coco_class = importlib.import_module("pycocotools.coco").COCO
        evaluator_class = importlib.import_module("pycocotools.cocoeval").COCOeval
    else:
        module = importlib.import_module("faster_coco_eval")
        coco_class, evaluator_class = module.COCO, module.COCOeval_faster
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_class()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        evaluator = evaluator_class(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    stats = np.array(evaluator.stats, float)[:10]
    return np.where(stats < 0, np.nan, stats)


PACKAGES = ("pycocotools", "faster_coco_eval")
