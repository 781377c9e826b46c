import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.formats import lsp
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.person_scale import LIMBS, limb_scale, limb_side_px, row_quantile, with_crop

# The ends of each limb and its length at a scale of 1, as the module's table prints them.
ENDS = [
    *(("shoulder", "elbow", 36.5), ("elbow", "wrist", 30.8), ("hip", "knee", 52.4), ("knee", "ankle", 50.6)),
    *(("shoulder", "hip", 65.9), ("neck", "head_top", 33.3)),
]


def annotations(skeleton: Skeleton, keypoints: Any, labelled: Any, side_px: Any) -> Annotations:
    points, count = np.asarray(keypoints, float), len(keypoints)
    return Annotations(
        file=Path("a.json"),
        form="coco",
        what="people",
        skeleton=skeleton,
        where=[f"a.json: row {n}" for n in range(count)],
        names=["a.jpg"] * count,
        ids=np.arange(count),
        splits=[""] * count,
        keypoints=points,
        visibility=2 * np.asarray(labelled, np.uint8),
        tells_hidden=False,
        origin=0,
        center=np.where(np.isnan(side_px)[:, None], np.nan, np.full((count, 2), 7.0)),
        side_px=np.asarray(side_px, float),
    )


def placed(skeleton: Skeleton, **places: tuple[float, float]) -> tuple[Any, Any]:
    """Keypoints and labels of one person of whom only these joints are labelled; the others are nonsense."""
    keypoints, labelled = np.full((len(skeleton), 2), np.nan), np.zeros(len(skeleton), bool)
    for joint, place in places.items():
        keypoints[skeleton.index(joint)], labelled[skeleton.index(joint)] = place, True
    return keypoints, labelled


def test_by_hand() -> None:
    rows = [
        # One limb: a thigh of 104.8 px, slanted 3 to 4, is two scale units.
        placed(LSP14, left_hip=(0, 0), left_knee=(0.6 * 104.8, 0.8 * 104.8)),
        # Thigh of 2 units, shank of 1: three quarters of the way up.
        placed(LSP14, left_hip=(0, 0), left_knee=(0, 104.8), left_ankle=(50.6, 104.8)),
        # Joints without a limb between them, then nobody at all.
        placed(LSP14, left_hip=(0, 0), right_knee=(0, 50)),
        placed(LSP14),
        # A head of a third of a unit, sides of the torso of 1 and 0.5; place 0.75 x 2 lies half-way to 1.
        placed(
            LSP14,
            neck=(0, 0),
            head_top=(0, 11.1),
            left_shoulder=(0, 100),
            left_hip=(0, 165.9),
            right_shoulder=(50, 100),
            right_hip=(50, 132.95),
        ),
        # A limb in one place has no length.
        placed(LSP14, right_elbow=(5, 5), right_wrist=(5, 5)),
    ]
    keypoints, labelled = zip(*rows, strict=True)
    people = annotations(LSP14, keypoints, labelled, [11, 12, 13, np.nan, 15, 16])
    np.testing.assert_allclose(limb_scale(people), [2, 1.75, np.nan, np.nan, 0.75, 0], atol=1e-12)
    # 250 px for each unit, and no less than 8; the box for who has no limb.
    np.testing.assert_allclose(limb_side_px(people), [500, 437.5, 13, np.nan, 187.5, 8])
    changed = with_crop(people, "limbs")
    np.testing.assert_array_equal(changed.side_px, limb_side_px(people))
    np.testing.assert_array_equal(changed.center, people.center)
    assert with_crop(people, "box") is people


def test_who_has_no_middle_gets_no_side() -> None:
    keypoints, labelled = placed(LSP14, left_hip=(0, 0), left_knee=(0, 50))
    people = annotations(LSP14, [keypoints], [labelled], [np.nan])
    assert limb_scale(people)[0] == pytest.approx(50 / 52.4)
    assert np.isnan(with_crop(people, "limbs").side_px[0])


@pytest.mark.parametrize(("skeleton", "limbs"), [(MPII16, 11), (LSP14, 11), (COCO17, 10), (FLIC11, 6)])
def test_every_built_in_skeleton_has_limbs(skeleton: Skeleton, limbs: int) -> None:
    assert sum(set(ends) <= set(skeleton.joints) for ends in LIMBS) == limbs
    # Limbs of twice their reference length each, hung up anywhere.
    for (a, b), px in LIMBS.items():
        if {a, b} <= set(skeleton.joints):
            keypoints, labelled = placed(skeleton, **{a: (9.0, 3.0), b: (9.0, 3.0 - 2 * px)})
            people = annotations(skeleton, [keypoints], [labelled], [1.0])
            assert limb_side_px(people)[0] == pytest.approx(500)


