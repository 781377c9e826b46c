"""Calibrating on people whose truth is made: what is counted, what is chosen, what is refused."""

import json

import numpy as np
import pytest

from colours import RGB, answers, record
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.evaluation.calibrate import study
from hourglass.evaluation.evaluate import Predictions

SHOULDER, HIP, NOSE = range(3)


def drawn(
    people: int, temperature: float, offset: float, seed: int = 0
) -> tuple[Predictions, list[PersonRecord]]:
    """People with a torso of 100 px; a joint is 10 px off where it is right, else 40."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, (people, 3)).astype(np.float32)
    odds = np.log(scores / (1 - scores)) / temperature + offset
    right = rng.uniform(size=scores.shape) < 1 / (1 + np.exp(-odds))
    truth = np.array([[0, 0], [100, 0], [50, 50]], np.float32)
    places = truth + np.where(right, 10, 40)[..., None] * np.array([0.6, 0.8])
    found = answers(*((i, places[i]) for i in reversed(range(people))))
    records = [record(i, truth) for i in range(people)]
    return (
        Predictions(found.person_id, found.image_id, found.keypoints, scores[::-1].copy(), RGB, "colours"),
        records,
    )


def test_the_truth_that_people_were_drawn_from_is_found_and_told() -> None:
    result = study(*drawn(1500, 0.5, 0.7), "made val")
    np.testing.assert_allclose(result.calibration.temperatures, [0.5] * 3, rtol=0.15)
    np.testing.assert_allclose(result.calibration.offsets, [0.7] * 3, atol=0.2)
    assert result.calibration.event == "within 0.2 torso lengths of the annotation (PCK@0.2)"
    assert (result.calibration.data, result.calibration.people) == ("made val", 1500)
    report = result.report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["chosen"] == "temperature_and_offset"
    kinds = report["kinds"]
    assert kinds["score"]["ece"] > 0.1
    assert kinds["temperature_and_offset"]["ece"] < 0.03
    assert kinds["temperature_and_offset"]["log_loss"] < kinds["temperature"]["log_loss"]
    assert 0 < report["ece_by_chance"] < 0.03
    assert result.before.error == pytest.approx(kinds["score"]["ece"], abs=1e-5)
    assert result.after.error == pytest.approx(kinds["temperature_and_offset"]["ece"], abs=1e-5)
    assert result.before.counts.sum() == sum(row["counted"] for row in report["joints"].values()) == 4500
    assert [row["count"] for row in report["bins"]["score"]] == result.before.counts.tolist()


def test_scores_that_are_probabilities_already_stay_nearly_what_they_are() -> None:
    predictions, records = drawn(1500, 1.0, 0.0)
    result = study(predictions, records, "made val")
    assert np.abs(result.calibration(predictions.scores) - predictions.scores).max() < 0.06


def test_people_and_joints_without_a_truth_are_left_out() -> None:
    predictions, records = drawn(200, 1.0, 0.0)
    whole = study(predictions, records, "made val")
    for i in range(50):  # no hip, no torso
        records[i] = record(i, [[0, 0], [np.nan, np.nan], [50, 50]], (2, 0, 2))
    for i in range(50, 60):
        records[i] = record(i, [[0, 0], [100, 0], [np.nan, np.nan]], (2, 2, 0))
    part = study(predictions, records, "made val")
    assert (whole.report["people_counted"], part.report["people_counted"]) == (200, 150)
    assert [row["counted"] for row in part.report["joints"].values()] == [150, 150, 140]
    for i in range(200):
        records[i] = record(i, [[0, 0], [100, 0], [np.nan, np.nan]], (2, 2, 0))
    none = study(predictions, records, "made val").report["joints"]["nose"]
    assert (none["counted"], none["right"], none["ece_before"]) == (0, None, None)
    assert none["temperature"] > 0


def test_a_fold_more_or_less_and_the_order_of_people_change_nothing_that_is_shipped() -> None:
    predictions, records = drawn(200, 0.7, 0.3)
    one = study(predictions, records, "made val")
    assert study(predictions, records[::-1], "made val").report == one.report
    assert study(predictions, records, "made val", folds=3).calibration == one.calibration
    assert study(predictions, records, "made val", seed=1).report["kinds"] != one.report["kinds"]


def test_what_cant_be_calibrated_is_refused() -> None:
    predictions, records = drawn(20, 1.0, 0.0)
    alike = Predictions(
        predictions.person_id, predictions.image_id, predictions.keypoints, np.ones((20, 3), np.float32), RGB
    )
    with pytest.raises(ValueError, match="every score is 1, so there is nothing to calibrate"):
        study(alike, records, "made val")
    unlabelled = [record(i, [[0, 0], [100, 0], [0, 0]], (0, 0, 0)) for i in range(20)]
    with pytest.raises(ValueError, match="no labelled joint is counted"):
        study(predictions, unlabelled, "made val")
    with pytest.raises(ValueError, match="there is no prediction for person 20"):
        study(predictions, [*records, record(20, [[0, 0], [1, 0], [0, 1]])], "made val")
    with pytest.raises(ValueError, match="21 folds of 20 pictures"):
        study(predictions, records, "made val", folds=21)
    broken = predictions.scores.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="a score is not finite"):
        study(
            Predictions(predictions.person_id, predictions.image_id, predictions.keypoints, broken, RGB),
            records,
            "made val",
        )
    other = Skeleton("other", ("left_shoulder", "right_hip", "tail"))
    with pytest.raises(ValueError, match="the weights predict the skeleton 'other'"):
        study(
            Predictions(
                predictions.person_id,
                predictions.image_id,
                predictions.keypoints,
                predictions.scores,
                other,
            ),
            records,
            "made val",
        )
