import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

from hourglass.data import lspet
from hourglass.data.lsp import load_records
from hourglass.skeleton import LSP14

Joints = npt.NDArray[np.float64]


def people(count: int) -> Joints:
    """(3, 14, N) as MATLAB has it: every joint visible, which here is the flag 0."""
    joints = np.zeros((3, 14, count))
    joints[0] = np.linspace(11, 50, 14)[:, None]
    joints[1] = np.linspace(6, 45, 14)[:, None]
    return joints


def dataset(root: Path, joints: Any, photos: range | None = None) -> Path:
    """An LSP folder with `joints` and empty photos, numbered from 1."""
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in photos if photos is not None else range(1, joints.shape[2] + 1):
        (root / "images" / f"im{number:04d}.jpg").touch()
    return root


def test_coordinates_flags_and_box_by_hand(tmp_path: Path) -> None:
    joints = people(2)
    # The third joint is the right hip, the thirteenth the neck.
    joints[:, 2, 1] = 31.5, 101, 1
    joints[:, 12, 1] = 21, 22.25, 1
    record = load_records(dataset(tmp_path / "lsp", joints), "train")[1]
    assert record.skeleton is LSP14
    assert record.image == tmp_path / "lsp" / "images" / "im0002.jpg"
    assert (record.image_id, record.person_id) == ("im0002.jpg", 2)
    hidden = [LSP14.index("right_hip"), LSP14.index("neck")]
    # A 1 hides the joint; it stays labelled.
    assert record.visibility.tolist() == [1 if j in hidden else 2 for j in range(14)]
    np.testing.assert_allclose(record.keypoints[hidden], [(30.5, 100), (20, 21.25)])
    # 10 to 49 and, with the hip, 5 to 100.
    np.testing.assert_allclose(record.center, (29.5, 52.5))
    assert record.side_px == pytest.approx(95 * 1.25)


def test_lsp_and_lspet_agree(tmp_path: Path) -> None:
    joints = people(3) + np.random.default_rng(0).uniform(0, 9, (3, 14, 3)) * [[[1]], [[1]], [[0]]]
    (tmp_path / "lspet" / "images").mkdir(parents=True)
    labelled = joints.transpose(1, 0, 2).copy()
    labelled[:, 2] = 1
    scipy.io.savemat(tmp_path / "lspet" / "joints.mat", {"joints": labelled})
    for number in range(1, 4):
        (tmp_path / "lspet" / "images" / f"im{number:05d}.jpg").touch()
    other = lspet.load_records(tmp_path / "lspet")
    records = load_records(dataset(tmp_path / "lsp", joints))
    assert len(records) == len(other) == 3
    for a, b in zip(records, other, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.visibility, b.visibility)
        np.testing.assert_array_equal(a.center, b.center)
        assert a.side_px == b.side_px


def test_splits_go_by_photo_number(tmp_path: Path) -> None:
    joints = people(2000)
    root = dataset(tmp_path / "lsp", joints, photos=range(1000, 1003))
    with pytest.raises(
        FileNotFoundError, match=r"999 of the 1000 photos of LSP's train .*first is im0001\.jpg"
    ):
        load_records(root, "train")
    with pytest.raises(FileNotFoundError, match=r"998 of the 1000 photos .*test split.*first is im1003\.jpg"):
        load_records(root, "test")
    for number in range(1003, 2001):
        (root / "images" / f"im{number:04d}.jpg").touch()
    assert [r.person_id for r in load_records(root, "test")] == list(range(1001, 2001))
    # A fault in one split is no fault of the other.
    joints[2, 0, 999] = 7
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    assert len(load_records(root, "test")) == 1000
    with pytest.raises(ValueError, match=r"the flag of right_ankle in im1000\.jpg is 7"):
        load_records(root, "train")


