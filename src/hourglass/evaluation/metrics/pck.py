"""Percentage of correct keypoints over original-image coordinates: lengths, PCK, its curve and its area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, FloatArray
from hourglass.core.skeleton import Skeleton

HEAD_SHARE = 0.6
"""Of the head box's diagonal: PCKh's head size (MPII toolkit, 0.8 x 0.75)."""


@dataclass(frozen=True, eq=False)
class Pck:
    """Shares of correct joints, in 0..1.

    Args:
        per_joint: (J,) float64, NaN where no joint was counted.
        counts: (J,) how many were counted.
        people: how many people had a reference length and a labelled joint.
        threshold: largest distance that is correct, as a share of the reference length.
    """

    per_joint: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    people: int
    threshold: float

    @property
    def mean(self) -> float:
        """Unweighted mean over the joints that occur; NaN when none does."""
        return float(np.nanmean(self.per_joint)) if self.counts.any() else float("nan")

    @property
    def pooled(self) -> float:
        """Share over all counted joints, whichever they are; NaN when there are none."""
        total = int(self.counts.sum())
        return float(np.nansum(self.per_joint * self.counts) / total) if total else float("nan")


def torso_length(skeleton: Skeleton, keypoints: FloatArray, labelled: BoolArray) -> npt.NDArray[np.float64]:
    """(N,) pixels: each person's first shoulder-hip diagonal with both ends labelled, else NaN.

    The skeleton lists its diagonals, the preferred one first: left shoulder to right hip for LSP, MPII
    and COCO, the other one for FLIC, as the datasets' own toolkits have it.

    Args:
        keypoints: (N, J, 2) pixels of the truth.
        labelled: (N, J).

    Raises ValueError when the skeleton names no diagonal.
    """
    if not skeleton.torso:
        raise ValueError(f"skeleton {skeleton.name!r} has no shoulder-hip diagonal to measure a torso by")
    length = np.full(len(keypoints), np.nan)
    for a, b in reversed(skeleton.torso_indices):
        known = labelled[:, a] & labelled[:, b]
        length[known] = np.linalg.norm(keypoints[known, a] - keypoints[known, b], axis=-1)
    return length


def box_length(keypoints: FloatArray, labelled: BoolArray) -> npt.NDArray[np.float64]:
    """(N,) pixels: the longer side of each person's upright box around the labelled joints, else NaN.

    For skeletons without a torso, of animals or hands say (ours). Arguments as for `torso_length`.
    """
    masked = np.ma.array(keypoints, mask=np.broadcast_to(~labelled[..., None], np.shape(keypoints)))
    sides = (masked.max(1) - masked.min(1)).max(-1)
    return np.asarray(np.ma.filled(sides.astype(np.float64), np.nan), np.float64)


def head_length(boxes: FloatArray) -> npt.NDArray[np.float64]:
    """(N,) pixels: PCKh's head size from head boxes (N, 2, 2), the corners (x1, y1) and (x2, y2)."""
    boxes = np.asarray(boxes, np.float64)
    return np.asarray(HEAD_SHARE * np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=-1))


def pair_length(
    keypoints: FloatArray, labelled: BoolArray, first: int, second: int
) -> npt.NDArray[np.float64]:
    """(N,) pixels between two joints of the truth, by row; NaN where one of them is not labelled."""
    known = labelled[:, first] & labelled[:, second]
    length = np.full(len(keypoints), np.nan)
    length[known] = np.linalg.norm(keypoints[known, first] - keypoints[known, second], axis=-1)
    return length


