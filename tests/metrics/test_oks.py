import contextlib
import copy
import importlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.metrics.oks import SUMMARY, Crowded, Detections, match, similarity, summarise
from hourglass.skeleton import COCO17

DATA = os.environ.get("HOURGLASS_DATA", "")

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


def ours(content: dict[str, Any], results: list[dict[str, Any]], weights: Any = None) -> Any:
    """The ten numbers by our code; NaN where COCO says -1."""
    matches, images = ours_matched(content, results)
    return summarise(matches, np.ones((1, images)) if weights is None else weights)


def ours_matched(content: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Any, int]:
    numbers = {key: n for n, key in enumerate(sorted(p["id"] for p in content["images"]))}
    entries = content["annotations"]
    triples = np.array([e["keypoints"] for e in entries], float).reshape(-1, 17, 3)
    people = Crowded(
        keypoints=triples[..., :2],
        visibility=triples[..., 2].astype(np.uint8),
        area=np.array([e["area"] for e in entries], float),
        box=np.array([e["bbox"] for e in entries], float),
        crowd=np.array([e["iscrowd"] == 1 for e in entries]),
        image=np.array([numbers[e["image_id"]] for e in entries]),
        images=len(numbers),
        sigmas=SIGMAS,
    )
    found = np.array([r["keypoints"] for r in results], float).reshape(-1, 17, 3)
    detections = Detections(
        found[..., :2],
        np.array([r["score"] for r in results], float),
        np.array([numbers[r["image_id"]] for r in results], np.int64),
    )
    return match(people, detections), len(numbers)


def plain_oks(detected: Any, entry: dict[str, Any]) -> float:
    """COCO's definition, joint by joint."""
    total, count = 0.0, 0
    x, y, w, h = entry["bbox"]
    labelled = [entry["keypoints"][3 * j + 2] > 0 for j in range(17)]
    for j in range(17):
        dx, dy = detected[j][0] - entry["keypoints"][3 * j], detected[j][1] - entry["keypoints"][3 * j + 1]
        if not any(labelled):
            dx = max(0.0, (x - w) - detected[j][0]) + max(0.0, detected[j][0] - (x + 2 * w))
            dy = max(0.0, (y - h) - detected[j][1]) + max(0.0, detected[j][1] - (y + 2 * h))
        elif not labelled[j]:
            continue
        total += np.exp(-(dx * dx + dy * dy) / (2 * entry["area"] * (2 * SIGMAS[j]) ** 2))
        count += 1
    return total / count


