"""OKS of COCO's two files as our readers see them, against other evaluators and by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.data.formats.coco import CocoFile, parse, read_file
from hourglass.evaluation.metrics.oks import SUMMARY
from hourglass.evaluation.metrics.protocols import COCO
from hourglass.evaluation.metrics.scores import NotApplicable, evaluate_protocol
from hourglass.evaluation.scoring.truth import read_coco_truth, read_results, truth_of
from oks_cases import PACKAGES, SIGMAS, annotation, generated, perturbed, theirs

NAN = float("nan")


def ours(truth: CocoFile, results: list[dict[str, Any]]) -> Any:
    """The ten numbers, 0 to 1."""
    found = read_results(Path("results.json"), results, truth.people.skeleton, truth.keys, truth.categories)
    return evaluate_protocol(COCO, truth.people, detections=found).values / 100


@pytest.mark.realdata
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("mmpose/test_coco.json", 50),
        pytest.param("annotations/person_keypoints_train2017.json", 5, marks=pytest.mark.slow),
    ],
    ids=["mmpose", "train2017"],
)
def test_real_files_get_the_numbers_of_cocos_evaluators(
    real_data: Path, package: str, name: str, seeds: int
) -> None:
    pytest.importorskip(package)
    file = real_data / "coco" / name
    truth, content = truth_of(read_file(file)), json.loads(file.read_text())
    for seed in range(1000, 1000 + seeds):
        results = perturbed(content, seed)
        wanted = theirs(package, content, results)
        np.testing.assert_allclose(ours(truth, results), wanted, atol=1e-6, err_msg=f"seed {seed}")


@pytest.mark.parametrize("package", PACKAGES)
def test_generated_files_get_the_numbers_of_cocos_evaluators(package: str) -> None:
    pytest.importorskip(package)
    for seed in range(40):
        content = generated(seed, images=4)
        results = perturbed(content, seed)
        if results:
            found = ours(truth_of(parse(content, Path("people.json"))), results)
            np.testing.assert_allclose(
                found, theirs(package, content, results), atol=1e-6, err_msg=f"seed {seed}"
            )


# By hand: one person who is found, and something beside.

GRID = np.stack(np.meshgrid(np.arange(17.0) * 5, [0.0]), -1)[0] + 100
"""17 joints in a row, x 100 to 180, y 100."""


K = 2 * SIGMAS
STEPS = np.arange(50, 100, 5) / 100


def scene(*more: dict[str, Any]) -> dict[str, Any]:
    content = generated(1)
    content["annotations"] = [annotation(1, 1, GRID, [2] * 17, 80.0**2), *more]
    return content


def answer(points: Any, score: float, image: int = 1) -> dict[str, Any]:
    triples = np.column_stack([np.broadcast_to(points, (17, 2)), np.ones(17)])
    return {"image_id": image, "category_id": 1, "keypoints": triples.ravel().tolist(), "score": score}


def precision(content: dict[str, Any], *answers: dict[str, Any]) -> float:
    truth = truth_of(parse(content, Path("people.json")))
    return float(ours(truth, [answer(GRID, 0.5), *answers])[0])


AWAY = GRID + 1000
FALSE = answer(AWAY, 0.9)
"""A surer answer where nobody is."""


def test_a_false_answer_costs_half() -> None:
    assert precision(scene()) == pytest.approx(1)
    # One right among two, at every recall.
    assert precision(scene(), FALSE) == pytest.approx(0.5)
    # Less sure than the right one it costs nothing.
    assert precision(scene(), answer(AWAY, 0.1)) == pytest.approx(1)


def test_any_number_of_answers_may_lie_in_a_crowd() -> None:
    crowd = annotation(2, 1, AWAY, [0] * 17, 80.0**2, crowd=1)
    crowd["bbox"] = [1090, 1090, 100, 20]
    assert precision(scene(crowd), FALSE, FALSE, FALSE) == pytest.approx(1)
    # Of somebody who only has no joints, one may; the others are false.
    bare = {**crowd, "iscrowd": 0}
    assert precision(scene(bare), FALSE) == pytest.approx(1)
    assert precision(scene(bare), FALSE, FALSE) == pytest.approx(0.5)


def test_around_people_without_joints_the_box_counts_doubled() -> None:
    bare = annotation(2, 1, AWAY, [0] * 17, 80.0**2)
    bare["bbox"] = [1180, 1095, 40, 10]
    # The doubled box begins at 1140; the joints before that are off, which is no excuse at strict thresholds.
    off = np.maximum(0, 1140 - AWAY[:, 0])
    similarity = np.exp(-(off**2) / (2 * 80.0**2 * K**2)).mean()
    assert 0.6 < similarity < 0.7
    assert precision(scene(bare), FALSE) == pytest.approx(np.where(similarity >= STEPS, 1, 0.5).mean())
    bare["bbox"] = [1180, 1095, 80, 10]
    assert precision(scene(bare), FALSE) == pytest.approx(1)


def test_areas_set_the_tolerance_and_the_size() -> None:
    # 1 px off each: OKS is the mean of exp(-1 / (2 area k^2)).
    for area in (100.0, 1000.0, 2000.0, 9300.0):
        content = scene()
        content["annotations"][0]["area"] = area
        similarity = np.exp(-1 / (2 * area * K**2)).mean()
        truth = truth_of(parse(content, Path("people.json")))
        found = dict(zip(SUMMARY, ours(truth, [answer(GRID + np.array([1, 0]), 0.5)]).tolist(), strict=True))
        assert found["AR"] == pytest.approx(float((similarity >= STEPS).mean()))
        middle = 32**2 <= area <= 96**2
        assert np.isnan(found["APM"]) != middle
        assert np.isnan(found["APL"]) != (area > 96**2)


def test_who_does_not_count_may_lack_an_area_and_gets_that_of_the_box() -> None:
    content = generated(1)
    content["annotations"] = [
        annotation(1, 1, GRID, [2] * 17, 5000.0),
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]},
        {"id": 3, "image_id": 2, "category_id": 1},
    ]
    truth = truth_of(parse(content, Path("people.json")))
    assert truth.people.area is not None
    assert truth.people.area.tolist() == [5000, 1200, 0]
    assert truth.people.box is not None
    assert truth.people.box[2].tolist() == [0, 0, 0, 0]
    assert truth.people.ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("area", "complaint"),
    [
        (None, "annotation 1 has no 'area', which OKS needs"),
        (0, "annotation 1: the 'area' is 0; OKS needs a positive, sensible one"),
        (-3, "annotation 1: the 'area' is -3; OKS needs"),
        (1e30, r"annotation 1: the 'area' is 1e\+30; OKS needs"),
        (NAN, "annotation 1 has no 'area', which OKS needs"),
        (float("inf"), "annotation 1: the 'area' is inf; OKS needs"),
    ],
)
def test_areas_that_make_no_sense(area: Any, complaint: str) -> None:
    other = annotation(2, 1, AWAY, [2] * 17, 400.0)
    content = scene(other)
    content["annotations"][0]["area"] = area
    with pytest.raises(ValueError, match=rf"people\.json: {complaint}"):
        truth_of(parse(content, Path("people.json")))


def test_without_any_area_there_is_no_oks_but_all_else() -> None:
    content = scene()
    del content["annotations"][0]["area"]
    truth = truth_of(parse(content, Path("people.json")))
    with pytest.raises(NotApplicable, match="holds no areas of people"):
        ours(truth, [answer(GRID, 0.5)])


def test_lengths_and_hidden_joints_reach_the_people() -> None:
    content = scene()
    content["annotations"][0]["lengths"] = {"head": 12.5}
    people = truth_of(parse(content, Path("people.json"))).people
    assert people.lengths["head"].tolist() == [12.5]
    assert people.tells_hidden
    content["hourglass"] = {"tells_hidden": False}
    assert not truth_of(parse(content, Path("people.json"))).people.tells_hidden


def test_nobody_is_refused(tmp_path: Path) -> None:
    content = {**generated(1), "annotations": []}
    (tmp_path / "people.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"people\.json annotates nobody of its category 'coco17'"):
        truth_of(read_file(tmp_path / "people.json"))


def test_scoring_takes_the_first_category_with_keypoints() -> None:
    content = scene()
    content["categories"] = [
        {"id": 5, "name": "car"},
        *content["categories"],
        {"id": 9, "name": "dog", "keypoints": ["nose"]},
    ]
    assert read_coco_truth(Path("people.json"), content).categories == (1,)
