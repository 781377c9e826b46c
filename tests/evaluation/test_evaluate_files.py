"""The file of predictions, and the picture of the best and the worst."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colours import ANSWERS, FACTS, RGB, TRUTH, Colours, answers, make_records, record
from hourglass.core.structs import PersonRecord
from hourglass.evaluation.evaluate import (
    Predictions,
    extremes,
    extremes_sheet,
    load_predictions,
    predict_records,
    save_predictions,
    score,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[PersonRecord]:
    return make_records(tmp_path_factory.mktemp("pictures"))


# The file of predictions


def awkward() -> Predictions:
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 1, (4, 3, 3)) * 10.0 ** rng.integers(-30, 8, (4, 3, 3))
    numbers[0, 0, 0] = -0.0
    few = numbers.astype(np.float32)
    return replace(ANSWERS, keypoints=few[..., :2].copy(), scores=few[..., 2].copy(), weights="ä")


def test_a_file_of_predictions_comes_back_to_the_bit(tmp_path: Path) -> None:
    before = awkward()
    save_predictions(tmp_path / "p.json", before)
    after = load_predictions(tmp_path / "p.json")
    assert after.keypoints.dtype == np.float32
    np.testing.assert_array_equal(after.keypoints.view(np.uint32), before.keypoints.view(np.uint32))
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.person_id, before.person_id)
    assert (after.image_id, after.skeleton, after.weights) == (before.image_id, RGB, "ä")


def test_the_file_is_plain_json_with_short_numbers(tmp_path: Path) -> None:
    save_predictions(tmp_path / "p.json", answers((5, [[0.1, 2], [3, 4], [5, 6]])))
    raw = json.loads((tmp_path / "p.json").read_text())
    assert raw["format"] == "hourglass-predictions-1"
    assert raw["skeleton"]["joints"] == list(RGB.joints)
    assert raw["people"] == [
        {"person_id": 5, "image_id": "5.png", "keypoints": [[0.1, 2, 1], [3, 4, 1], [5, 6, 1]]}
    ]


def test_flags_of_hidden_joints_travel_with_the_file(tmp_path: Path) -> None:
    flags = np.array([[True, False, True], [False] * 3, [True] * 3, [False, True, False]])
    save_predictions(tmp_path / "p.json", replace(ANSWERS, occluded=flags))
    again = load_predictions(tmp_path / "p.json").occluded
    assert again is not None
    np.testing.assert_array_equal(again, flags)
    raw = json.loads((tmp_path / "p.json").read_text())
    for broken in ([True], [0, 1, 0], None):
        raw["people"][2]["occluded"] = broken
        (tmp_path / "q.json").write_text(json.dumps(raw))
        with pytest.raises(ValueError, match=r"q\.json.*row 2 of 'people': 'occluded' is not 3 times true"):
            load_predictions(tmp_path / "q.json")


def test_scoring_a_file_again_gives_the_same_numbers(tmp_path: Path, records: list[PersonRecord]) -> None:
    found = predict_records(Colours(), FACTS, records)
    save_predictions(tmp_path / "p.json", found)
    thresholds = (0.001, 0.002, 0.005, 0.2)
    again = score(load_predictions(tmp_path / "p.json"), records, thresholds)
    assert again == score(found, records, thresholds)


def test_an_answer_that_is_no_number_is_refused_by_name(tmp_path: Path) -> None:
    broken = replace(ANSWERS, scores=np.where(np.eye(4, 3) > 0, np.float32(np.nan), 1).astype(np.float32))
    with pytest.raises(ValueError, match=r"person 3 in 3\.png is not a finite number"):
        save_predictions(tmp_path / "p.json", broken)
    assert not list(tmp_path.iterdir())


def without(key: str) -> Callable[[str], str]:
    def remove(text: str) -> str:
        raw = json.loads(text)
        del raw[key]
        return json.dumps(raw)

    return remove


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace("predictions-1", "predictions-9"),
        lambda text: text.replace('"right_hip"', '"right_hop"', 1),
        lambda text: text.replace("[0.0, 0.0, 1.0], ", "", 1),
        lambda text: text.replace('"person_id": 2', '"person_id": 3'),
        lambda text: text.replace('"person_id": 2', '"person_id": "two"'),
        without("people"),
        without("skeleton"),
        without("format"),
    ],
)
def test_a_file_that_is_no_predictions_is_named(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    path = tmp_path / "odd.json"
    save_predictions(path, ANSWERS)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=r"odd\.json"):
        load_predictions(path)


# Best, median, worst


def test_extremes_are_sorted_by_error_in_torsos() -> None:
    # Everyone's torso is 10; person i's nose is off by 3 i, so the mean error is i / 10.
    truth = [record(i, [[0, 0], [10, 0], [5, 5]]) for i in (4, 1, 0, 3, 2, 6, 5)]
    truth.append(record(9, [[0, 0], [1, 0], [0, 0]], (2, 0, 2)))
    found = answers(*((r.person_id, [[0, 0], [10, 0], [5, 5 + 3 * r.person_id]]) for r in truth))
    chosen = [(kind, truth[row].person_id, round(error, 6)) for kind, row, error in extremes(found, truth, 2)]
    assert chosen == [
        ("best", 0, 0.0),
        ("best", 1, 0.1),
        ("median", 2, 0.2),
        ("median", 3, 0.3),
        ("worst", 6, 0.6),
        ("worst", 5, 0.5),
    ]
    assert [truth[row].person_id for _, row, _ in extremes(found, truth, 1)] == [0, 3, 6]
    assert [truth[row].person_id for _, row, _ in extremes(found, truth[:1], 4)] == [4, 4, 4]
    assert extremes(found, truth[-1:], 4) == []


def test_the_sheet_shows_truth_beside_prediction(records: list[PersonRecord]) -> None:
    found = predict_records(Colours(), FACTS, records)
    sheet = extremes_sheet(found, records, each=1, tile_px=96)
    assert sheet is not None
    assert sheet.dtype == np.uint8
    # Three rows of two tiles, with room between and for titles.
    assert sheet.shape[0] > 3 * 96
    assert 2 * 96 < sheet.shape[1] < 3 * 96
    again = extremes_sheet(found, records, each=1, tile_px=96)
    np.testing.assert_array_equal(sheet, again)
    far = replace(found, keypoints=found.keypoints + np.float32(40))
    other = extremes_sheet(far, records, each=1, tile_px=96)
    assert other is not None
    assert (other != sheet).any()


def test_no_torso_no_sheet() -> None:
    assert extremes_sheet(ANSWERS, TRUTH[2:]) is None