def plain_ap(
    content: dict[str, Any], results: list[dict[str, Any]], threshold: float, low: float, high: float
) -> tuple[float, float]:
    """Average precision and recall at one OKS and one range of areas, in loops, from COCO's description."""
    people = 0
    outcome: list[tuple[float, bool]] = []
    for picture in content["images"]:
        entries = [e for e in content["annotations"] if e["image_id"] == picture["id"]]
        aside = [
            bool(e["iscrowd"] or e["num_keypoints"] == 0 or not low <= e["area"] <= high) for e in entries
        ]
        people += aside.count(False)
        mine = sorted(
            (r for r in results if r["image_id"] == picture["id"]), key=lambda r: r["score"], reverse=True
        )[:20]
        free = [True] * len(entries)
        for result in mine:
            points = np.array(result["keypoints"]).reshape(-1, 3)[:, :2]
            best, chosen = threshold, None
            for wanted in (False, True):
                for n, entry in enumerate(entries):
                    usable = aside[n] == wanted and (free[n] or entry["iscrowd"])
                    if chosen is None or aside[chosen] == wanted:
                        similarity_here = plain_oks(points, entry) if usable else -1.0
                        if usable and similarity_here >= best:
                            best, chosen = similarity_here, n
            if chosen is not None:
                free[chosen] = False
                if not aside[chosen]:
                    outcome.append((result["score"], True))
                continue
            size = points.max(0) - points.min(0)
            if low <= size[0] * size[1] <= high:
                outcome.append((result["score"], False))
    if not people:
        return float("nan"), float("nan")
    outcome.sort(key=lambda pair: -pair[0])
    hit, curve = 0, []
    for n, (_, right) in enumerate(outcome):
        hit += right
        curve.append((hit / people, hit / (n + 1)))
    precision = [max((p for r, p in curve if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(precision)), hit / people


def plain(content: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    steps = [0.5 + 0.05 * n for n in range(10)]
    sizes = {"all": (0, 1e10), "M": (32**2, 96**2), "L": (96**2, 1e10)}
    tables = {name: [plain_ap(content, results, t, *size) for t in steps] for name, size in sizes.items()}
    found: list[Any] = []
    for which in (0, 1):
        numbers = {name: [pair[which] for pair in table] for name, table in tables.items()}
        found += [np.mean(numbers["all"]), numbers["all"][0], numbers["all"][5]]
        found += [np.mean(numbers["M"]), np.mean(numbers["L"])]
    return [float(f) for f in found]


def test_the_sigmas_are_cocos() -> None:
    np.testing.assert_allclose(COCO17.oks_sigmas or (), SIGMAS)


def test_similarity_by_hand() -> None:
    # Area 100; a nose off by k = 2 x 0.026 x 10 gives exp(-1/2), an eye that is right gives 1.
    points = np.zeros((1, 17, 2))
    flags = np.zeros((1, 17), np.uint8)
    flags[0, :2] = 2, 1
    people = Crowded(
        points, flags, np.array([100.0]), np.zeros((1, 4)), np.array([False]), np.array([0]), 1, SIGMAS
    )
    detected = np.full((2, 17, 2), 999.0)
    detected[:, :2] = 0
    detected[1, 0] = 2 * 0.026 * 10, 0
    oks = similarity(detected, people, np.array([0]))
    np.testing.assert_allclose(oks[:, 0], [1, (np.exp(-0.5) + 1) / 2])


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_plain_loops(seed: int) -> None:
    content = generated(seed)
    results = perturbed(content, seed)
    np.testing.assert_allclose(ours(content, results)[0], plain(content, results), atol=1e-9)


def test_perfect_answers_get_1_and_none_get_0() -> None:
    content = generated(3)
    exact: list[dict[str, Any]] = [
        {"image_id": e["image_id"], "keypoints": e["keypoints"], "score": 0.5}
        for e in content["annotations"]
        if e["num_keypoints"]
    ]
    np.testing.assert_allclose(ours(content, exact)[0], 1)
    np.testing.assert_allclose(ours(content, [])[0], 0)


def test_nobody_of_a_size_is_not_a_score() -> None:
    points = np.arange(34.0).reshape(17, 2)
    content = generated(1)
    content["annotations"] = [annotation(1, 1, points, [2] * 17, 50.0**2)]
    result = {"image_id": 1, "keypoints": content["annotations"][0]["keypoints"], "score": 1.0}
    found = dict(zip(SUMMARY, ours(content, [result])[0].tolist(), strict=True))
    assert found["APM"] == pytest.approx(1)
    assert np.isnan([found["APL"], found["ARL"]]).all()


def test_only_the_best_twenty_of_a_picture_count() -> None:
    points = np.linspace(0, 300, 34).reshape(17, 2)
    content = generated(1)
    content["annotations"] = [annotation(1, 1, points, [2] * 17, 200.0**2)]
    right: dict[str, Any] = {"image_id": 1, "keypoints": content["annotations"][0]["keypoints"], "score": 0.1}
    wrong = {"image_id": 1, "keypoints": (np.array(right["keypoints"]) + 5000).tolist(), "score": 0.9}
    assert ours(content, [wrong] * 19 + [right])[0][0] == pytest.approx(1 / 20)
    assert ours(content, [wrong] * 20 + [right])[0][0] == 0


@pytest.mark.parametrize("seed", range(6))
def test_weights_mean_that_a_picture_occurs_so_often(seed: int) -> None:
    content = generated(seed)
    results = [{**r, "score": n / 1000} for n, r in enumerate(perturbed(content, seed))]
    times = np.random.default_rng(seed).integers(0, 4, len(content["images"]))
    copies: dict[str, Any] = {"images": [], "annotations": [], "categories": content["categories"]}
    repeated = []
    for picture, count in zip(content["images"], times, strict=True):
        for copy_number in range(count):
            key = 100 * picture["id"] + copy_number
            copies["images"].append({**picture, "id": key})
            copies["annotations"] += [
                {**e, "image_id": key} for e in content["annotations"] if e["image_id"] == picture["id"]
            ]
            repeated += [{**r, "image_id": key} for r in results if r["image_id"] == picture["id"]]
    if not any(e["num_keypoints"] for e in copies["annotations"]):
        pytest.skip("nobody was drawn")
    weighted = ours(content, results, times[None].astype(float))[0]
    np.testing.assert_allclose(weighted, ours(copies, repeated)[0], atol=1e-9)


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


@pytest.mark.parametrize("package", PACKAGES)
def test_equals_the_evaluators_of_coco_on_generated_cases(package: str) -> None:
    pytest.importorskip(package)
    for seed in range(60):
        content = generated(seed // 4, images=4)
        results = perturbed(content, seed)
        if results:
            found, wanted = ours(content, results)[0], theirs(package, content, results)
            np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=f"seed {seed}")


@pytest.mark.realdata
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("file", "seeds"),
    [("mmpose/test_coco.json", 200), ("annotations/person_keypoints_train2017.json", 20)],
    ids=["mmpose", "train2017"],
)
def test_equals_the_evaluators_of_coco_on_real_files(package: str, file: str, seeds: int) -> None:
    pytest.importorskip(package)
    content = json.loads((Path(DATA) / "coco" / file).read_text())
    for seed in range(seeds):
        results = perturbed(content, seed)
        found, wanted = ours(content, results)[0], theirs(package, content, results)
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=f"seed {seed}")
