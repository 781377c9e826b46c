"""Percentage of correct parts: sticks between joints instead of joints (Ferrari et al. 2008; LSP toolkit).

Strict: both ends of a predicted stick lie within half of the true stick's length of their own true end.
Loose: the mean of the two errors does. The names are not used alike everywhere; the LSP toolkit's
`evaluatePCP` is the strict one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, FloatArray
from hourglass.core.skeleton import Skeleton


@dataclass(frozen=True)
class Stick:
    """A part of the body: its name, and the joints at either end; several joints stand for their middle."""

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]


TEN_STICKS = (
    Stick("right_lower_leg", ("right_ankle",), ("right_knee",)),
    Stick("right_upper_leg", ("right_knee",), ("right_hip",)),
    Stick("left_upper_leg", ("left_hip",), ("left_knee",)),
    Stick("left_lower_leg", ("left_knee",), ("left_ankle",)),
    Stick("right_forearm", ("right_wrist",), ("right_elbow",)),
    Stick("right_upper_arm", ("right_elbow",), ("right_shoulder",)),
    Stick("left_upper_arm", ("left_shoulder",), ("left_elbow",)),
    Stick("left_forearm", ("left_elbow",), ("left_wrist",)),
    Stick("head", ("neck",), ("head_top",)),
    Stick("torso", ("right_hip", "left_hip"), ("right_shoulder", "left_shoulder")),
)
"""The ten sticks of the LSP toolkit, in its order; the torso runs from mid-hip to mid-shoulder."""

MERGED = (
    ("Torso", ("torso",)),
    ("U.leg", ("right_upper_leg", "left_upper_leg")),
    ("L.leg", ("right_lower_leg", "left_lower_leg")),
    ("U.arm", ("right_upper_arm", "left_upper_arm")),
    ("Forearm", ("right_forearm", "left_forearm")),
    ("Head", ("head",)),
)
"""Columns of the toolkit's table, each the mean of its sticks; its total is over the ten, not these six."""


def sticks_of(skeleton: Skeleton) -> tuple[Stick, ...]:
    """The ten sticks where the skeleton has their joints, else one for each of its limbs (ours).

    Raises ValueError when it has neither.
    """
    needed = {joint for stick in TEN_STICKS for joint in stick.start + stick.end}
    if needed <= set(skeleton.joints):
        return TEN_STICKS
    if not skeleton.limbs:
        raise ValueError(f"skeleton {skeleton.name!r} has no limbs to measure parts by")
    return tuple(Stick(f"{a}-{b}", (a,), (b,)) for a, b in skeleton.limbs)


def pcp(
    predicted: FloatArray,
    truth: FloatArray,
    labelled: BoolArray,
    skeleton: Skeleton,
    loose: bool = False,
    share: float = 0.5,
    sticks: Sequence[Stick] | None = None,
) -> tuple[BoolArray, BoolArray]:
    """Which sticks (N, S) are right, and which count: those with all their true joints labelled.

    The comparison is `<=` on error over length, as in the toolkit; a true stick of no length is never right.

    Args:
        predicted, truth: (N, J, 2) pixels of the same frame. A prediction of NaN is wrong.
        labelled: (N, J).
        loose: compare the mean error of both ends, not each.
        share: of the true stick's length.
        sticks: S sticks; `sticks_of` the skeleton by default.

    Raises ValueError naming a joint that the skeleton lacks, or when shapes disagree.
    """
    people, joints = labelled.shape
    for name, array in (("predicted", predicted), ("truth", truth)):
        if array.shape != (people, joints, 2) or joints != len(skeleton):
            raise ValueError(f"{name} has shape {array.shape}, expected {(people, len(skeleton), 2)}")
    chosen = sticks_of(skeleton) if sticks is None else sticks
    ends = [[[skeleton.index(j) for j in joints] for joints in (s.start, s.end)] for s in chosen]

    def endpoints(points: FloatArray) -> npt.NDArray[np.float64]:
        """(N, S, 2 ends, 2)."""
        points = np.asarray(points, np.float64)
        flat = [end for pair in ends for end in pair]
        found = points[:, [end[0] for end in flat]]
        for place, end in enumerate(flat):
            if len(end) > 1:
                found[:, place] = points[:, end].mean(1)
        return np.asarray(found.reshape(people, len(ends), 2, 2), np.float64)

    counted = np.stack([labelled[:, pair[0] + pair[1]].all(1) for pair in ends], 1)
    true = endpoints(np.where(labelled[..., None], truth, 0.0))
    length = np.linalg.norm(true[:, :, 0] - true[:, :, 1], axis=-1)
    error = np.linalg.norm(endpoints(predicted) - true, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = (error.mean(-1) if loose else error.max(-1)) / length
    return (relative <= share) & counted, counted
