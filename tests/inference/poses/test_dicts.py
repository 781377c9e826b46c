import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import FLIC11
from hourglass.inference.poses.pose import Pose
from inference.poses.people_drawn import NAMES, ODD, a_pose


@settings(deadline=None, max_examples=25)
@given(pose=st.sampled_from([ODD, FLIC11]).flatmap(lambda s: NAMES.flatmap(lambda name: a_pose(s, name))))
def test_any_pose_comes_back_from_json_with_all_it_has(pose: Pose) -> None:
    raw = json.loads(json.dumps(pose.to_dict(), allow_nan=False))
    back = Pose.from_dict(raw)
    assert (back.image_id, back.skeleton) == (pose.image_id, pose.skeleton)
    for name in ("keypoints", "scores", "box", "confidences", "covariances", "box_score"):
        before, after = getattr(pose, name), getattr(back, name)
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_allclose(after, before, atol=1e-4, rtol=1e-7)
    again = back.to_dict()
    # The mean follows from the joints as they are written.
    assert {**again, "score": 0} == {**raw, "score": 0}
    assert again["score"] == pytest.approx(raw["score"], abs=1.1e-4)
    assert Pose.from_dict(again).to_dict() == again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": ["nose"]}, "not a pose: .* is missing or malformed"),
        ({"joints": None}, "not a pose: .* is missing or malformed"),
        ({"box": "wide"}, "not a pose: box is no number: .*wide"),
        ({"box": [1, [2, 3]]}, "not a pose: box is no number"),
        ({"box": None}, r"box has shape \(\)"),
        ({"box_score": "high"}, "not a pose: box_score is no number: .*high"),
        ({"box_score": [1, 2]}, "can only convert an array of size 1"),
        ({"skeleton": None}, "not a pose"),
        ({"skeleton": {"name": "x"}}, "not a skeleton: 'joints'"),
    ],
)
def test_a_malformed_dict_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    pose = Pose(np.zeros((11, 2), np.float32), np.ones(11, np.float32), FLIC11, np.ones(4, np.float32))
    with pytest.raises(ValueError, match=message):
        Pose.from_dict({**pose.to_dict(), **change})
    raw = pose.to_dict()
    raw["joints"]["nose"]["x"] = "far"
    with pytest.raises(ValueError, match=r"not a pose: a joint's x or y is no number: .*far"):
        Pose.from_dict(raw)
