import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hourglass.core.skeleton import FLIC11, LSP14, Skeleton
from hourglass.evaluation.metrics.pck import box_length, pck, person_errors, torso_length

DATA = os.environ.get("HOURGLASS_DATA", "")


def people(seed: int, count: int = 40, joints: int = 5) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 200, (count, joints, 2))
    predicted = truth + rng.normal(0, 12, truth.shape)
    labelled = rng.random((count, joints)) < 0.7
    reference = rng.uniform(20, 90, count)
    reference[rng.random(count) < 0.2] = np.nan
    return predicted, truth, labelled, reference


def brute_force(
    predicted: Any, truth: Any, labelled: Any, reference: Any, threshold: float
) -> tuple[list[int], list[int], int]:
    right, counted = [0] * len(truth[0]), [0] * len(truth[0])
    who = set()
    for i, person in enumerate(truth):
        for j, joint in enumerate(person):
            if labelled[i][j] and reference[i] > 0 and math.isfinite(reference[i]):
                who.add(i)
                counted[j] += 1
                dx, dy = predicted[i][j][0] - joint[0], predicted[i][j][1] - joint[1]
                right[j] += math.sqrt(dx * dx + dy * dy) / reference[i] <= threshold
    return right, counted, len(who)


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_agrees_with_a_plain_double_loop(seed: int, threshold: float) -> None:
    arguments = people(seed)
    right, counted, who = brute_force(*arguments, threshold)
    result = pck(*arguments, threshold)
    np.testing.assert_array_equal(result.counts, counted)
    np.testing.assert_allclose(result.per_joint, np.array(right) / counted, rtol=1e-12)
    assert result.people == who
    assert result.mean == pytest.approx(np.mean(np.array(right) / counted))
    assert result.pooled == pytest.approx(sum(right) / sum(counted))
    assert 0 < result.mean < 1


def test_three_people_counted_by_hand() -> None:
    # Torsos of 100, 50 and none. Person 0: off by 20 (just right) and by 21; person 1: exact and
    # unlabelled; person 2 has no torso and doesn't count, however right.
    truth = np.zeros((3, 2, 2))
    predicted = np.array([[[20, 0], [0, 21]], [[0, 0], [500, 0]], [[0, 0], [0, 0]]], float)
    labelled = np.array([[True, True], [True, False], [True, True]])
    result = pck(predicted, truth, labelled, np.array([100, 50, np.nan]), 0.2)
    assert result.per_joint.tolist() == [1.0, 0.0]
    assert result.counts.tolist() == [2, 1]
    assert result.people == 2
    assert result.mean == 0.5
    assert result.pooled == pytest.approx(2 / 3)
    errors = person_errors(predicted, truth, labelled, np.array([100, 50, np.nan]))
    np.testing.assert_allclose(errors, [(0.20 + 0.21) / 2, 0, np.nan])


def test_nobody_counted_is_not_a_score() -> None:
    some = np.zeros((2, 3, 2))
    for labelled, reference in (
        (np.zeros((2, 3), bool), np.array([10.0, 10.0])),
        (np.ones((2, 3), bool), np.array([np.nan, 0.0])),
        (np.ones((2, 3), bool), np.array([np.inf, -1.0])),
    ):
        result = pck(some, some, labelled, reference)
        assert math.isnan(result.mean)
        assert math.isnan(result.pooled)
        assert np.isnan(result.per_joint).all()
        assert result.people == 0
        assert np.isnan(person_errors(some, some, labelled, reference)).all()
    assert math.isnan(pck(some[:0], some[:0], np.zeros((0, 3), bool), np.zeros(0)).mean)


def test_a_joint_that_never_occurs_leaves_the_mean_alone() -> None:
    truth = np.zeros((2, 3, 2))
    labelled = np.array([[True, False, True], [True, False, True]])
    predicted = np.array([[[0, 0], [9, 9], [0, 0]], [[0, 0], [9, 9], [90, 0]]], float)
    result = pck(predicted, truth, labelled, np.array([10.0, 10.0]))
    assert np.isnan(result.per_joint).tolist() == [False, True, False]
    assert result.mean == 0.75


def test_what_is_not_labelled_may_hold_anything_and_a_nan_prediction_is_wrong() -> None:
    truth = np.array([[[0.0, 0.0], [np.nan, np.inf]]])
    labelled = np.array([[True, False]])
    assert pck(np.zeros((1, 2, 2)), truth, labelled, np.array([10.0])).pooled == 1.0
    assert pck(np.full((1, 2, 2), np.nan), truth, labelled, np.array([10.0])).pooled == 0.0


