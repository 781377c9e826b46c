"""What a person record and a batch promise, and what they refuse."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, Batch, PersonRecord

NAN, INF = float("nan"), float("inf")


def person(**change: Any) -> PersonRecord:
    fields: dict[str, Any] = {
        "image": Path("somewhere.jpg"),
        "image_id": "im7",
        "person_id": 3,
        "skeleton": LSP14,
        "keypoints": np.arange(28, dtype=np.float32).reshape(14, 2),
        "visibility": np.full(14, VISIBLE, dtype=np.uint8),
        "center": np.array([10, 20], dtype=np.float32),
        "side_px": 100.0,
    }
    return PersonRecord(**(fields | change))


def test_visibility_words_are_cocos_numbers() -> None:
    assert (NOT_LABELLED, OCCLUDED, VISIBLE) == (0, 1, 2)


def test_occluded_joints_count_as_labelled() -> None:
    visibility = np.array([0, 1, 2] + [0] * 11, dtype=np.uint8)
    assert person(visibility=visibility).labelled.tolist() == [False, True, True] + [False] * 11


def test_unlabelled_joints_may_hold_anything() -> None:
    keypoints = np.zeros((14, 2), dtype=np.float32)
    keypoints[4] = NAN, INF
    visibility = np.full(14, VISIBLE, dtype=np.uint8)
    visibility[4] = NOT_LABELLED
    assert not person(keypoints=keypoints, visibility=visibility).labelled[4]


def test_a_labelled_joint_that_is_no_number_is_named() -> None:
    keypoints = np.zeros((14, 2), dtype=np.float32)
    keypoints[2] = NAN  # not labelled, so not to blame
    keypoints[4, 1] = INF
    visibility = np.full(14, OCCLUDED, dtype=np.uint8)
    visibility[2] = NOT_LABELLED
    with pytest.raises(ValueError, match=r"im7: the labelled joint 'left_knee' is not a finite number"):
        person(keypoints=keypoints, visibility=visibility)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"keypoints": np.zeros((16, 2), np.float32)},
            r"im7: keypoints has shape \(16, 2\), expected \(14, 2\)",
            id="joints of another skeleton",
        ),
        pytest.param(
            {"keypoints": np.zeros((14, 3), np.float32)}, r"\(14, 3\), expected \(14, 2\)", id="triples"
        ),
        pytest.param(
            {"visibility": np.ones((14, 1), np.uint8)}, r"visibility has shape \(14, 1\)", id="column"
        ),
        pytest.param(
            {"center": np.zeros(3, np.float32)}, r"center has shape \(3,\), expected \(2,\)", id="centre"
        ),
        pytest.param(
            {"visibility": np.full(14, 3, np.uint8)}, "im7: visibility must be 0, 1 or 2", id="vis 3"
        ),
        pytest.param({"visibility": np.full(14, -1, np.int8)}, "visibility must be 0, 1 or 2", id="vis -1"),
        pytest.param(
            {"center": np.array([NAN, 0], np.float32)}, "im7: the crop's centre or side", id="centre nan"
        ),
        pytest.param({"side_px": 0.0}, "im7: the crop's centre or side", id="no side"),
        pytest.param({"side_px": -5.0}, "im7: the crop's centre or side", id="negative side"),
        pytest.param({"side_px": INF}, "im7: the crop's centre or side", id="endless side"),
        pytest.param({"side_px": NAN}, "im7: the crop's centre or side", id="side nan"),
    ],
)
def test_wrong_records_are_refused_with_the_pictures_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        person(**change)


def test_records_and_batches_cannot_be_edited() -> None:
    with pytest.raises(FrozenInstanceError):
        person().side_px = 3.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        batch().weight = torch.zeros(1)  # type: ignore[misc]


def batch() -> Batch:
    image = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    return Batch(image, torch.rand(2, 5, 2), torch.ones(2, 5))


def test_batch_moves_all_of_itself_and_leaves_the_original() -> None:
    here = batch()
    there = here.to(torch.device("meta"))
    for name in ("image", "keypoints", "weight"):
        old, new = getattr(here, name), getattr(there, name)
        assert old.device.type == "cpu"
        assert new.device.type == "meta", name
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    again = here.to("cpu")
    assert torch.equal(again.image, here.image)
    assert torch.equal(again.keypoints, here.keypoints)
    assert torch.equal(again.weight, here.weight)
