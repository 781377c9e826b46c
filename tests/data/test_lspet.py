import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from PIL import Image

from hourglass.data.lspet import SPLITS, load_records
from hourglass.skeleton import LSP14

Joints = npt.NDArray[np.float64]


def people(count: int) -> Joints:
    """(14, 3, N) as MATLAB has it: everybody fully labelled, inside a picture of 60 x 50."""
    joints = np.ones((14, 3, count))
    joints[:, 0] = np.linspace(11, 51, 14)[:, None]
    joints[:, 1] = np.linspace(6, 46, 14)[:, None]
    return joints


def dataset(root: Path, joints: Any, photos: range | None = None) -> Path:
    """An LSPET folder with `joints` and small photos, numbered from 1."""
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in photos if photos is not None else range(1, joints.shape[2] + 1):
        Image.new("RGB", (60, 50)).save(root / "images" / f"im{number:05d}.jpg")
    return root


def test_coordinates_flags_and_box_by_hand(tmp_path: Path) -> None:
    joints = np.zeros((14, 3, 2))
    joints[:, :2] = -250.5
    joints[3, :, 1] = 11, 21, 1
    joints[13, :, 1] = 31.5, 41, 1
    joints[:, :, 0] = people(1)[:, :, 0]
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


def test_splits_go_by_photo_number(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", people(10_000), photos=range(0))
    for number in (*range(8001, 8004),):
        (root / "images" / f"im{number:05d}.jpg").touch()
    for split, count, first in (("train", 8000, 1), ("test", 1000, 9001), ("all", 9997, 1)):
        with pytest.raises(
            FileNotFoundError, match=rf"{count} of the \d+ photos .* first is im{first:05d}\.jpg"
        ):
            load_records(root, split)
    with pytest.raises(FileNotFoundError, match=r"997 of the 1000 photos .*val split.*first is im08004\.jpg"):
        load_records(root, "val")


def test_val_is_read_whatever_else_is_missing(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", people(9000), photos=range(0))
    for number in range(*SPLITS["val"]):
        (root / "images" / f"im{number:05d}.jpg").touch()
    (root / "images" / "im09000.jpg").touch()
    records = load_records(root, "val")
    assert [r.person_id for r in records] == list(range(8001, 9001))
    with pytest.raises(ValueError, match=r"joints\.mat holds people 1 to 9000, none of the test split"):
        load_records(root, "test")


def test_all_ends_where_the_annotations_end(tmp_path: Path) -> None:
    assert len(load_records(dataset(tmp_path / "lspet", people(3)), "all")) == 3


def test_unknown_split_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'trian'; it has train, val, test, all"):
        load_records(tmp_path, "trian")


def test_missing_parts_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the folder of the unpacked"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no file .*joints\.mat; give"):
        load_records(tmp_path)
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": people(1)})
    with pytest.raises(FileNotFoundError, match=r"no folder .*images; give"):
        load_records(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all, but long enough to have a header" * 9])
def test_joints_mat_that_is_no_mat_file(tmp_path: Path, content: bytes) -> None:
    root = dataset(tmp_path / "lspet", people(1))
    (root / "joints.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"joints\.mat is not a MATLAB file"):
        load_records(root)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_joints_mat_that_is_cut_off(tmp_path: Path, share: float) -> None:
    root = dataset(tmp_path / "lspet", people(50))
    whole = (root / "joints.mat").read_bytes()
    (root / "joints.mat").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"joints\.mat is not a MATLAB file that can be read, or is cut off"):
        load_records(root)


def test_joints_mat_without_joints(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", people(1))
    scipy.io.savemat(root / "joints.mat", {"points": people(1)})
    with pytest.raises(ValueError, match=r"joints\.mat holds no variable 'joints'"):
        load_records(root)


@pytest.mark.parametrize("shape", [(14, 2, 5), (5, 14, 3), (14, 3), (14, 3, 0), (16, 3, 5)])
def test_joints_of_the_wrong_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    root = dataset(tmp_path / "lspet", np.ones(shape), photos=range(0))
    with pytest.raises(ValueError, match=r"of shape \(.*expected numbers of shape \(14, 3, N\)") as caught:
        load_records(root)
    assert "LSP's" not in str(caught.value)


def test_lsps_own_file_is_recognised(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", np.ones((3, 14, 5)), photos=range(0))
    with pytest.raises(ValueError, match=r"\(3, 14, 5\), which looks like LSP's file"):
        load_records(root)


def test_joints_that_are_no_numbers(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", np.full((14, 3, 2), "a"), photos=range(0))
    with pytest.raises(ValueError, match="expected numbers of shape"):
        load_records(root)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_labelled_joint_that_is_not_finite(tmp_path: Path, value: float) -> None:
    joints = people(3)
    joints[7, 1, 1] = value
    root = dataset(tmp_path / "lspet", joints)
    with pytest.raises(ValueError, match=r"joints\.mat: right_elbow in im00002\.jpg is labelled but not"):
        load_records(root)
    joints[7, 2, 1] = 0
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    assert load_records(root)[1].labelled.sum() == 13


@pytest.mark.parametrize("flag", [2, 0.5, -1, np.nan])
def test_a_flag_that_is_neither_0_nor_1(tmp_path: Path, flag: float) -> None:
    joints = people(3)
    joints[0, 2, 2] = flag
    with pytest.raises(ValueError, match=r"the flag of right_ankle in im00003\.jpg is .*expected 0 or 1"):
        load_records(dataset(tmp_path / "lspet", joints))


def test_joints_outside_the_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # 60 x 50, so that 3 px beyond the border is still believed.
    joints = people(2)
    joints[0, :2, 0] = -1, 20
    joints[1, :2, 0] = 20, 53.4
    joints[0, :2, 1] = 90, 20
    with caplog.at_level(logging.INFO):
        near, far = load_records(dataset(tmp_path / "lspet", joints))
    assert near.labelled.all()
    assert np.flatnonzero(~far.labelled).tolist() == [0]
    # The box is that of the joints that count.
    assert far.side_px == pytest.approx(1.25 * 40 * 12 / 13)
    assert "joints far outside their picture: 1" in caplog.text


def test_people_with_too_few_joints_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    joints = people(4)
    joints[:, 2, 1] = 0
    joints[1:, 2, 2] = 0
    root = dataset(tmp_path / "lspet", joints)
    with caplog.at_level(logging.INFO):
        assert [r.person_id for r in load_records(root)] == [1, 4]
    assert "fewer than 2 labelled joints: 2" in caplog.text
    joints[:, 2] = 0
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    with pytest.raises(ValueError, match="nobody in the train split has two labelled joints"):
        load_records(root)


def test_a_damaged_photo_is_not_the_readers_business(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lspet", people(2))
    (root / "images" / "im00001.jpg").write_bytes(b"not a photo")
    assert len(load_records(root)) == 2


@pytest.mark.realdata
@pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder of data sets")
def test_the_real_lspet() -> None:
    root = Path(os.environ.get("HOURGLASS_DATA", "")) / "lspet"
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
