import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17, LSP14, Skeleton
from hourglass.evaluation.metrics.oks import Crowded, similarity
from hourglass.inference.detection.suppress import alike, distinct, surest
from hourglass.inference.poses.pose import Pose

BARE = Skeleton("bare", ("a", "b", "c"))


def pose(
    rng: np.random.Generator, skeleton: Skeleton = COCO17, score: float = 0.5, box_score: float | None = None
) -> Pose:
    joints = len(skeleton)
    return Pose(
        rng.uniform(0, 100, (joints, 2)).astype(np.float32),
        np.full(joints, score, np.float32),
        skeleton,
        np.array([0, 0, 120, 120], np.float32),
        box_score=box_score,
    )


def moved(of: Pose, px: float, score: float, box: float = 120) -> Pose:
    return Pose(
        of.keypoints + np.float32(px),
        np.full(len(of.skeleton), score, np.float32),
        of.skeleton,
        np.array([0, 0, box, box], np.float32),
    )


def by_hand(a: Pose, b: Pose) -> float:
    """OKS of two poses, joint by joint."""
    area = (float(a.box[2]) ** 2 + float(b.box[2]) ** 2) / 2
    assert a.skeleton.oks_sigmas is not None
    terms = []
    for (ax, ay), (bx, by), sigma in zip(a.keypoints, b.keypoints, a.skeleton.oks_sigmas, strict=True):
        square = (float(ax) - float(bx)) ** 2 + (float(ay) - float(by)) ** 2
        terms.append(math.exp(-square / (2 * area * (2 * sigma) ** 2)))
    return sum(terms) / len(terms)


def by_brute_force(poses: list[Pose], threshold: float) -> list[Pose]:
    """The surest pose first; one goes when any that stayed before is too much like it."""
    order = sorted(range(len(poses)), key=lambda i: (-poses[i].score * (poses[i].box_score or 1), i))
    stay: list[int] = []
    for i in order:
        if all(by_hand(poses[i], poses[j]) <= threshold for j in stay):
            stay.append(i)
    return [poses[i] for i in sorted(stay)]


def test_the_same_person_twice_is_once_and_others_stay_in_order() -> None:
    rng = np.random.default_rng(0)
    one, other = pose(rng, score=0.4), pose(rng, score=0.6)
    twin = moved(one, 0.5, score=0.9)
    found = distinct([one, other, twin])
    assert [p is q for p, q in zip(found, (other, twin), strict=True)] == [True, True]
    assert distinct([one, other, twin], 1.0) == [one, other, twin]
    assert distinct([]) == []
    assert distinct([one]) == [one]


def test_the_boxs_score_counts_too() -> None:
    rng = np.random.default_rng(0)
    sure, unsure = pose(rng, score=0.5, box_score=0.9), None
    unsure = Pose(sure.keypoints, sure.scores + np.float32(0.1), sure.skeleton, sure.box, box_score=0.5)
    assert distinct([unsure, sure]) == [sure]


def test_a_chain_is_cut_where_the_surest_reaches() -> None:
    """A, B and C in a row, each like the next only: B is the surest and takes both; else A and C stay."""
    rng = np.random.default_rng(1)
    middle = pose(rng, score=0.9)
    left, right = moved(middle, -4, 0.5), moved(middle, 4, 0.6)
    near, far = by_hand(left, middle), by_hand(left, right)
    threshold = (near + far) / 2
    assert far < threshold < near
    assert distinct([left, middle, right], threshold) == [middle]
    weak = moved(middle, 0, 0.1)
    assert distinct([left, weak, right], threshold) == [left, right]


def test_oks_is_cocos_where_both_areas_are_the_persons() -> None:
    rng = np.random.default_rng(2)
    poses = [pose(rng) for _ in range(4)]
    for i in (1, 3):
        poses[i] = moved(poses[i - 1], rng.uniform(1, 8), 0.5)
    people = Crowded(
        keypoints=np.stack([p.keypoints for p in poses]),
        visibility=np.full((4, 17), 2, np.uint8),
        area=np.full(4, 120.0**2),
        box=np.zeros((4, 4)),
        crowd=np.zeros(4, bool),
        image=np.zeros(4, np.int64),
        images=1,
        sigmas=np.array(COCO17.oks_sigmas),
    )
    expected = similarity(people.keypoints, people, np.arange(4))
    np.testing.assert_allclose(alike(poses), expected, rtol=1e-12)
    assert alike(poses)[0, 1] > 0.3


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0, 1), skeleton=st.sampled_from([COCO17, LSP14]))
def test_it_agrees_with_one_pair_at_a_time(seed: int, threshold: float, skeleton: Skeleton) -> None:
    rng = np.random.default_rng(seed)
    poses: list[Pose] = []
    for _ in range(int(rng.integers(0, 9))):
        if poses and rng.random() < 0.7:
            of = poses[int(rng.integers(len(poses)))]
            poses.append(moved(of, rng.normal(0, 6), rng.random(), rng.uniform(60, 200)))
        else:
            poses.append(pose(rng, skeleton, rng.random(), rng.random() if rng.random() < 0.5 else None))
    assert distinct(poses, threshold) == by_brute_force(poses, threshold)


def test_equal_scores_keep_the_first() -> None:
    rows = np.array([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1.0]])
    assert surest(rows, np.array([0.5, 0.5, 0.7]), 0.9) == [2, 0]


def test_a_skeleton_without_sigmas_gets_cocos_mean() -> None:
    rng = np.random.default_rng(3)
    one = pose(rng, BARE)
    other = moved(one, 3, 0.9)
    mean = sum(COCO17.oks_sigmas or ()) / 17
    assert alike([one, other])[0, 1] == pytest.approx(math.exp(-18 / (2 * 120**2 * 4 * mean**2)), rel=1e-4)
    assert distinct([one, other], 0.5) == [other]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_lies_between_0_and_1(threshold: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        distinct([], threshold)
