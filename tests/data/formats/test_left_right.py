from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hourglass.core.skeleton import FLIC11, LSP14, Skeleton
from hourglass.data.formats.annotations import Annotations, records
from hourglass.data.formats.skeleton_map import observer_centric, observer_records, with_sides

RIGHT, LEFT = LSP14.joints.index("right_shoulder"), LSP14.joints.index("left_shoulder")
# LSP's joints in a mirror, written out.
MIRROR = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]


def annotations(skeleton: Skeleton, keypoints: Any, visibility: Any) -> Annotations:
    count = len(keypoints)
    return Annotations(
        file=Path("a.h5"),
        form="lsp",
        what="three people",
        skeleton=skeleton,
        where=[f"a.h5: row {n}" for n in range(count)],
        names=["a.jpg"] * count,
        ids=np.arange(count),
        splits=["train"] * count,
        keypoints=np.asarray(keypoints, float),
        visibility=np.asarray(visibility, np.uint8),
        tells_hidden=True,
        origin=1,
        center=np.full((count, 2), 50.0),
        side_px=np.full(count, 90.0),
        lengths={"head": np.arange(1.0, count + 1)},
    )


def test_by_hand() -> None:
    keypoints = np.stack([np.stack([np.arange(14.0) + 100 * n, np.arange(14.0)], axis=1) for n in range(4)])
    visibility = np.tile(np.array([2, 1] * 7), (4, 1))
    # Rows 8 and 9 are the right and the left shoulder: 0 is seen from the front, 1 from behind,
    # 2 from behind with an unlabelled shoulder, 3 exactly from the side.
    keypoints[1, [8, 9], 0] = 109, 108
    keypoints[2, [8, 9], 0] = 209, 208
    visibility[2, 8] = 0
    keypoints[3, [8, 9], 0] = 300
    people = annotations(LSP14, keypoints, visibility)
    seen = observer_centric(people)
    for n in (0, 2, 3):
        np.testing.assert_array_equal(seen.keypoints[n], keypoints[n])
        np.testing.assert_array_equal(seen.visibility[n], visibility[n])
    np.testing.assert_array_equal(seen.keypoints[1], keypoints[1, MIRROR])
    np.testing.assert_array_equal(seen.visibility[1], visibility[1, MIRROR])
    assert seen.keypoints[1, LEFT, 0] > seen.keypoints[1, RIGHT, 0]
    for name in ("center", "side_px", "ids"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(people, name))
    np.testing.assert_array_equal(seen.lengths["head"], people.lengths["head"])
    np.testing.assert_array_equal(people.keypoints, keypoints)


@given(
    arrays.arrays(np.float64, (3, 14, 2), elements=st.floats(0, 50).map(round)),
    arrays.arrays(np.uint8, (3, 14), elements=st.integers(0, 2)),
)
def test_once_is_enough_and_nobody_is_left_from_behind(keypoints: Any, visibility: Any) -> None:
    people = annotations(LSP14, keypoints, visibility)
    once = observer_centric(people)
    twice = observer_centric(once)
    np.testing.assert_array_equal(twice.keypoints, once.keypoints)
    np.testing.assert_array_equal(twice.visibility, once.visibility)
    both = once.labelled[:, RIGHT] & once.labelled[:, LEFT]
    assert (once.keypoints[both, LEFT, 0] >= once.keypoints[both, RIGHT, 0]).all()
    for n in range(3):
        # Whole people change sides, or nobody does.
        same = np.array_equal(once.keypoints[n], keypoints[n])
        assert same or np.array_equal(once.keypoints[n], keypoints[n, MIRROR])


def test_by_records_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    draw = np.random.default_rng(0)
    people = annotations(LSP14, draw.uniform(0, 99, (20, 14, 2)), draw.integers(0, 3, (20, 14)))
    usual = records(people, tmp_path)
    by_records, expected = observer_records(usual), records(observer_centric(people), tmp_path)
    for a, b in zip(by_records, expected, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.visibility, b.visibility)
        assert (a.person_id, a.side_px) == (b.person_id, b.side_px)
    changed = [not np.array_equal(a.keypoints, b.keypoints) for a, b in zip(usual, by_records, strict=True)]
    assert any(changed)
    assert not all(changed)
    assert observer_records([]) == []


def test_the_words_of_the_option() -> None:
    keypoints = np.tile(np.arange(14.0)[::-1, None], (1, 1, 2))
    people = annotations(LSP14, keypoints, np.full((1, 14), 2))
    assert with_sides(people, "") is people
    np.testing.assert_array_equal(with_sides(people, "observer").keypoints[0], keypoints[0, MIRROR])
    with pytest.raises(ValueError, match=r"data\.sides: .* three people .*don't tell who was swapped"):
        with_sides(people, "person")
    with pytest.raises(ValueError, match=r"data\.sides: 'left' is not one of"):
        with_sides(people, "left")


@pytest.mark.parametrize(
    "skeleton",
    [
        Skeleton("horse", ("nose", "tail")),
        Skeleton("one", ("left_shoulder", "nose")),
        Skeleton("loose", ("left_shoulder", "right_shoulder")),
    ],
    ids=lambda s: s.name,
)
def test_a_skeleton_without_a_pair_of_shoulders(skeleton: Skeleton) -> None:
    people = annotations(skeleton, [[(0, 0), (9, 9)]], [[2, 2]])
    with pytest.raises(ValueError, match=rf"data\.sides: skeleton '{skeleton.name}' has no pair of left_sh"):
        observer_centric(people)


@pytest.mark.realdata
@pytest.mark.parametrize(("split", "people", "swapped"), [("train", 3987, 199), ("valid", 1016, 48)])
def test_flics_person_centric_file_becomes_its_observer_centric_one(
    real_data: Path, split: str, people: int, swapped: int
) -> None:
    parts = []
    for name in (f"{split}_personcentric.h5", f"{split}.h5"):
        with h5py.File(real_data / "flic" / "annot" / name) as content:
            parts.append(np.asarray(content["part"][()], float))
    own, observers = parts
    read = annotations(FLIC11, own, np.full(own.shape[:2], 2))
    ours = observer_centric(replace(read, origin=0))
    np.testing.assert_array_equal(ours.keypoints, observers)
    assert len(own) == people
    assert (own != observers).any(axis=(1, 2)).sum() == swapped
    # Left shoulder 0, right shoulder 3: no ties.
    assert (ours.keypoints[:, 0, 0] > ours.keypoints[:, 3, 0]).all()
    np.testing.assert_array_equal(observer_centric(ours).keypoints, observers)
