"""Maps between skeletons, against FACTS B1 and by hand."""

from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.lsp import read_lsp as read_joints
from hourglass.data.formats.skeleton_map import describe_map, map_skeleton


def annotated(skeleton: Skeleton, count: int = 2, origin: int = 1) -> Annotations:
    """People whose joint j lies at (10 j + n, 100 + j), all visible."""
    joints = np.arange(len(skeleton), dtype=np.float64)
    points = np.stack([10 * joints, 100 + joints], axis=1)
    shift = np.stack([np.arange(count), np.zeros(count)], axis=1)
    return Annotations(
        file=Path("people.x"),
        form="lsp",
        what="people",
        skeleton=skeleton,
        where=[f"row {n}" for n in range(count)],
        names=[f"{n}.jpg" for n in range(count)],
        ids=np.arange(count, dtype=np.int64),
        splits=["train"] * count,
        keypoints=(points + shift[:, None]).astype(np.float64),
        visibility=np.full((count, len(skeleton)), 2, np.uint8),
        tells_hidden=True,
        origin=origin,
        center=np.full((count, 2), 50.0),
        side_px=np.full(count, 200.0),
    )


def with_flags(people: Annotations, flags: dict[str, int]) -> Annotations:
    for joint, flag in flags.items():
        people.visibility[:, people.skeleton.index(joint)] = flag
    return people


# FACTS B1, after bearpaw's gen_lsp.m: LSP's rows 0-5, pelvis, thorax, 12, 13, 6-11.
LSP_ROW_OF_MPII = {**{row: row for row in range(6)}, 8: 12, 9: 13, **{10 + n: 6 + n for n in range(6)}}


def test_lsp_becomes_mpii_in_the_order_of_bearpaw() -> None:
    people = annotated(LSP14)
    mapped = map_skeleton(people, MPII16)
    for mpii_row, lsp_row in LSP_ROW_OF_MPII.items():
        np.testing.assert_array_equal(mapped.keypoints[:, mpii_row], people.keypoints[:, lsp_row])
    # Hips are LSP's rows 2 and 3, shoulders 8 and 9: (20 + 30) / 2 and (102 + 103) / 2, and so on.
    np.testing.assert_array_equal(mapped.keypoints[:, 6], [[25, 102.5], [26, 102.5]])
    np.testing.assert_array_equal(mapped.keypoints[:, 7], [[85, 108.5], [86, 108.5]])
    assert (mapped.visibility == 2).all()
    assert mapped.skeleton is MPII16


def test_upper_neck_and_thorax_are_two_joints() -> None:
    plan = describe_map(LSP14, MPII16)
    assert "neck" in plan.kept
    assert plan.derived["thorax"] == ("left_shoulder", "right_shoulder")
    people = map_skeleton(annotated(LSP14), MPII16)
    neck, thorax = (people.keypoints[0, MPII16.index(joint)] for joint in ("neck", "thorax"))
    assert not np.array_equal(neck, thorax)
    assert describe_map(COCO17, MPII16).absent == ("neck", "head_top")
    assert describe_map(MPII16, LSP14).dropped == ("pelvis", "thorax")


@pytest.mark.parametrize(
    ("sources", "derived"), [((2, 2), 2), ((2, 1), 1), ((1, 1), 1), ((2, 0), 0), ((0, 1), 0), ((0, 0), 0)]
)
def test_what_is_known_of_a_derived_joint(sources: tuple[int, int], derived: int) -> None:
    people = with_flags(annotated(LSP14), {"left_hip": sources[0], "right_hip": sources[1]})
    mapped = map_skeleton(people, MPII16)
    assert (mapped.visibility[:, MPII16.index("pelvis")] == derived).all()
    assert (mapped.visibility[:, MPII16.index("thorax")] == 2).all()


def test_own_pelvis_is_kept_and_not_derived() -> None:
    people = with_flags(annotated(MPII16), {"pelvis": 0})
    smaller = Skeleton("three", ("pelvis", "left_hip", "right_hip"))
    assert describe_map(MPII16, smaller).derived == {}
    np.testing.assert_array_equal(map_skeleton(people, smaller).visibility, [[0, 2, 2]] * 2)