@given(st.integers(0, 1000), st.integers(-6, 6))
def test_the_size_of_the_picture_makes_no_difference(seed: int, octaves: int) -> None:
    predicted, truth, labelled, reference = people(seed, 8)
    zoom = 2.0**octaves
    before = pck(predicted, truth, labelled, reference)
    after = pck(zoom * predicted, zoom * truth, labelled, zoom * reference)
    np.testing.assert_array_equal(before.per_joint, after.per_joint)


@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.floats(0, 0.5))
def test_a_laxer_threshold_never_scores_less(seed: int, threshold: float, more: float) -> None:
    arguments = people(seed, 8)
    strict = pck(*arguments, threshold)
    lax = pck(*arguments, threshold + more)
    known = strict.counts > 0
    assert (strict.per_joint[known] <= lax.per_joint[known]).all()
    np.testing.assert_array_equal(strict.counts, lax.counts)


@given(st.integers(0, 1000))
def test_the_order_of_people_makes_no_difference(seed: int) -> None:
    arguments = people(seed, 9)
    order = np.random.default_rng(seed).permutation(9)
    predicted, truth, labelled, reference = (a[order] for a in arguments)
    shuffled = pck(predicted, truth, labelled, reference)
    np.testing.assert_array_equal(pck(*arguments).per_joint, shuffled.per_joint)


def test_torso_prefers_the_first_diagonal_and_falls_back_to_the_other() -> None:
    rows = {name: LSP14.index(name) for name in LSP14.joints}
    keypoints = np.zeros((3, 14, 2))
    keypoints[:, rows["left_shoulder"]] = [30, 40]  # 50 from the right hip at the origin
    keypoints[:, rows["right_shoulder"]] = [5, 12]  # 13 from the left hip at the origin
    labelled = np.ones((3, 14), bool)
    labelled[1, rows["right_hip"]] = False
    labelled[2, [rows["right_hip"], rows["left_hip"]]] = False
    np.testing.assert_allclose(torso_length(LSP14, keypoints, labelled), [50, 13, np.nan])


def test_flic_measures_the_other_diagonal_first() -> None:
    keypoints = np.zeros((1, 11, 2))
    keypoints[:, FLIC11.index("right_shoulder")] = [5, 12]
    keypoints[:, FLIC11.index("left_shoulder")] = [30, 40]
    assert torso_length(FLIC11, keypoints, np.ones((1, 11), bool)).tolist() == [13]


def test_a_skeleton_without_a_torso_is_named() -> None:
    hand = Skeleton("hand2", ("wrist", "thumb"))
    with pytest.raises(ValueError, match="'hand2' has no shoulder-hip diagonal"):
        torso_length(hand, np.zeros((1, 2, 2)), np.ones((1, 2), bool))


def test_shapes_that_disagree_are_named() -> None:
    labelled = np.ones((2, 3), bool)
    good, length = np.zeros((2, 3, 2)), np.ones(2)
    with pytest.raises(ValueError, match=r"predicted has shape \(2, 4, 2\), expected \(2, 3, 2\)"):
        pck(np.zeros((2, 4, 2)), good, labelled, length)
    with pytest.raises(ValueError, match=r"reference has shape \(2, 1\)"):
        pck(good, good, labelled, length[:, None])


# The 14 joints of the MPII table: all but pelvis and thorax.
MPII_14 = [j for j in range(16) if j not in (6, 7)]


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="HOURGLASS_DATA is not set")
@pytest.mark.parametrize(
    ("threshold", "mean", "pooled"), [(0.5, 87.562, 88.035), (0.1, 28.319, 28.647)], ids=["@0.5", "@0.1"]
)
def test_the_original_authors_predictions_get_the_published_pckh(
    threshold: float, mean: float, pooled: float
) -> None:
    import h5py
    from scipy.io import loadmat

    truth = loadmat(Path(DATA) / "mpii" / "detections_our_format.mat")
    with h5py.File(Path(DATA) / "mpii" / "valid-ours.h5") as file:
        predicted = file["preds"][:].astype(float)
    joints = truth["pos_gt_src"].transpose(2, 0, 1).astype(float)
    labelled = truth["jnt_missing"].T == 0
    boxes = truth["headboxes_src"].astype(float)
    head = 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    result = pck(predicted[:, MPII_14], joints[:, MPII_14], labelled[:, MPII_14], head, threshold)
    assert result.people == 2958
    assert int(result.counts.sum()) == 38430
    assert 100 * result.mean == pytest.approx(mean, abs=6e-4)
    assert 100 * result.pooled == pytest.approx(pooled, abs=6e-4)


def test_box_length_by_hand() -> None:
    keypoints = np.array(
        [[[0, 0], [30, 10], [500, 500]], [[5, 5], [7, 9], [1, 1]], [[1, 2], [3, 4], [5, 6]]], float
    )
    labelled = np.array([[True, True, False], [True, True, True], [False, False, False]])
    np.testing.assert_array_equal(box_length(keypoints, labelled), [30, 8, np.nan])
