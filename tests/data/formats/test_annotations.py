"""People as their file has them: what is refused, who is taken, and what becomes a record."""

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import Skeleton
from hourglass.data.formats.annotations import Annotations, check_photos, log_left_out, records

PAIR = Skeleton("pair", ("neck", "head_top"))
FILE = Path("folder/people.json")


def people(**changes: Any) -> Annotations:
    """Three people who count from 1; the second has no joint, the third a hidden one."""
    fields: dict[str, Any] = {
        "file": FILE,
        "form": "mpii-list",
        "what": "the val split",
        "skeleton": PAIR,
        "where": ["row 0", "row 1", "row 2"],
        "names": ["a.jpg", "b.jpg", "a.jpg"],
        "ids": np.array([7, 8, 9], np.int64),
        "splits": ["train", "val", "val"],
        "keypoints": np.arange(12.0).reshape(3, 2, 2) + 0.25,
        "visibility": np.array([[2, 2], [0, 0], [1, 0]], np.uint8),
        "tells_hidden": True,
        "origin": 1,
        "center": np.array([[10.0, 20], [30, 40], [50, 60]]),
        "side_px": np.array([100.0, 200, 300]),
        "lengths": {"head": np.array([1.0, 2, 3])},
        "box": np.arange(12.0).reshape(3, 4),
        "area": np.array([4.0, 5, 6]),
        "crowd": np.array([False, False, False]),
        "image": np.array([0, 1, 0]),
        "images": 2,
        "weight": np.array([[1.0, 0.5], [0.25, 1], [0, 0.75]]),
        "columns": {"scale": np.array([0.1, 0.2, 0.3]), "name": np.array(["x", "y", "z"], object)},
    }
    return Annotations(**fields | changes)


def test_what_is_labelled() -> None:
    assert len(people()) == 3
    assert people().labelled.tolist() == [[True, True], [False, False], [True, False]]


def test_a_joint_without_a_label_may_hold_anything() -> None:
    points = people().keypoints.copy()
    points[1] = [[np.nan, np.inf], [-np.inf, 1e300]]
    assert len(people(keypoints=points)) == 3


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"keypoints": np.zeros((3, 3, 2))}, r"people\.json: keypoints has the shape \(3, 3, 2\), exp"),
        ({"visibility": np.zeros((2, 2), np.uint8)}, r"visibility has the shape \(2, 2\), expected \(3, 2\)"),
        ({"center": np.zeros((3, 3))}, r"center has the shape \(3, 3\), expected \(3, 2\)"),
        ({"side_px": np.zeros(4)}, r"side_px has the shape \(4,\), expected \(3,\)"),
        ({"names": ["a.jpg"]}, "1 names for 3 people"),
        ({"where": ["row"] * 4}, "4 where for 3 people"),
        ({"splits": []}, "0 splits for 3 people"),
        ({"lengths": {"head": np.zeros(2)}}, "2 head for 3 people"),
        ({"columns": {"scale": np.zeros(5)}}, "5 scale for 3 people"),
        ({"box": np.zeros((2, 4))}, "2 box for 3 people"),
        ({"area": np.zeros(1)}, "1 area for 3 people"),
        ({"crowd": np.zeros(2, bool)}, "2 crowd for 3 people"),
        ({"weight": np.ones((2, 2))}, "2 weight for 3 people"),
        ({"keypoints": np.full((3, 2, 2), np.inf)}, "^row 0: neck is labelled but not a finite number"),
        ({"side_px": np.array([1.0, 0, 3])}, "^row 1: the crop's centre or side is not a positive"),
        ({"side_px": np.array([1.0, 2, np.inf])}, "^row 2: the crop's centre or side"),
        ({"center": np.array([[1.0, 2], [np.nan, 2], [3, 4]])}, "^row 1: the crop's centre or side"),
        ({"ids": np.array([7, 8, 7], np.int64)}, "^row 2 and row 0 have the same id 7"),
    ],
)
def test_people_who_contradict_themselves(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        people(**changes)


def test_no_side_is_no_crop() -> None:
    nowhere = np.array([[1.0, 2], [np.nan, np.nan], [3, 4]])
    assert np.isnan(people(side_px=np.array([1.0, np.nan, 3]), center=nowhere).side_px[1])


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([2, 0], [2, 0]),
        (np.array([1]), [1]),
        ([True, False, True], [0, 2]),
        (np.array([False, True, True]), [1, 2]),
        ([], []),
        ([-1], [2]),
    ],
    ids=str,
)
def test_every_column_goes_along(rows: Any, wanted: list[int]) -> None:
    whole, some = people(), people().take(rows)
    assert len(some) == len(wanted)
    for part in fields(Annotations):
        before, after = getattr(whole, part.name), getattr(some, part.name)
        if part.name in ("file", "form", "what", "skeleton", "tells_hidden", "origin", "sizes", "images"):
            assert after == before
        elif part.name in ("lengths", "columns"):
            assert set(after) == set(before)
            for name in before:
                assert after[name].tolist() == [before[name][n] for n in wanted]
        else:
            told = [np.asarray(before[n]).tolist() for n in wanted]
            assert np.asarray(after).tolist() == told, part.name


