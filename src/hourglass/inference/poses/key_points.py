"""Poses of one picture as `supervision.KeyPoints`, for that package's drawing, filters and tracking.

The other forms (`coco`, `csv_table`) ask the same of poses, and make up the same for people from elsewhere.

| field | |
|---|---|
| `xy` | (N, J, 2) float32, the joints in pixels of the picture |
| `keypoint_confidence` | (N, J) float32, the confidences, or the scores of poses without them |
| `detection_confidence` | (N,) float32, each person's mean score |
| `visible` | (N, J) bool, whether that confidence reaches the threshold; a joint below it stays in `xy` |
| `class_id`, `data["class_name"]` | 0, `person` |
| `data["box"]` | (N, 4) float32, `Pose.box` |
| `data["score"]` | (N, J) float32, the scores, where `keypoint_confidence` is something else |
| `data["covariance"]` | (N, J, 2, 2) float32, where there are any |
| `data["skeleton"]` | N built-in skeletons' names, or skeletons in full as JSON |
| `data["image_id"]`, `data["box_score"]` | N names and N numbers, where somebody has one; None for others |
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hourglass.core.geometry import box_around
from hourglass.core.skeleton import SKELETONS, Skeleton
from hourglass.inference.poses.pose import Pose

if TYPE_CHECKING:
    from supervision import KeyPoints


def one_skeleton(poses: Sequence[Pose], skeleton: Skeleton | None = None) -> Skeleton:
    """The skeleton that all poses share, and that is `skeleton` where one is given.

    Raises ValueError naming the pose that has another one, or when there are neither poses nor a skeleton.
    """
    if not poses and skeleton is None:
        raise ValueError("there are no poses to tell the skeleton; give skeleton=")
    wanted = poses[0].skeleton if skeleton is None else skeleton
    for i, pose in enumerate(poses):
        if pose.skeleton != wanted:
            raise ValueError(
                f"pose {i} has the skeleton {pose.skeleton.name!r}, not {wanted.name!r}; "
                "one file or object holds people of one skeleton"
            )
    return wanted


def square_around(keypoints: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(4,) x, y, width and height of the smallest square that covers the pixels of joints (N, 2), N > 0.

    It stands in for `Pose.box` where nobody said what a network looked at.
    """
    center, side = box_around(keypoints)
    # A box counts pixels from their edges, a joint from their centres.
    return np.array([*(center - side / 2), side + 1, side + 1], np.float32)


def to_supervision(poses: Sequence[Pose], threshold: float | None = None) -> "KeyPoints":
    """Poses of one picture and one skeleton as `supervision.KeyPoints`; nobody is `KeyPoints.empty()`.

    Args:
        threshold: a joint is `visible` where its `keypoint_confidence` is at least this; `Pose.sure` has the
            default.

    Raises ValueError when the skeletons differ, only some poses have confidences or covariances, or
    supervision 0.29 or later is not installed.
    """
    key_points = _key_points_class()
    if not poses:
        empty: KeyPoints = key_points.empty()
        return empty
    skeleton = one_skeleton(poses)
    confidences, covariances = _all_or_none(poses, "confidences"), _all_or_none(poses, "covariances")
    scores = np.stack([pose.scores for pose in poses])
    known = SKELETONS.get(skeleton.name) == skeleton
    data: dict[str, Any] = {
        "class_name": np.full(len(poses), "person"),
        "box": np.stack([pose.box for pose in poses]),
        "skeleton": [skeleton.name if known else json.dumps(skeleton.to_dict())] * len(poses),
    }
    for name in ("image_id", "box_score"):
        values = [getattr(pose, name) for pose in poses]
        if any(value is not None for value in values):
            data[name] = values
    if confidences is not None:
        data["score"] = scores
    if covariances is not None:
        data["covariance"] = covariances
    made: KeyPoints = key_points(
        xy=np.stack([pose.keypoints for pose in poses]),
        class_id=np.zeros(len(poses), np.int64),
        keypoint_confidence=scores if confidences is None else confidences,
        detection_confidence=np.array([pose.score for pose in poses], np.float32),
        visible=np.stack([pose.sure(threshold) for pose in poses]),
        data=data,
    )
    return made


def from_supervision(
    key_points: "KeyPoints", skeleton: Skeleton | None = None, image_id: str | None = None
) -> list[Pose]:
    """The inverse of `to_supervision`, also for key points that another package found.

    Theirs name no skeleton, which must then be given. Their boxes are squares around the joints; where they
    have no `keypoint_confidence` every joint scores 1. `visible` and a third coordinate are left aside.

    Args:
        skeleton: names the J joints; by default as `data["skeleton"]` says.
        image_id: what the picture is called, where `data["image_id"]` doesn't say.

    Raises ValueError naming the object, from 0 on, and the field that doesn't fit.
    """
    confidence, data = key_points.keypoint_confidence, key_points.data
    poses = []
    for n in range(len(key_points)):
        where = f"object {n} of the key points"
        own = _skeleton(data, n, where) if skeleton is None else skeleton
        points = np.array(key_points.xy[n][:, :2], np.float32)
        if len(points) != len(own):
            raise ValueError(f"{where} has {len(points)} points, but the skeleton {own.name!r} {len(own)}")
        found = np.ones(len(own)) if confidence is None else confidence[n]
        told = "score" in data
        if not np.isfinite(points).all():
            raise ValueError(f"{where}: xy holds a number that is not finite")
        try:
            pose = Pose(
                keypoints=points,
                scores=np.array(data["score"][n] if told else found, np.float32),
                skeleton=own,
                box=np.array(data["box"][n], np.float32) if "box" in data else square_around(points),
                image_id=data["image_id"][n] if "image_id" in data else image_id,
                confidences=np.array(found, np.float32) if told else None,
                covariances=np.array(data["covariance"][n], np.float32) if "covariance" in data else None,
                box_score=data["box_score"][n] if "box_score" in data else None,
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        poses.append(pose)
    return poses


def _key_points_class() -> Any:
    try:
        from supervision import KeyPoints
    except ImportError as error:
        raise ValueError(f"supervision is missing ({error}); pip install -e '.[supervision]'") from error
    if "keypoint_confidence" not in KeyPoints.__dataclass_fields__:
        raise ValueError("this supervision is too old: 0.29 or later has keypoint_confidence and visible")
    return KeyPoints


def _all_or_none(poses: Sequence[Pose], name: str) -> npt.NDArray[np.float32] | None:
    arrays = [getattr(pose, name) for pose in poses]
    has = [array is not None for array in arrays]
    if any(has) and not all(has):
        raise ValueError(f"pose {has.index(False)} has no {name}, and pose {has.index(True)} has")
    return np.stack(arrays) if all(has) else None


def _skeleton(data: Any, n: int, where: str) -> Skeleton:
    if "skeleton" not in data:
        raise ValueError(f"{where} names no skeleton; give skeleton=, such as hourglass.COCO17")
    text = str(data["skeleton"][n])
    if text in SKELETONS:
        return SKELETONS[text]
    try:
        return Skeleton.from_dict(json.loads(text))
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{where}: data['skeleton'] is no built-in skeleton's name and no skeleton"
        ) from error