@given(
    arrays.arrays(np.float64, (2, 17, 2), elements=st.floats(-1e4, 1e4)),
    arrays.arrays(np.bool_, (2, 17)),
)
def test_against_numpys_quantile(keypoints: Any, labelled: Any) -> None:
    scale = limb_scale(annotations(COCO17, keypoints, labelled, [1.0, 1.0]))
    for n in range(2):
        ratios = []
        for a, b, px in ENDS[:-1]:
            for side in ("left_", "right_"):
                i, j = COCO17.joints.index(side + a), COCO17.joints.index(side + b)
                if labelled[n, i] and labelled[n, j]:
                    ratios.append(math.dist(keypoints[n, i], keypoints[n, j]) / px)
        expected = np.quantile(ratios, 0.75) if ratios else math.nan
        np.testing.assert_allclose(scale[n], expected, rtol=1e-9, atol=1e-9)


def test_what_cannot_be() -> None:
    horse = Skeleton("horse", ("nose", "tail"))
    people = annotations(horse, [[(0, 0), (9, 9)]], [[True, True]], [9.0])
    with pytest.raises(ValueError, match=r"data\.crop: skeleton 'horse' has none of the limbs .*; use box"):
        with_crop(people, "limbs")
    with pytest.raises(ValueError, match=r"data\.crop: 'limb' is not one of box, limbs"):
        with_crop(people, "limb")


@pytest.mark.slow
@pytest.mark.realdata
def test_the_references_and_how_well_they_do_on_mpii(real_data: Path) -> None:
    """Measured again, from the file alone."""
    content = json.loads(gzip.decompress((real_data / "mpii" / "mpii_annotations.json.gz").read_bytes()))
    joints = np.array([entry["joint_self"] for entry in content])
    points, labelled = joints[..., :2], (joints[..., :2] != 0).any(axis=2)
    scale = np.array([entry["scale_provided"] for entry in content])
    train = np.array([entry["isValidation"] for entry in content]) == 0
    assert (train.sum(), (~train).sum()) == (22_246, 2_958)
    counts = []
    for a, b, px in ENDS:
        ratios = []
        for side in ("left_", "right_") if a != "neck" else ("",):
            i, j = MPII16.joints.index(side + a), MPII16.joints.index(side + b)
            both = train & labelled[:, i] & labelled[:, j]
            ratios.append(np.linalg.norm(points[both, i] - points[both, j], axis=1) / scale[both])
            assert LIMBS[side + a, side + b] == px
        pooled = np.concatenate(ratios)
        counts.append(len(pooled))
        assert np.quantile(pooled, 0.75) == pytest.approx(px, abs=0.055)
    assert counts == [44_137, 43_858, 36_881, 31_172, 43_304, 22_099]

    def told(known: Any) -> Any:
        people = annotations(MPII16, points[~train], known[~train], np.ones(2958))
        return limb_scale(people) / scale[~train]

    ratio = told(labelled)
    np.testing.assert_allclose(np.quantile(ratio, [0.25, 0.5, 0.75]), [0.90, 0.985, 1.05], atol=0.005)
    np.testing.assert_allclose(np.quantile(ratio, [0.05, 0.95]), [0.74, 1.22], atol=0.005)
    assert [round((abs(ratio - 1) < share).mean(), 2) for share in (0.1, 0.2)] == [0.6, 0.85]
    headless = labelled.copy()
    headless[:, MPII16.index("head_top")] = False
    ratio = told(headless)
    np.testing.assert_allclose(np.quantile(ratio, [0.25, 0.5, 0.75]), [0.86, 0.96, 1.06], atol=0.005)
    assert round((abs(ratio - 1) < 0.2).mean(), 2) == 0.78


@pytest.mark.realdata
def test_limbs_against_the_box_on_lsp(real_data: Path) -> None:
    people = lsp.read_lsp(real_data / "lsp" / "joints.mat")
    by_limbs = with_crop(people, "limbs")
    ratio = by_limbs.side_px / people.side_px
    assert np.corrcoef(by_limbs.side_px, people.side_px)[0, 1] == pytest.approx(0.91, abs=0.005)
    np.testing.assert_allclose(np.quantile(ratio, [0.05, 0.5, 0.95]), [0.92, 1.06, 1.52], atol=0.005)
    away = abs(people.keypoints - by_limbs.center[:, None]).max(axis=2)
    assert (away > by_limbs.side_px[:, None] / 2).sum() == 2


def test_quantiles_leave_nan_aside() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 9))
    table[rng.random(table.shape) < 0.3] = np.nan
    table[5] = np.nan
    kept = [row for row in range(40) if row != 5]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = row_quantile(table, share)
        assert np.isnan(found[5])
        np.testing.assert_allclose(found[kept], [np.nanquantile(table[row], share) for row in kept])
    assert np.isnan(row_quantile(table[:, :0], 0.5)).all()
