"""`joints.mat` with flipped bits, with holes, or out of thin air."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from damaged import or_refusal, refusals
from leeds_archives import BOTH, LSP, Joints, Kind

COPIES = [200, pytest.param(2000, marks=pytest.mark.slow)]


@pytest.mark.realdata
@pytest.mark.parametrize("kind", BOTH, ids=str)
@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_damaged_copies_of_the_real_file(
    tmp_path: Path, real_data: Path, kind: Kind, copies: int, packed: bool
) -> None:
    original = real_data / str(kind) / "joints.mat"
    array = scipy.io.loadmat(original)["joints"]
    whole = original.read_bytes()
    if not packed:
        # A checksum guards what is packed; here the damage reaches the numbers.
        whole = kind.write_joints(tmp_path, array).read_bytes()
    file = tmp_path / f"{kind}.mat"

    def told(copy: Path) -> Joints:
        """The numbers that the copy ends with; those of the original where they are packed."""
        numbers: Joints = array
        if not packed:
            tail = copy.read_bytes()[-array.nbytes :]
            numbers = np.frombuffer(tail, np.float64).reshape(array.shape, order="F")
        return numbers.transpose(np.argsort(kind.axes))[..., :2]

    refused = refusals(kind.read, told, file, whole, copies)
    assert refused > copies / 5
    if not packed:
        assert refused < copies
    file.write_bytes(whole)
    np.testing.assert_array_equal(kind.read(file).keypoints, told(file))


odd = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 1e8, 0.0, -250.5])
coordinate = st.one_of(st.floats(0, 2000), st.floats(0, 2000), st.floats(0, 2000), odd)
flag = st.one_of(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0, 0.5, math.nan]))


@st.composite
def drawn_joints(draw: st.DrawFn) -> Joints:
    """(N, 14, 3) of a few people, now and then with a number that is none."""
    count = draw(st.integers(1, 3))
    clean = draw(st.booleans())
    points = draw(
        arrays.arrays(np.float64, (count, 14, 2), elements=st.floats(0, 2000) if clean else coordinate)
    )
    flags = draw(
        arrays.arrays(np.float64, (count, 14, 1), elements=st.sampled_from([0.0, 1.0]) if clean else flag)
    )
    return np.concatenate([points, flags], axis=2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(BOTH),
    drawn_joints(),
    st.sampled_from(["box", "limbs"]),
    st.sampled_from(["", "observer"]),
)
def test_any_numbers(tmp_path: Path, kind: Kind, joints: Joints, crop: str, sides: str) -> None:
    root = tmp_path / str(kind)
    file = kind.write_joints(root, joints.transpose(kind.axes))
    kind.touch(root, range(1, len(joints) + 1))
    points, flags = joints[..., :2], joints[..., 2]
    labelled = np.ones_like(flags, bool) if kind is LSP else flags == 1
    sound = np.isin(flags, (0, 1)).all() and bool((np.abs(points[labelled]) < 1e8).all())

    people = or_refusal(lambda: kind.read(file), file)
    assert (people is not None) == sound
    if people is not None:
        np.testing.assert_array_equal(people.keypoints, points)
        np.testing.assert_array_equal(people.labelled, labelled)
        np.testing.assert_array_equal(np.isnan(people.side_px), labelled.sum(axis=1) < 2)

    found = or_refusal(lambda: kind.load(root, "train", crop, sides), file)
    several = [number for number in range(1, len(joints) + 1) if labelled[number - 1].sum() > 1]
    assert (found is not None) == (sound and bool(several))
    if found is None:
        return
    for number, record in zip(several, found, strict=True):
        assert record.person_id == number
        assert np.isfinite(record.keypoints[record.labelled]).all()
        # Whatever the sides, the labelled joints are the same set of points.
        ours, given = record.keypoints[record.labelled], points[number - 1, labelled[number - 1]]
        np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort((given - 1).astype(np.float32), axis=0))
        assert math.isfinite(record.side_px)
        assert record.side_px >= 8