def test_a_split_that_the_file_does_not_reach(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lsp", people(3))
    assert len(load_records(root, "train")) == 3
    with pytest.raises(
        ValueError, match=r"joints\.mat holds people 1 to 3, none of the test split \(1001 to"
    ):
        load_records(root, "test")


@pytest.mark.parametrize("split", ["val", "all", "trian", ""])
def test_unknown_split_names_the_known(tmp_path: Path, split: str) -> None:
    with pytest.raises(ValueError, match=f"LSP has no split '{split}'; it has train and test, its first and"):
        load_records(tmp_path, split)


def test_missing_parts_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the folder of the unpacked LSP"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no file .*joints\.mat; give"):
        load_records(tmp_path)
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": people(1)})
    with pytest.raises(FileNotFoundError, match=r"no folder .*images; give"):
        load_records(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all, but long enough to have a header" * 9])
def test_joints_mat_that_is_no_mat_file(tmp_path: Path, content: bytes) -> None:
    root = dataset(tmp_path / "lsp", people(1))
    (root / "joints.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"joints\.mat is not a MATLAB file"):
        load_records(root)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_joints_mat_that_is_cut_off(tmp_path: Path, share: float) -> None:
    root = dataset(tmp_path / "lsp", people(50))
    whole = (root / "joints.mat").read_bytes()
    (root / "joints.mat").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"joints\.mat is not a MATLAB file that can be read, or is cut off"):
        load_records(root)


def test_joints_mat_without_joints(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lsp", people(1))
    scipy.io.savemat(root / "joints.mat", {"points": people(1)})
    with pytest.raises(ValueError, match=r"joints\.mat holds no variable 'joints'"):
        load_records(root)


@pytest.mark.parametrize("shape", [(2, 14, 5), (5, 3, 14), (3, 14), (3, 14, 0), (3, 16, 5)])
def test_joints_of_the_wrong_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    root = dataset(tmp_path / "lsp", np.ones(shape), photos=range(0))
    with pytest.raises(ValueError, match=r"of shape \(.*expected numbers of shape \(3, 14, N\)") as caught:
        load_records(root)
    assert "LSPET" not in str(caught.value)


def test_lspets_file_is_recognised(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lsp", np.ones((14, 3, 5)), photos=range(0))
    with pytest.raises(ValueError, match=r"\(14, 3, 5\), which looks like LSPET's file, not LSP's"):
        load_records(root)


def test_joints_that_are_no_numbers(tmp_path: Path) -> None:
    root = dataset(tmp_path / "lsp", np.full((3, 14, 2), "a"), photos=range(0))
    with pytest.raises(ValueError, match="expected numbers of shape"):
        load_records(root)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("flag", [0, 1])
def test_a_joint_that_is_not_finite(tmp_path: Path, value: float, flag: int) -> None:
    joints = people(3)
    joints[1:, 7, 1] = value, flag
    with pytest.raises(ValueError, match=r"joints\.mat: right_elbow in im0002\.jpg is not a finite number"):
        load_records(dataset(tmp_path / "lsp", joints))


@pytest.mark.parametrize("flag", [2, 0.5, -1, np.nan])
def test_a_flag_that_is_neither_0_nor_1(tmp_path: Path, flag: float) -> None:
    joints = people(3)
    joints[2, 0, 1] = flag
    with pytest.raises(ValueError, match=r"the flag of right_ankle in im0002\.jpg is .*expected 0 or 1"):
        load_records(dataset(tmp_path / "lsp", joints))


@pytest.mark.realdata
@pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder of data sets")
def test_the_real_lsp(tmp_path: Path) -> None:
    file = Path(os.environ.get("HOURGLASS_DATA", "")) / "lsp" / "joints.mat"
    (tmp_path / "images").mkdir()
    for number in range(1, 2001):
        (tmp_path / "images" / f"im{number:04d}.jpg").touch()
    (tmp_path / "joints.mat").symlink_to(file)
    train, test = load_records(tmp_path, "train"), load_records(tmp_path, "test")
    assert [len(train), len(test)] == [1000, 1000]
    assert not {r.image_id for r in train} & {r.image_id for r in test}
    seen = np.stack([r.visibility for r in train + test])
    assert np.unique(seen).tolist() == [1, 2]
    # FACTS, H: 7.3 % of the joints are hidden.
    assert [int((part == 1).sum()) for part in (seen[:1000], seen[1000:])] == [990, 1054]
    raw = scipy.io.loadmat(file)["joints"]
    np.testing.assert_allclose(test[41].keypoints, raw[:2, :, 1041].T - 1, rtol=1e-5)
    # Left and right are the person's own: seen from the front, the right shoulder lies to the left.
    points = np.stack([r.keypoints for r in train + test])
    right, left = (points[:, LSP14.index(f"{side}_shoulder"), 0] for side in ("right", "left"))
    assert 0.6 < (right < left).mean() < 0.7
    # Head tops lie above ankles: the joints carry the right names.
    ankles = points[:, [0, 5], 1].mean(1)
    assert (points[:, LSP14.index("head_top"), 1] < ankles).mean() > 0.85
