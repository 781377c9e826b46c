"""Poses that hypothesis draws: odd names, one skeleton, numbers that files can hold."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from hourglass.core.skeleton import Skeleton
from hourglass.inference.poses.pose import Pose

ODD = Skeleton(
    name="odd, one",
    joints=('left "eye"', "right,eye", "näse"),
    flip_pairs=(('left "eye"', "right,eye"),),
    limbs=(("right,eye", "näse"),),
    oks_sigmas=(0.1, 0.2, 0.3),
)

_WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
_ODD_NAMES = [
    'a, "b".jpg',
    "line\nend.png",
    "\rend.png",
    "ü☃.jpg",
    "000139.jpg",
    "broken\udcff.jpg",
    " x ",
]
NAMES = _WORDS | st.sampled_from(_ODD_NAMES)
"""What a file may be called, with bytes that are no UTF-8 as Python has them."""

_PIXELS = st.floats(-4096, 4096, width=32)


def _numbers(draw: Any, shape: tuple[int, ...], each: st.SearchStrategy[float]) -> Any:
    size = int(np.prod(shape))
    return np.array(draw(st.lists(each, min_size=size, max_size=size)), np.float32).reshape(shape)


@st.composite
def a_pose(draw: Any, skeleton: Skeleton, image_id: str | None, extras: bool | None = None) -> Pose:
    """One person; `extras` says whether there are confidences and covariances, None leaves it to chance."""
    joints = len(skeleton)
    confident, spread = (draw(st.booleans()) if extras is None else extras for _ in range(2))
    roots = _numbers(draw, (joints, 2, 2), st.floats(-30, 30, width=16))
    return Pose(
        keypoints=_numbers(draw, (joints, 2), _PIXELS),
        scores=_numbers(draw, (joints,), st.floats(-0.5, 1.5, width=32)),
        skeleton=skeleton,
        box=_numbers(draw, (4,), _PIXELS),
        image_id=image_id,
        confidences=_numbers(draw, (joints,), st.floats(0, 1, width=32)) if confident else None,
        covariances=roots @ roots.transpose(0, 2, 1) if spread else None,
        box_score=draw(st.none() | st.floats(0, 1)),
    )


@st.composite
def some_poses(draw: Any, named: bool = True) -> list[Pose]:
    """Up to four people in up to three pictures, picture by picture."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    found = []
    for name in names if named or draw(st.booleans()) else [None]:
        found += [draw(a_pose(ODD, name)) for _ in range(draw(st.integers(0, 4)))]
    return found[:4]


def plain(poses: list[Pose]) -> list[dict[str, Any]]:
    """All that files hold of poses, to compare."""
    return [pose.to_dict() for pose in poses]
