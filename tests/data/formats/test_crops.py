from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hourglass.core.geometry import box_around
from hourglass.data.formats.person_scale import crop_of_box, crops_of_joints, without_far_outside


def test_crops_by_hand() -> None:
    keypoints = np.array(
        [
            [(10, 20), (30, 100), (20, 40)],
            [(10, 20), (np.nan, 1e300), (12, 21)],
            [(10, 20), (30, 100), (20, 40)],
            [(5, 5), (5, 5), (5, 5)],
        ]
    )
    labelled = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 1, 1]], bool)
    center, side_px = crops_of_joints(keypoints, labelled)
    np.testing.assert_allclose(center, [(20, 60), (11, 20.5), (np.nan, np.nan), (5, 5)])
    # 1.25 x the longer side, never below 8, and nothing for a single joint.
    np.testing.assert_allclose(side_px, [100, 8, np.nan, 8])


def test_nobody_has_no_crops() -> None:
    center, side_px = crops_of_joints(np.zeros((0, 3, 2)), np.zeros((0, 3), bool))
    assert center.shape == (0, 2)
    assert side_px.shape == (0,)


@given(
    arrays.arrays(np.float32, (3, 5, 2), elements=st.floats(-1e4, 1e4, width=32)),
    arrays.arrays(np.bool_, (3, 5)),
)
def test_many_crops_are_those_of_each(keypoints: Any, labelled: Any) -> None:
    centers, sides_px = crops_of_joints(keypoints, labelled)
    for n in range(3):
        if labelled[n].sum() < 2:
            assert np.isnan(sides_px[n])
            continue
        center, side_px = crop_of_box(*box_around(keypoints[n, labelled[n]]))
        np.testing.assert_array_equal(centers[n], center)
        assert sides_px[n] == side_px


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    # 100 x 40 spans -0.5 to 99.5 and -0.5 to 39.5; 5 px further is still believed.
    [
        (-5.5, 0, True),
        (-5.6, 0, False),
        (104.5, 44.5, True),
        (104.6, 0, False),
        (0, 44.6, False),
        (0, -6, False),
    ],
)
def test_how_far_outside_is_too_far(x: float, y: float, kept: bool) -> None:
    seen = without_far_outside(np.array([(x, y), (3.0, 3)]), np.array([1, 2], np.uint8), 100, 40)
    assert seen.tolist() == [1 if kept else 0, 2]
