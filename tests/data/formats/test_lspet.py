"""What only LSPET has; the rest is in test_leeds.py."""

import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hourglass.core.skeleton import LSP14
from hourglass.data.formats.lsp import load_lspet as load_records
from hourglass.data.formats.lsp import read_lspet as read_joints
from leeds_archives import LSPET, Joints


def dataset(root: Path, joints: Joints) -> Path:
    """A folder with photos of 60 x 50."""
    LSPET.write(root, joints, photos=())
    for number in range(1, len(joints) + 1):
        Image.new("RGB", (60, 50)).save(root / "images" / LSPET.photo(number))
    return root


def test_coordinates_flags_and_box_by_hand(tmp_path: Path) -> None:
    joints = np.zeros((2, 14, 3))
    joints[0] = LSPET.people(1)[0]
    joints[1, :, :2] = -250.5
    joints[1, 3] = 11, 21, 1
    joints[1, 13] = 31.5, 41, 1
    record = load_records(dataset(tmp_path / "lspet", joints), "train")[1]
    assert record.skeleton is LSP14
    assert record.image == tmp_path / "lspet" / "images" / "im00002.jpg"
    assert (record.image_id, record.person_id) == ("im00002.jpg", 2)
    assert np.flatnonzero(record.visibility).tolist() == [LSP14.index("left_hip"), LSP14.index("head_top")]
    assert set(record.visibility.tolist()) == {0, 2}
    # 1-based in the file, 0-based here.
    np.testing.assert_allclose(record.keypoints[[3, 13]], [(10, 20), (30.5, 40)])
    np.testing.assert_allclose(record.center, (20.25, 30))
    assert record.side_px == pytest.approx(20.5 * 1.25)


def test_val_is_read_whatever_else_is_missing(tmp_path: Path) -> None:
    root = LSPET.write(tmp_path, LSPET.people(9000), photos=range(8001, 9001))
    assert [r.person_id for r in load_records(root, "val")] == list(range(8001, 9001))
    with pytest.raises(ValueError, match=r"joints\.mat holds people 1 to 9000, none of the test split"):
        load_records(root, "test")


def test_all_spans_the_splits_and_ends_where_the_annotations_end(tmp_path: Path) -> None:
    assert len(load_records(LSPET.write(tmp_path / "few", LSPET.people(3)), "all")) == 3
    root = LSPET.write(tmp_path / "most", LSPET.people(9001), photos=range(1, 9001))
    with pytest.raises(FileNotFoundError, match=r"1 of the 9001 photos .*all split.*first is im09001\.jpg"):
        load_records(root, "all")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_labelled_joint_that_is_not_finite(tmp_path: Path, value: float) -> None:
    joints = LSPET.people(3)
    joints[1, 7, 1] = value
    root = LSPET.write(tmp_path, joints)
    with pytest.raises(
        ValueError,
        match=r"joints\.mat: right_elbow in im00002\.jpg is labelled but not.*or set its flag to 0",
    ):
        load_records(root)
    joints[1, 7, 2] = 0
    LSPET.write(tmp_path, joints)
    assert load_records(root)[1].labelled.sum() == 13


def test_joints_outside_the_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # 60 x 50, so that 3 px beyond the border is still believed.
    joints = LSPET.people(3)
    joints[0, 0, :2] = -1, 20
    joints[0, 1, :2] = 20, 53.4
    joints[1, 0, :2] = 90, 20
    # With its right shoulder far outside nobody can tell who is seen from behind.
    joints[2, 8, :2] = 90, 20
    root = dataset(tmp_path / "lspet", joints)
    with caplog.at_level(logging.INFO):
        near, far, third = load_records(root)
    assert near.labelled.all()
    assert np.flatnonzero(~far.labelled).tolist() == [0]
    # The box is that of the joints that count: 12 of 13 steps from 11 to 50 and from 6 to 45.
    assert far.side_px == pytest.approx(1.25 * 36)
    assert "joints far outside their picture: 2" in caplog.text
    np.testing.assert_array_equal(load_records(root, sides="observer")[2].keypoints, third.keypoints)
    # The file alone can't tell.
    assert read_joints(root / "joints.mat").labelled.all()


def test_people_with_too_few_joints_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    joints = LSPET.people(4)
    joints[1, :, 2] = 0
    joints[2, 1:, 2] = 0
    root = LSPET.write(tmp_path, joints)
    with caplog.at_level(logging.INFO):
        assert [r.person_id for r in load_records(root)] == [1, 4]
    assert "fewer than 2 labelled joints: 2" in caplog.text
    assert np.isnan(read_joints(root / "joints.mat").side_px).tolist() == [False, True, True, False]
    joints[:, :, 2] = 0
    LSPET.write(tmp_path, joints)
    with pytest.raises(ValueError, match="nobody in the train split has two labelled joints"):
        load_records(root)


def test_a_damaged_photo_is_not_the_readers_business(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", LSPET.people(2))
    (root / "images" / "im00001.jpg").write_bytes(b"not a photo")
    assert len(load_records(root)) == 2


@pytest.mark.realdata
def test_the_real_lspet(real_data: Path) -> None:
    root = real_data / "lspet"
    train, val = load_records(root, "train"), load_records(root, "val")
    assert (len(train), len(val)) == (8000, 1000)
    # 110,819 flags are set in joints.mat; one joint, of im08075.jpg, is left out.
    assert sum(int(r.labelled.sum()) for r in train + val) == 110_818
    raw = scipy.io.loadmat(root / "joints.mat")["joints"]
    person = train[41]
    rows = person.labelled
    np.testing.assert_allclose(person.keypoints[rows], raw[rows, :2, 41] - 1, rtol=1e-6)
    assert not val[74].labelled[LSP14.index("right_knee")]
    with Image.open(root / "images" / "im08075.jpg") as image:
        assert val[74].side_px < 1.25 * max(image.size)


@pytest.mark.realdata
def test_the_real_file_is_read_to_the_bit(real_data: Path) -> None:
    file = real_data / "lspet" / "joints.mat"
    raw = scipy.io.loadmat(file)["joints"]
    people = read_joints(file)
    np.testing.assert_array_equal(people.keypoints, raw[:, :2].transpose(2, 0, 1))
    np.testing.assert_array_equal(people.visibility, 2 * raw[:, 2].T)
    assert int(people.labelled.sum()) == 110_819
    assert [people.splits.count(split) for split in ("train", "val", "test")] == [8000, 1000, 0]
