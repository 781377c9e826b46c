"""Of several answers that are one and the same person only the surest stays."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.oks import keypoint_similarity
from hourglass.core.skeleton import COCO17
from hourglass.inference.poses.pose import Pose

NMS_OKS = 0.9
"""Poses that are more alike than this are taken for one person; as published for top-down networks."""


def distinct(poses: Sequence[Pose], nms_oks: float = NMS_OKS) -> list[Pose]:
    """One picture's poses without those that repeat a surer one, in their old order.

    How sure a pose is: its score, times its box's where a detector gave one.

    Args:
        nms_oks: 0 to 1; of two poses that are more alike than this by OKS (`alike`) the surer one stays. 1
            keeps all.

    Raises ValueError for a threshold outside 0 to 1.
    """
    check_nms(nms_oks)
    if len(poses) < 2:
        return list(poses)
    sure = np.array([p.score * (1.0 if p.box_score is None else p.box_score) for p in poses])
    return [poses[i] for i in sorted(surest(alike(poses), sure, nms_oks))]


def check_nms(nms_oks: float) -> None:
    """Raise ValueError for a threshold outside 0 to 1."""
    if not 0 <= nms_oks <= 1:
        raise ValueError(f"two people are one above an OKS of {nms_oks:g}? It must lie between 0 and 1")


def alike(poses: Sequence[Pose]) -> Float64Array:
    """(N, N) OKS of poses of one skeleton with each other.

    As COCO's, over all joints; since neither of two is the truth, the area is the mean of theirs. A pose's
    is that of the square it was looked for in, as in the published codes, whose thresholds belong to it.
    The joints of a skeleton without sigmas all get COCO's mean one.
    """
    sigmas = poses[0].skeleton.oks_sigmas or [np.mean(COCO17.oks_sigmas or ())] * len(poses[0].skeleton)
    points = np.stack([pose.keypoints for pose in poses]).astype(np.float64)
    area = np.array([float(pose.box[2]) * float(pose.box[3]) for pose in poses])
    square_px = ((points[:, None] - points[None]) ** 2).sum(-1)
    mean_area = np.asarray((area[:, None] + area[None]) / 2)
    return keypoint_similarity(square_px, mean_area, np.array(sigmas), np.ones(len(sigmas), bool))


def surest(similarity: Float64Array, scores: npt.NDArray[np.floating], threshold: float) -> list[int]:
    """Rows that stay, best score first: each drops all later ones that are more like it than the threshold.

    Args:
        similarity: (N, N).
        scores: (N,); of equal ones the first row comes first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    stay: list[int] = []
    dropped = np.zeros(len(order), bool)
    for row in order.tolist():
        if not dropped[row]:
            stay.append(row)
            dropped |= similarity[row] > threshold
    return stay