def pck(
    predicted: FloatArray,
    truth: FloatArray,
    labelled: BoolArray,
    reference: FloatArray,
    threshold: float = 0.2,
) -> Pck:
    """PCK at one threshold: a joint is correct within `threshold` times its person's reference length.

    The comparison is `<=`, as in the datasets' toolkits. With the torso as reference it is PCK, with
    0.6 times the head box's diagonal PCKh.

    Args:
        predicted, truth: (N, J, 2) pixels of the same frame. A prediction of NaN is wrong.
        labelled: (N, J); other joints are not counted, visible or hidden makes no difference.
        reference: (N,) pixels; a person whose length is NaN or not positive is not counted.

    Raises ValueError when the shapes disagree.
    """
    distance, counted = _relative_distance(predicted, truth, labelled, reference)
    correct = (distance <= threshold) & counted
    counts = counted.sum(0)
    per_joint = np.divide(correct.sum(0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return Pck(per_joint, counts, int(counted.any(1).sum()), threshold)


def person_errors(
    predicted: FloatArray, truth: FloatArray, labelled: BoolArray, reference: FloatArray
) -> npt.NDArray[np.float64]:
    """(N,) mean distance of each person's labelled joints, in reference lengths; NaN where not counted.

    Arguments and errors are those of `pck`.
    """
    distance, counted = _relative_distance(predicted, truth, labelled, reference)
    count = counted.sum(1)
    errors = np.full(len(count), np.nan)
    np.divide(np.where(counted, distance, 0.0).sum(1), count, out=errors, where=count > 0)
    return errors


def relative_distance(
    predicted: FloatArray, truth: FloatArray, labelled: BoolArray, reference: FloatArray
) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Distances (N, J) in reference lengths, infinite for a prediction of NaN, and which (N, J) count.

    Where nothing counts the distance is NaN. Arguments and errors are those of `pck`.
    """
    distance, counted = _relative_distance(predicted, truth, labelled, reference)
    distance = np.where(np.isnan(distance), np.inf, distance)
    return np.asarray(np.where(counted, distance, np.nan), np.float64), counted


def hits(distance: FloatArray, threshold: float, strict: bool = False) -> BoolArray:
    """Where a relative distance is correct: `<=` the threshold, or `<` it when `strict`; NaN never is."""
    return np.asarray(distance < threshold if strict else distance <= threshold)


def area_thresholds(end: float = 0.5, step: float = 0.01) -> npt.NDArray[np.float64]:
    """The thresholds 0, step .. end of a curve (MPII toolkit: 0 to 0.5 by 0.01)."""
    return np.asarray(np.arange(round(end / step) + 1) * step, np.float64)


def areas(distance: FloatArray, thresholds: FloatArray, strict: bool = False) -> npt.NDArray[np.float64]:
    """What each joint adds to the area under its PCK curve, 0..1, in the shape of `distance`.

    The mean over joints is the area by trapezoids over `thresholds`, divided by their range: AUC is an
    average like PCK, only with shares instead of hits. NaN distances give 0.

    Args:
        thresholds: (T,) ascending, at least two.

    Raises ValueError when they are not.
    """
    thresholds = np.asarray(thresholds, np.float64)
    steps = np.diff(thresholds)
    if thresholds.ndim != 1 or not len(steps) or not (steps > 0).all():
        raise ValueError("the thresholds of a curve must be two or more ascending numbers")
    weights = np.zeros(len(thresholds))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    # From the first threshold that is large enough, a joint is right at all further ones.
    first = np.searchsorted(thresholds, distance, side="right" if strict else "left")
    left = np.append(np.cumsum(weights[::-1])[::-1], 0.0) / (thresholds[-1] - thresholds[0])
    return np.asarray(np.where(np.isnan(distance), 0.0, left[first]))


def curve(
    distance: FloatArray, counted: BoolArray, thresholds: FloatArray, strict: bool = False
) -> npt.NDArray[np.float64]:
    """(T, J) shares of correct joints at each threshold, NaN where no joint was counted (PDJ, PCK curves).

    With the torso as reference and thresholds from 0 to 0.5 this is the curve of detected joints (PDJ).

    Args:
        distance, counted: (N, J) from `relative_distance`.
        thresholds: (T,).
    """
    counts = counted.sum(0)
    shares = np.full((len(thresholds), distance.shape[1]), np.nan)
    for joint in np.flatnonzero(counts):
        known = np.sort(distance[counted[:, joint], joint])
        shares[:, joint] = np.searchsorted(known, thresholds, "left" if strict else "right") / counts[joint]
    return shares


def _relative_distance(
    predicted: FloatArray, truth: FloatArray, labelled: BoolArray, reference: FloatArray
) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Distances (N, J) over the reference length, and which of them (N, J) count."""
    people, joints = labelled.shape
    for name, array, shape in (
        ("predicted", predicted, (people, joints, 2)),
        ("truth", truth, (people, joints, 2)),
        ("reference", reference, (people,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    usable = np.isfinite(reference) & (reference > 0)
    distance = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), axis=-1)
    return distance / np.where(usable, reference, 1.0)[:, None], labelled & usable[:, None]


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


SEVEN = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""The columns of the workshop paper's Figure 5 and of MSSH's tables."""

_HEAD = ("head_top", "neck")


def joint_groups(joints: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Rows of the joints, told by name, by group: the papers' seven first, then whatever others there are.

    Left and right of a part are one group. Neck and head top are the head, as in the MPII toolkit's tables.
    """
    groups: dict[str, list[int]] = {}
    for row, joint in enumerate(joints):
        part = joint.removeprefix("left_").removeprefix("right_")
        groups.setdefault("head" if part in _HEAD else part, []).append(row)
    names = [name for name in SEVEN if name in groups]
    names += [name for name in groups if name not in SEVEN]
    return {name: tuple(groups[name]) for name in names}


def mean_of_groups(
    each: Mapping[str, float | None], groups: Mapping[str, tuple[int, ...]], joints: Sequence[str]
) -> dict[str, float | None]:
    """The mean of each group's scores, `each` by joint name; None where none of its joints was counted."""
    found: dict[str, float | None] = {}
    for name, rows in groups.items():
        known = [value for row in rows if (value := each[joints[row]]) is not None]
        found[name] = sum(known) / len(known) if known else None
    return found


def group_curves(
    distance: FloatArray, counted: BoolArray, skeleton: Skeleton, thresholds: FloatArray, strict: bool = False
) -> dict[str, npt.NDArray[np.float64]]:
    """Shares (T,) in percent of correct joints at each threshold: by group, and of all joints as `mean`.

    A group's share is the mean of its joints', and so is that of all; NaN where nothing was counted.

    Args:
        distance, counted: (N, J), see `pck.relative_distance`.
        thresholds: (T,).
    """
    each = 100 * curve(distance, counted, thresholds, strict)
    groups = joint_groups(skeleton.joints) | {"mean": tuple(range(len(skeleton)))}
    return {name: _mean(each[:, rows]) for name, rows in groups.items()}


def _mean(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(shares)
    count = known.sum(1)
    total = np.where(known, shares, 0.0).sum(1)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
