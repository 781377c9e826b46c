import math
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, LSP14, MPII16, Skeleton
from hourglass.evaluation.metrics.pck import TEN_STICKS, Stick, pcp, sticks_of

# keypoints2sticks of the LSP toolkit, 1-based rows of its 14 joints (and the torso of means).
TOOLKIT = [(1, 2), (2, 3), (4, 5), (5, 6), (7, 8), (8, 9), (10, 11), (11, 12), (13, 14), ((3, 4), (9, 10))]


def brute_force(predicted: Any, truth: Any, labelled: Any, loose: bool) -> tuple[Any, Any]:
    """The LSP toolkit's getDistPCP and computePCP in loops."""
    right = np.zeros((len(truth), 10), bool)
    counted = np.zeros((len(truth), 10), bool)

    def place(points: Any, end: Any) -> Any:
        rows = end if isinstance(end, tuple) else (end,)
        return sum(points[row - 1] for row in rows) / len(rows)

    for i in range(len(truth)):
        for s, ends in enumerate(TOOLKIT):
            rows = [row for end in ends for row in (end if isinstance(end, tuple) else (end,))]
            counted[i, s] = all(labelled[i][row - 1] for row in rows)
            if not counted[i, s]:
                continue
            a, b = (place(truth[i], end) for end in ends)
            c, d = (place(predicted[i], end) for end in ends)
            length = math.dist(a, b)
            errors = [math.dist(a, c) / length, math.dist(b, d) / length]
            right[i, s] = sum(errors) / 2 <= 0.5 if loose else max(errors) <= 0.5
    return right, counted


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_toolkits_loops(seed: int, loose: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 150, (60, 14, 2))
    predicted = truth + rng.normal(0, 25, truth.shape)
    labelled = rng.random((60, 14)) < 0.9
    right, counted = pcp(predicted, truth, labelled, LSP14, loose)
    wanted = brute_force(predicted, truth, labelled, loose)
    np.testing.assert_array_equal(counted, wanted[1])
    np.testing.assert_array_equal(right, wanted[0])
    assert 0.1 < right[counted].mean() < 0.9


def test_the_ten_sticks_are_the_toolkits() -> None:
    for stick, (start, end) in zip(TEN_STICKS, TOOLKIT, strict=True):
        for own, theirs in ((stick.start, start), (stick.end, end)):
            rows = theirs if isinstance(theirs, tuple) else (theirs,)
            assert own == tuple(LSP14.joints[row - 1] for row in rows)


def test_one_forearm_by_hand() -> None:
    # A forearm 40 long: half of it is 20. Off by (20, 20) is right either way; by (21, 0) only loosely;
    # by (30, 11) not even that.
    arm = Skeleton("arm", ("elbow", "wrist"))
    stick = (Stick("forearm", ("elbow",), ("wrist",)),)
    truth = np.tile(np.array([[0.0, 0.0], [40.0, 0.0]]), (3, 1, 1))
    predicted = truth.copy()
    predicted[:, :, 1] = [(20, 20), (21, 0), (30, 11)]
    labelled = np.ones((3, 2), bool)
    strict, counted = pcp(predicted, truth, labelled, arm, sticks=stick)
    loose, _ = pcp(predicted, truth, labelled, arm, loose=True, sticks=stick)
    assert counted.all()
    assert strict[:, 0].tolist() == [True, False, False]
    assert loose[:, 0].tolist() == [True, True, False]


def test_the_torso_runs_between_middles() -> None:
    # Both hips off to opposite sides: their middle, and so the torso, is exact.
    truth = np.zeros((1, 14, 2))
    for name, point in {
        "right_hip": (-10, 0),
        "left_hip": (10, 0),
        "right_shoulder": (-10, 60),
        "left_shoulder": (10, 60),
    }.items():
        truth[0, LSP14.index(name)] = point
    predicted = truth.copy()
    predicted[0, LSP14.index("right_hip")] += (-500, 0)
    predicted[0, LSP14.index("left_hip")] += (500, 0)
    right, _ = pcp(predicted, truth, np.ones((1, 14), bool), LSP14)
    names = [stick.name for stick in TEN_STICKS]
    assert right[0, names.index("torso")]
    # Its own sticks have no length here, so nothing is right about them.
    assert not right[0, names.index("head")]


def test_nan_and_what_is_not_labelled() -> None:
    truth = np.arange(28.0).reshape(1, 14, 2) ** 1.5
    labelled = np.ones((1, 14), bool)
    labelled[0, 0] = False
    hidden = truth.copy()
    hidden[0, 0] = np.nan
    right, counted = pcp(truth, hidden, labelled, LSP14)
    assert counted[0].tolist() == [False] + [True] * 9
    assert right[0].tolist() == [False] + [True] * 9
    right, _ = pcp(np.full_like(truth, np.nan), truth, labelled, LSP14)
    assert not right.any()


def test_any_skeleton() -> None:
    assert sticks_of(MPII16) is TEN_STICKS
    assert [(s.start, s.end) for s in sticks_of(COCO17)[:2]] == [
        (("right_ankle",), ("right_knee",)),
        (("right_knee",), ("right_hip",)),
    ]
    truth = np.random.default_rng(0).uniform(0, 99, (3, 17, 2))
    right, _ = pcp(truth, truth, np.ones((3, 17), bool), COCO17)
    assert right.shape == (3, len(COCO17.limbs))
    assert right.all()
    with pytest.raises(ValueError, match="'dot' has no limbs"):
        sticks_of(Skeleton("dot", ("a",)))
    with pytest.raises(ValueError, match=r"predicted has shape \(3, 16, 2\), expected \(3, 17, 2\)"):
        pcp(truth[:, :16], truth, np.ones((3, 17), bool), COCO17)
