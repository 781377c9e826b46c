"""Joints left and right together: the columns of the papers' tables, and PCK curves over them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, FloatArray
from hourglass.core.skeleton import Skeleton
from hourglass.evaluation.metrics.pck import curve

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