@pytest.mark.parametrize(
    ("have", "to", "kept", "derived", "absent", "dropped"),
    [
        (COCO17, MPII16, 12, 2, 2, 5),
        (COCO17, LSP14, 12, 0, 2, 5),
        (COCO17, FLIC11, 11, 0, 0, 6),
        (MPII16, COCO17, 12, 0, 5, 4),
        (MPII16, LSP14, 14, 0, 0, 2),
        (MPII16, FLIC11, 8, 0, 3, 8),
        (LSP14, COCO17, 12, 0, 5, 2),
        (LSP14, MPII16, 14, 2, 0, 0),
        (LSP14, FLIC11, 8, 0, 3, 6),
        (FLIC11, COCO17, 11, 0, 6, 0),
        (FLIC11, MPII16, 8, 2, 6, 3),
        (FLIC11, LSP14, 8, 0, 6, 3),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_counts_between_all_skeletons(
    have: Skeleton, to: Skeleton, kept: int, derived: int, absent: int, dropped: int
) -> None:
    plan = describe_map(have, to)
    assert [len(part) for part in (plan.kept, plan.derived, plan.absent, plan.dropped)] == [
        kept,
        derived,
        absent,
        dropped,
    ]
    people = annotated(have)
    mapped = map_skeleton(people, to)
    for joint in to.joints:
        row = to.index(joint)
        if joint in plan.kept:
            np.testing.assert_array_equal(mapped.keypoints[:, row], people.keypoints[:, have.index(joint)])
        assert (mapped.visibility[:, row] == (0 if joint in plan.absent else 2)).all()


@pytest.mark.parametrize("origin", [0, 1])
def test_absent_joints_are_coco_s_zeros(origin: int) -> None:
    mapped = map_skeleton(annotated(COCO17, origin=origin), MPII16)
    np.testing.assert_array_equal(mapped.keypoints[0, MPII16.index("neck")] - mapped.origin, [0, 0])


def test_crops_and_ids_stay() -> None:
    people = annotated(LSP14)
    mapped = map_skeleton(people, COCO17)
    for part in ("ids", "names", "center", "side_px", "splits", "where", "form", "origin", "tells_hidden"):
        np.testing.assert_array_equal(getattr(mapped, part), getattr(people, part))


def test_columns_of_the_old_joints_go() -> None:
    from dataclasses import replace

    joints = np.zeros((2, 14, 3))
    other = np.fromiter([{}, [1]], object, 2)
    people = replace(annotated(LSP14), columns={"size": np.ones(2), "joints": joints, "others": other})
    assert list(map_skeleton(people, MPII16).columns) == ["size"]
    renamed = Skeleton("mine", LSP14.joints)
    assert list(map_skeleton(people, renamed).columns) == ["size", "joints", "others"]


def test_the_same_skeleton_changes_nothing() -> None:
    people = annotated(LSP14)
    assert map_skeleton(people, LSP14) is people


def test_too_little_in_common_is_refused() -> None:
    hand = Skeleton("hand", ("thumb", "nose", "finger"))
    with pytest.raises(ValueError, match=r"skeletons hand and coco17 have 1 joints in common.*thumb, nose"):
        map_skeleton(annotated(hand), COCO17)


def test_sentence_tells_each_joint() -> None:
    sentence = describe_map(COCO17, MPII16).sentence()
    assert sentence.startswith("12 joints kept; derived: pelvis (middle of left_hip and right_hip), thorax")
    assert "; absent: neck, head_top; dropped: nose, left_eye" in sentence
    assert describe_map(LSP14, LSP14).sentence() == "14 joints kept"


@pytest.mark.realdata
def test_real_lsp_in_mpii_s_order(real_data: Path) -> None:
    people = read_joints(real_data / "lsp" / "joints.mat")
    mapped = map_skeleton(people, MPII16)
    source, result = people.keypoints, mapped.keypoints
    expected = np.concatenate(
        [
            source[:, :6],
            ((source[:, 2] + source[:, 3]) / 2)[:, None],
            ((source[:, 8] + source[:, 9]) / 2)[:, None],
            source[:, [12, 13]],
            source[:, 6:12],
        ],
        axis=1,
    )
    np.testing.assert_array_equal(result, expected)
    hidden = people.visibility == 1
    assert (mapped.visibility[:, 6] == 1).sum() == (hidden[:, 2] | hidden[:, 3]).sum()
    # A thorax lies below the upper neck, towards the pelvis.
    trunk = np.linalg.norm(result[:, 8] - result[:, 6], axis=1)
    assert np.median(np.linalg.norm(result[:, 7] - result[:, 6], axis=1) / trunk) < 0.95
