import builtins
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17, LSP14, MPII16
from hourglass.inference.poses.key_points import from_supervision, to_supervision
from hourglass.inference.poses.pose import Pose
from inference.poses.people_drawn import ODD, a_pose

sv = pytest.importorskip("supervision")


def pose(skeleton: Any = LSP14, **changes: Any) -> Pose:
    count = len(skeleton)
    values = {
        "keypoints": np.arange(2 * count, dtype=np.float32).reshape(count, 2) + 1,
        "scores": np.linspace(0, 1, count, dtype=np.float32),
        "skeleton": skeleton,
        "box": np.array([-1.5, 2, 30, 30], np.float32),
        "image_id": "a.jpg",
    }
    return Pose(**{**values, **changes})


def same(one: Pose, other: Pose) -> bool:
    """Equal to the last bit."""
    arrays = ("keypoints", "scores", "box", "confidences", "covariances")
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return equal and all(
        getattr(one, name) == getattr(other, name) for name in ("skeleton", "image_id", "box_score")
    )


@settings(deadline=None, max_examples=25)
@given(
    poses=st.booleans().flatmap(
        lambda extras: st.lists(
            st.sampled_from(["a.jpg", "ü\n.jpg", None]).flatmap(lambda name: a_pose(ODD, name, extras)),
            max_size=4,
        )
    )
)
def test_any_poses_come_back_bit_for_bit(poses: list[Pose]) -> None:
    key_points: Any = to_supervision(poses)
    assert len(key_points) == len(poses)
    back = from_supervision(key_points)
    assert len(back) == len(poses)
    assert all(same(one, other) for one, other in zip(poses, back, strict=True))
    # What supervision filters and joins is still ours.
    if poses:
        assert same(from_supervision(key_points[len(poses) - 1])[0], poses[-1])
        both = sv.KeyPoints.merge([key_points, key_points])
        assert all(same(a, b) for a, b in zip(from_supervision(both), [*poses, *poses], strict=True))


def test_the_fields_are_supervisions() -> None:
    confidences = np.linspace(1, 0, 14, dtype=np.float32)
    key_points = to_supervision([pose(), pose()], threshold=0.5)
    assert isinstance(key_points, sv.KeyPoints)
    assert key_points.xy.shape == (2, 14, 2)
    np.testing.assert_array_equal(key_points.keypoint_confidence, [pose().scores] * 2)
    np.testing.assert_array_equal(key_points.visible, [[False] * 7 + [True] * 7] * 2)
    np.testing.assert_allclose(key_points.detection_confidence, 0.5)
    assert key_points["class_name"].tolist() == ["person", "person"]
    assert key_points["image_id"] == ["a.jpg", "a.jpg"]

    sure = to_supervision([pose(confidences=confidences)], threshold=0.5)
    np.testing.assert_array_equal(sure.keypoint_confidence, [confidences])
    np.testing.assert_array_equal(sure["score"], [pose().scores])
    np.testing.assert_array_equal(sure.visible, [[True] * 7 + [False] * 7])


def test_supervision_draws_the_visible_joints_and_finds_their_boxes() -> None:
    key_points = to_supervision([pose()], threshold=0.5)
    boxes: Any = key_points.as_detections()
    # Joints 7 to 13, at (15, 16) to (27, 28).
    np.testing.assert_array_equal(boxes.xyxy, [[15, 16, 27, 28]])
    assert boxes.class_id.tolist() == [0]
    black = np.zeros((60, 60, 3), np.uint8)
    drawn = sv.VertexAnnotator(radius=1, color=sv.Color.WHITE).annotate(black.copy(), key_points)
    assert drawn[28, 27].any()
    assert not drawn[2, 1].any()
    limbs = sv.EdgeAnnotator(edges=[(a + 1, b + 1) for a, b in LSP14.limb_indices])
    assert limbs.annotate(black.copy(), key_points).any()


def test_nobody_is_empty() -> None:
    assert to_supervision([]).is_empty()
    assert from_supervision(sv.KeyPoints.empty()) == []


def test_key_points_of_others_need_a_skeleton() -> None:
    xy = np.random.default_rng(0).uniform(0, 90, (2, 17, 2)).astype(np.float32)
    confidence = np.full((2, 17), 0.5, np.float32)
    theirs = sv.KeyPoints(xy=xy, keypoint_confidence=confidence)
    with pytest.raises(ValueError, match=r"object 0 of the key points names no skeleton; give skeleton="):
        from_supervision(theirs)
    with pytest.raises(ValueError, match=r"object 0 of the key points has 17 points, but .*'lsp14' 14"):
        from_supervision(theirs, LSP14)
    first, second = from_supervision(theirs, COCO17, "b.jpg")
    np.testing.assert_array_equal(first.keypoints, xy[0])
    np.testing.assert_array_equal(second.scores, confidence[1])
    assert (first.image_id, first.confidences) == ("b.jpg", None)
    low, high = xy[0].min(0), xy[0].max(0)
    np.testing.assert_allclose(first.box[2:], (high - low).max() + 1, rtol=1e-6)
    np.testing.assert_allclose(first.box[:2] + first.box[2:] / 2 - 0.5, (low + high) / 2, rtol=1e-5)

    deep = sv.KeyPoints(xy=np.concatenate([xy, xy[..., :1]], axis=2))
    (one, _) = from_supervision(deep, COCO17)
    np.testing.assert_array_equal(one.keypoints, xy[0])
    np.testing.assert_array_equal(one.scores, 1)


def test_joints_that_supervision_took_out_are_missed() -> None:
    fewer: Any = to_supervision([pose()])[:, [0, 1, 2]]
    with pytest.raises(ValueError, match="has 3 points, but the skeleton 'lsp14' 14"):
        from_supervision(fewer)


def test_data_at_fault_is_named_by_object() -> None:
    key_points = to_supervision([pose(), pose()])
    key_points["box"] = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"object 0 of the key points: a\.jpg: box has shape"):
        from_supervision(key_points)
    key_points = to_supervision([pose(), pose()])
    key_points.data["skeleton"] = ["lsp14", "octopus"]
    with pytest.raises(ValueError, match=r"object 1 of the key points: .*no built-in skeleton's name"):
        from_supervision(key_points)
    key_points = to_supervision([pose()])
    key_points.xy[0, 3, 1] = np.nan
    with pytest.raises(ValueError, match="object 0 of the key points: xy holds a number that is not finite"):
        from_supervision(key_points)


def test_poses_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="pose 1 has the skeleton 'mpii16'"):
        to_supervision([pose(), pose(MPII16)])
    with pytest.raises(ValueError, match="pose 0 has no confidences, and pose 1 has"):
        to_supervision([pose(), pose(confidences=np.zeros(14, np.float32))])


def test_without_supervision_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == "supervision":
            raise ImportError("No module named 'supervision'")
        return real(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "supervision", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r"pip install .*\[supervision\]'"):
        to_supervision([])
