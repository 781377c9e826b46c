"""People, lengths and what a single person scores, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from hourglass.core.skeleton import FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.evaluation.metrics.protocols import BEARPAW, FLIC, HOURGLASS, LENGTHS
from hourglass.evaluation.metrics.scores import NotApplicable, evaluate_protocol, reference


def test_flic_by_hand() -> None:
    truth = np.zeros((2, 11, 2))
    predicted = truth.copy()
    # Torsos of 100 and 50 by the file; elbows off by 20 and 11, the rest exact or not asked for.
    for elbow in ("left_elbow", "right_elbow"):
        predicted[:, FLIC11.index(elbow), 0] = 20, 11
    predicted[:, FLIC11.index("nose")] = 999
    lengths = {"file-torso": np.array([100.0, 50.0])}
    people = Annotations.of(FLIC11, truth, np.full((2, 11), 2, np.uint8), True, lengths)
    score = evaluate_protocol(FLIC, people, predicted)
    assert {name: score["PCK@0.2", name] for name in ("Elb", "Wri", "Mean")} == {
        "Elb": 50,
        "Wri": 100,
        "Mean": 75,
    }


def test_any_skeleton_can_be_measured_by_its_box() -> None:
    hand = Skeleton("hand2", ("wrist", "thumb"))
    truth = np.array([[[0, 0], [30, 10]]], float)
    people = Annotations.of(hand, truth, np.full((1, 2), 2, np.uint8), True)
    score = evaluate_protocol(HOURGLASS, people, truth + np.array([0, 6]))
    assert score["PCK@0.2", "Mean"] == 100
    assert evaluate_protocol(HOURGLASS, people, truth + np.array([0, 6.1]))["PCK@0.2", "Mean"] == 0


def test_lengths_by_hand() -> None:
    truth = np.zeros((1, 14, 2))
    for name, point in {
        "left_shoulder": (30, 40),
        "right_shoulder": (5, 12),
        "neck": (0, 7),
        "left_ankle": (0, -100),
    }.items():
        truth[0, LSP14.index(name)] = point
    people = Annotations.of(
        LSP14,
        truth,
        np.full((1, 14), 2, np.uint8),
        True,
        {"head": np.array([3.0]), "crop": np.array([200.0])},
    )
    wanted = {
        "torso": 50,
        "other-torso": 13,
        "any-torso": 50,
        "head-stick": 7,
        "box": 140,
        "head": 3,
        "crop": 200,
    }
    for name, length in wanted.items():
        assert reference(people, name).tolist() == [length], name
    hips = people.visibility.copy()
    hips[0, LSP14.index("right_hip")] = 0
    other = replace(people, visibility=hips)
    assert np.isnan(reference(other, "torso")).all()
    assert reference(other, "any-torso").tolist() == [13]
    with pytest.raises(NotApplicable, match="holds no torso length in the file"):
        reference(people, "file-torso")
    assert set(wanted) | {"file-torso"} == set(LENGTHS)


def test_what_a_person_scores() -> None:
    truth = np.zeros((2, 16, 2))
    predicted = truth.copy()
    predicted[0, :7] = 999
    visibility = np.full((2, 16), 2, np.uint8)
    visibility[1] = 0
    people = Annotations.of(MPII16, truth, visibility, True, {"head": np.array([9.0, 9.0])})
    # Of the fourteen joints the first seven rows hold six.
    person = evaluate_protocol(BEARPAW, people, predicted).person
    np.testing.assert_allclose(person, [8 / 14, np.nan])
