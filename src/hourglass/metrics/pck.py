"""Percentage of correct keypoints, over original-image coordinates."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.skeleton import Skeleton

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


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
