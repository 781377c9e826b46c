import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17
from hourglass.evaluation.metrics.oks import SUMMARY, Crowded, Detections, match, similarity, summarise
from oks_cases import PACKAGES, SIGMAS, annotation, generated, perturbed, theirs

DATA = os.environ.get("HOURGLASS_DATA", "")


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
    [
        ("mmpose/test_coco.json", 60),
        pytest.param("annotations/person_keypoints_train2017.json", 20, marks=pytest.mark.slow),
        pytest.param("annotations/person_keypoints_train2017.json", 200, marks=pytest.mark.slow),
    ],
    ids=["mmpose", "train2017", "train2017-often"],
)
def test_equals_the_evaluators_of_coco_on_real_files(package: str, file: str, seeds: int) -> None:
    pytest.importorskip(package)
    content = json.loads((Path(DATA) / "coco" / file).read_text())
    for seed in range(seeds):
        results = perturbed(content, seed)
        found, wanted = ours(content, results)[0], theirs(package, content, results)
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=f"seed {seed}")
