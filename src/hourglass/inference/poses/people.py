"""What every form asks of poses, or must make up for people who come from elsewhere."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hourglass.core.geometry import box_around
from hourglass.core.skeleton import Skeleton
from hourglass.inference.poses.pose import Pose


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
