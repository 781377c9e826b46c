"""OKS of what a network answers in annotated and in detected boxes."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coco_colours import CATEGORY, write_colours
from colours import FACTS, RGB, Colours
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.coco import load_records, parse
from hourglass.data.formats.photos import detections_of
from hourglass.evaluation.evaluate import Predictions, predict_records
from hourglass.evaluation.evaluate_coco import (
    check_labelled,
    check_sigmas,
    load_boxes,
    read_truth,
    results_of,
    save_results,
    score_oks,
)
from hourglass.evaluation.metrics.oks import SUMMARY
from hourglass.evaluation.metrics.scores import NotApplicable
from hourglass.evaluation.scoring import predictions as scoring_predictions
from hourglass.evaluation.scoring import truth as scoring_truth
from hourglass.evaluation.scoring.report import ScoreRequest, as_report, score_all
from oks_cases import PACKAGES, theirs


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    annotations, photos, boxes = write_colours(tmp_path_factory.mktemp("coco"))
    return SimpleNamespace(
        annotations=annotations,
        photos=photos,
        boxes=boxes,
        content=json.loads(annotations.read_text()),
        file=read_truth(annotations),
    )


def by_score_command(annotations: Path, results: Path) -> Any:
    """What `hourglass score RESULTS --truth ANNOTATIONS --protocol coco` reports."""
    truth = scoring_truth.read_truth(annotations)
    found = scoring_predictions.read_predictions(results, truth)
    request = ScoreRequest("coco")
    report = as_report(*score_all(request, truth, found), truth, found, None, request)
    return report["protocols"]["coco"]["scores"]["OKS"]


def test_annotated_boxes_of_a_perfect_network(coco: SimpleNamespace) -> None:
    records = load_records(coco.annotations, coco.photos)
    answer = predict_records(Colours().eval(), FACTS, records)
    results = results_of(answer, records, coco.file)
    found = score_oks(coco.file, results)
    assert found["scores"] == {**dict.fromkeys(SUMMARY, 100.0)}
    assert (found["people"], found["pictures"], found["detections"]) == (5, 6, 5)
    assert [r["image_id"] for r in results] == [200, 199, 198, 197, 196]
    assert [r["score"] for r in results] == pytest.approx(answer.scores.mean(1).tolist())


def test_detected_boxes_lead_to_joints_in_the_pictures_pixels(coco: SimpleNamespace) -> None:
    found = load_boxes(coco.file, coco.photos, coco.boxes)
    answer = predict_records(Colours().eval(), FACTS, found.records)
    results = results_of(answer, found.records, coco.file, found)
    for result, entry in zip(results[:5], coco.content["annotations"], strict=True):
        joints = np.array(result["keypoints"]).reshape(3, 3)
        np.testing.assert_allclose(joints[:, :2], np.array(entry["keypoints"]).reshape(3, 3)[:, :2], atol=0.6)
        assert (result["image_id"], result["category_id"]) == (entry["image_id"], 4)
    np.testing.assert_array_equal(
        np.array(results[3]["keypoints"])[2::3].astype(np.float32), answer.scores[3]
    )
    # The black photo has a sixth answer, which is wrong and the least sure of all.
    boxes = json.loads(coco.boxes.read_text())
    wanted = [box["score"] * row.mean() for box, row in zip(boxes, answer.scores.astype(float), strict=True)]
    assert [r["score"] for r in results] == pytest.approx(wanted)
    assert (results[5]["image_id"], results[5]["score"]) == (7, 0)
    assert score_oks(coco.file, results)["scores"]["AP"] == 100
    # Were it the surest, it would be counted first: 1/2, 2/3 ... 5/6 of the answers right, the best of those
    # at or beyond each recall.
    surest = [*results[:5], {**results[5], "score": 2.0}]
    assert score_oks(coco.file, surest)["scores"]["AP"] == pytest.approx(100 * 5 / 6, abs=1e-3)


def test_the_boxes_score_decides_between_two_answers(coco: SimpleNamespace) -> None:
    found = detections_of(coco.file, coco.photos, coco.boxes)
    answer = predict_records(Colours().eval(), FACTS, found.records)
    sure = replace(found, scores=np.array([1.0, 1, 1, 1, 1, 1000]))
    # The sixth network score is 0, whatever the box says; give the joints some.
    other = replace(answer, scores=np.maximum(answer.scores, np.float32(0.01)))
    assert score_oks(coco.file, results_of(other, found.records, coco.file, found))["scores"]["AP"] == 100
    assert score_oks(coco.file, results_of(other, found.records, coco.file, sure))["scores"]["AP"] < 90


def spread(records: list[PersonRecord], content: Any, seed: int) -> Predictions:
    """Answers near, far and wide of somebody in the same picture, in another order than the records."""
    rng = np.random.default_rng(seed)
    joints = len(records[0].skeleton)
    keypoints = np.zeros((len(records), joints, 2))
    names = {p["id"]: p["file_name"] for p in content["images"]}
    for n, record in enumerate(records):
        there = [e for e in content["annotations"] if names[e["image_id"]] == record.image_id]
        entry = there[int(rng.integers(len(there)))] if there else content["annotations"][0]
        points = np.array(entry["keypoints"], float).reshape(-1, 3)[:, :2]
        keypoints[n] = points + rng.normal(0, rng.choice([0.5, 4, 20]), points.shape)
    order = rng.permutation(len(records))
    return Predictions(
        person_id=np.array([records[n].person_id for n in order], np.int64),
        image_id=tuple(records[n].image_id for n in order),
        keypoints=keypoints[order].astype(np.float32),
        scores=rng.random((len(records), joints)).astype(np.float32),
        skeleton=records[0].skeleton,
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("detected", [False, True])
def test_the_file_of_results_gets_the_very_same_numbers(
    coco: SimpleNamespace, tmp_path: Path, seed: int, detected: bool
) -> None:
    found = load_boxes(coco.file, coco.photos, coco.boxes) if detected else None
    records = load_records(coco.annotations, coco.photos) if found is None else found.records
    results = results_of(spread(records, coco.content, seed), records, coco.file, found)
    save_results(tmp_path / "results.json", results)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    ours = score_oks(coco.file, results)["scores"]
    assert ours == by_score_command(coco.annotations, tmp_path / "results.json")
    assert 0 < ours["AP"] < 100


@pytest.mark.realdata
@pytest.mark.parametrize("package", PACKAGES)
def test_real_boxes_get_the_very_same_numbers_everywhere(
    real_data: Path, tmp_path: Path, package: str
) -> None:
    pytest.importorskip(package)
    root = real_data / "coco" / "mmpose"
    annotations, boxes = root / "test_coco.json", root / "test_coco_det_AP_H_56.json"
    file, content = read_truth(annotations), json.loads(annotations.read_text())
    found = load_boxes(file, root, boxes, min_score=0.01)
    for seed in range(5):
        results = results_of(spread(found.records, content, seed), found.records, file, found)
        save_results(tmp_path / "results.json", results)
        ours = score_oks(file, results)["scores"]
        assert ours == by_score_command(annotations, tmp_path / "results.json")
        wanted = theirs(package, content, results)
        np.testing.assert_allclose([ours[name] for name in SUMMARY], 100 * wanted, atol=6e-4)


def test_the_order_of_the_answers_does_not_matter(coco: SimpleNamespace) -> None:
    found = load_boxes(coco.file, coco.photos, coco.boxes)
    answer = spread(found.records, coco.content, 0)
    turned = Predictions(
        answer.person_id[::-1],
        answer.image_id[::-1],
        answer.keypoints[::-1],
        answer.scores[::-1],
        RGB,
    )
    one, other = (results_of(a, found.records, coco.file, found) for a in (answer, turned))
    assert one == other
    with pytest.raises(ValueError, match=r"no prediction for person 0 in 0\.png"):
        results_of(replace(answer, image_id=("else.png",) * 6), found.records, coco.file, found)


def parsed(content: Any, **category: Any) -> Any:
    data = json.loads(json.dumps(content))
    data["categories"][0] = {k: v for k, v in {**CATEGORY, **category}.items() if v is not None}
    return parse(data, Path("people.json"))


def test_what_cannot_be_scored_says_what_to_do(coco: SimpleNamespace) -> None:
    without = parsed(coco.content, sigmas=None)
    message = r"'rgb3' has no OKS sigmas; add 'sigmas', one number for each of the 3 joints, .*people\.json"
    with pytest.raises(NotApplicable, match=message):
        check_sigmas(without)
    with pytest.raises(NotApplicable, match=message):
        score_oks(without, [])
    check_sigmas(coco.file)
    bare = json.loads(json.dumps(coco.content))
    for entry in bare["annotations"]:
        entry["keypoints"] = [0] * 9
    bare["annotations"].append({**coco.content["annotations"][0], "id": 1, "iscrowd": 1})
    with pytest.raises(NotApplicable, match=r"people\.json labels nobody's joints.*`hourglass predict`"):
        check_labelled(parsed(bare))
    check_labelled(coco.file)


def test_a_file_without_annotations_has_nobody(coco: SimpleNamespace, tmp_path: Path) -> None:
    content = {k: v for k, v in coco.content.items() if k != "annotations"}
    (tmp_path / "image_info.json").write_text(json.dumps(content))
    assert len(read_truth(tmp_path / "image_info.json").people) == 0


def test_a_split_that_annotations_name(coco: SimpleNamespace, tmp_path: Path) -> None:
    content = json.loads(json.dumps(coco.content))
    for n, entry in enumerate(content["annotations"]):
        entry["split"] = "train" if n < 2 else "val"
    (tmp_path / "people.json").write_text(json.dumps(content))
    file = read_truth(tmp_path / "people.json", "val")
    found = load_boxes(file, coco.photos, coco.boxes)
    # Boxes in the photos of the others, and of nobody, aren't looked at.
    assert [r.person_id for r in found.records] == [2, 3, 4]
    assert found.scores.tolist() == pytest.approx([0.7, 0.6, 0.5])
    results = results_of(spread(found.records, content, 1), found.records, file, found)
    assert {r["image_id"] for r in results} == {198, 197, 196}
    assert score_oks(file, results)["people"] == 3
    train = read_truth(tmp_path / "people.json", "train")
    (tmp_path / "boxes.json").write_text(json.dumps(json.loads(coco.boxes.read_text())[2:]))
    with pytest.raises(ValueError, match=r"boxes\.json has no box in a picture of the split 'train'"):
        load_boxes(train, coco.photos, tmp_path / "boxes.json")
