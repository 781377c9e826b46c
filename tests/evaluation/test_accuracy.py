"""Programs side by side: whose answer is whose, who is in which group, and shares worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.records import load_test_sets
from hourglass.evaluation.accuracy import Answers, compare, groups_of, read_answer
from hourglass.recipe.recipe import find_recipe, load_recipe

LEGS = ("left_knee", "right_knee", "left_ankle", "right_ankle")


def person(
    number: int, picture: str, x: float, side_px: float = 200, without: tuple[str, ...] = ()
) -> PersonRecord:
    """All joints at x + row, y = 2 row; the torso is that of rows 5 and 12, 7 px across and 14 down."""
    rows = np.arange(17, dtype=np.float32)
    visibility = np.array([0 if joint in without else 2 for joint in COCO17.joints], np.uint8)
    keypoints = np.stack([x + rows, 2 * rows], 1)
    center = np.array([x + 8, 16], np.float32)
    return PersonRecord(b"", picture, number, COCO17, keypoints, visibility, center, side_px)


PEOPLE = [
    person(1, "a.jpg", 0),
    person(2, "a.jpg", 90, 125, LEGS),
    person(3, "b.webp", 0, 100, ("left_hip",)),
]


def answer_file(folder: Path, **changes: Any) -> Path:
    people = [
        {"file_name": name, "bbox": [x, 0, 17, 33], "keypoints": np.tile([x, 5, 0.9], 17).tolist()}
        for name, x in (("a.jpg", 91), ("b.jpg", 1), ("a.jpg", 1))
    ]
    content = {"network": "other", "joints": list(COCO17.joints), "people": people, **changes}
    (folder / "other.json").write_text(json.dumps(content))
    return folder / "other.json"


def test_answers_are_matched_by_picture_and_place(tmp_path: Path) -> None:
    found = read_answer(answer_file(tmp_path), PEOPLE)
    assert found is not None
    assert found.keypoints[:, 0].tolist() == [[1, 5], [91, 5], [1, 5]]
    assert read_answer(answer_file(tmp_path), [person(1, "c.jpg", 0)]) is None
    with pytest.raises(ValueError, match=r"other\.json has no answer for person 7 in a\.jpg"):
        read_answer(answer_file(tmp_path), [person(7, "a.jpg", 500)])
    for changes, complaint in (
        ({"joints": ["nose"]}, "people, row 0: 'keypoints' needs x, y, score of 1 joints"),
        ({"people": [3]}, "people, row 0"),
    ):
        with pytest.raises(ValueError, match=complaint):
            read_answer(answer_file(tmp_path, **changes), PEOPLE)
    (tmp_path / "odd.json").write_text("[]")
    with pytest.raises(ValueError, match=r"odd\.json is not a file of answers"):
        read_answer(tmp_path / "odd.json", PEOPLE)


def test_groups_by_size_and_by_what_is_seen_of_a_body() -> None:
    found = {name: np.flatnonzero(rows).tolist() for name, rows in groups_of(PEOPLE).items()}
    # Longer sides are 160, 100 and 80 px.
    assert found == {
        "all": [0, 1, 2],
        "whole bodies": [0, 2],
        "half bodies": [1],
        "below 96 px": [2],
        "96 to 192 px": [0, 1],
    }
    box = np.array([[0, 0, 30, 81], [0, 0, 500, 80], [0, 0, 95, 20.0]])
    told = groups_of(PEOPLE, box, np.array([9217, 9216, 1.0]))
    assert told["taller than 80 px"].tolist() == [True, False, False]
    assert told["larger than 96 x 96 px"].tolist() == [True, False, False]
    assert told["192 px and more"].tolist() == [False, True, False]


def test_shares_worked_out_by_hand() -> None:
    truth = np.stack([record.keypoints for record in PEOPLE]).astype(float)
    off = truth.copy()
    # A fifth of the torso, sqrt(7^2 + 14^2) / 5 = 3.13 px, is right; more is wrong.
    off[0, COCO17.index("left_wrist"), 0] += 3.13
    off[0, COCO17.index("right_wrist"), 0] += 3.14
    off[1, COCO17.index("left_elbow"), 1] -= 50
    answers = [Answers("ours", COCO17.joints, off), Answers("exact", COCO17.joints, truth)]
    report = compare(PEOPLE, answers, groups_of(PEOPLE), draws=50)
    everybody = report["all"]
    # The third has the other diagonal; 12, 8 and 11 joints of the limbs are labelled.
    assert everybody["people"] == 3
    assert everybody["networks"]["ours"]["pooled"] == pytest.approx(100 * 29 / 31, abs=0.01)
    assert everybody["networks"]["ours"]["joints"]["wrist"] == pytest.approx(100 * 5 / 6, abs=0.01)
    assert everybody["networks"]["exact"]["low"] == everybody["networks"]["exact"]["high"] == 100
    assert report["half bodies"]["networks"]["ours"]["pooled"] == pytest.approx(100 * 7 / 8, abs=0.01)
    assert report["half bodies"]["networks"]["ours"]["joints"]["knee"] is None
    few = [*answers, Answers("few", ("left_wrist",), truth[:, [COCO17.index("left_wrist")]])]
    assert compare(PEOPLE, few, groups_of(PEOPLE), 50)["all"]["networks"]["ours"]["pooled"] == 100


@pytest.mark.realdata
def test_published_peers_score_what_the_data_page_says(real_data: Path) -> None:
    data = load_recipe(find_recipe("people_hg2"), [f"data.root={real_data}"]).data
    told = {
        # Pooled over 12 joints, but FLIC's elbows and wrists; to the tenth, as the page rounds.
        ("lspet", "all"): {"movenet_thunder": 65.6, "movenet_lightning": 59.6},
        ("flic", "elbow"): {"movenet_thunder": 98.8, "mediapipe_heavy": 95.7},
        ("flic", "wrist"): {"movenet_thunder": 96.6, "mediapipe_heavy": 97.1},
        ("coco", "taller than 80 px"): {"movenet_thunder": 66.9, "mediapipe_heavy": 55.6},
        ("coco_extra", "larger than 96 x 96 px"): {"movenet_thunder": 85.6, "movenet_lightning": 77.0},
    }
    files = sorted((real_data / "peers").glob("*.json"))
    for source, records in load_test_sets(data):
        answers = [a for file in files if (a := read_answer(file, records)) is not None]
        groups = {"all": np.ones(len(records), bool)}
        if source.name == "coco":
            from hourglass.cli.accuracy import _boxes

            groups = groups_of(records, *_boxes(data, source, records))
        report = compare(records, answers, groups, 2)
        for (title, what), scores in told.items():
            for network, score in scores.items():
                if title != source.title:
                    continue
                found = report[what if what in report else "all"]["networks"][network]
                value = found["joints"].get(what) or found["pooled"]
                assert value == pytest.approx(score, abs=0.7), (title, what, network)