def test_nobody_has_boxes_that_the_file_has_not() -> None:
    bare = people(box=None, area=None, crowd=None).take([1, 2])
    assert (bare.box, bare.area, bare.crowd) == (None, None, None)


def test_taking_copies() -> None:
    whole = people()
    whole.take([0, 1, 2]).keypoints[:] = 0
    assert whole.keypoints[0, 0, 0] == 0.25


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.jpg").touch()
    return tmp_path


def test_records_count_from_0(images: Path) -> None:
    first, second = records(people(), images)
    assert (first.image, first.image_id, first.person_id) == (images / "a.jpg", "a.jpg", 7)
    assert second.person_id == 9
    assert first.skeleton is PAIR
    # From 1 in the file, so one less.
    np.testing.assert_array_equal(first.keypoints, [(-0.75, 0.25), (1.25, 2.25)])
    assert {str(first.keypoints.dtype), str(first.center.dtype)} == {"float32"}
    assert second.visibility.tolist() == [1, 0]
    np.testing.assert_array_equal(second.center, (49, 59))
    assert second.side_px == 300
    from_0 = records(people(origin=0), images)[0]
    np.testing.assert_array_equal(from_0.keypoints, [(0.25, 1.25), (2.25, 3.25)])
    np.testing.assert_array_equal(from_0.center, (10, 20))


def test_who_is_left_out(images: Path, caplog: pytest.LogCaptureFixture) -> None:
    without = {"side_px": np.array([np.nan, 200, 300]), "crowd": np.array([False, False, True])}
    with caplog.at_level(logging.INFO):
        kept = records(people(**without), images, unlabelled=True)
    assert [r.person_id for r in kept] == [8]
    assert caplog.messages == [f"left out of {FILE}: crowds: 1; people without a crop: 1"]
    caplog.clear()
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ValueError, match=r"people\.json has nobody with a labelled joint in the val split"),
    ):
        records(people(**without), images)
    assert caplog.messages == [
        f"left out of {FILE}: crowds: 1; people without labelled joints: 1; people without a crop: 1"
    ]
    assert [r.person_id for r in records(people(), images, unlabelled=True)] == [7, 8, 9]


def test_pictures_that_are_missing(images: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*nowhere; it should hold the pictures of the val"
    ):
        records(people(), images / "nowhere")
    (images / "a.jpg").unlink()
    # Of the pictures of who is kept: b.jpg has only somebody without a label.
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 1 photos of the val split are missing .*is a\.jpg;"
    ):
        records(people(), images)
    check_photos([], 5, images, "anything")


def test_nothing_is_logged_of_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_left_out(FILE, {"crowds": 0})
    assert not caplog.messages
