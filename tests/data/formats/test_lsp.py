"""What only LSP has; the rest is in test_leeds.py."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import LSP14
from hourglass.data.formats.lsp import LSP as ARCHIVE
from hourglass.data.formats.lsp import load_lsp as load_records
from hourglass.data.formats.lsp import read_lsp as read_joints
from leeds_archives import LSP


def test_coordinates_flags_and_box_by_hand(tmp_path: Path) -> None:
    joints = LSP.people(2)
    # The third joint is the right hip, the thirteenth the neck.
    joints[1, 2] = 31.5, 101, 1
    joints[1, 12] = 21, 22.25, 1
    record = load_records(LSP.write(tmp_path / "lsp", joints), "train")[1]
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


@pytest.mark.parametrize("split", ["val", "all"])
def test_lsp_has_two_splits(tmp_path: Path, split: str) -> None:
    with pytest.raises(ValueError, match=f"LSP has no split '{split}'; it has train and test, its first and"):
        load_records(tmp_path, split)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("flag", [0, 1])
def test_a_joint_that_is_not_finite(tmp_path: Path, value: float, flag: int) -> None:
    joints = LSP.people(3)
    joints[1, 7, 1:] = value, flag
    with pytest.raises(
        ValueError, match=r"joints\.mat: right_elbow in im0002\.jpg is not a finite number; LSP labels every"
    ):
        load_records(LSP.write(tmp_path / "lsp", joints))


@pytest.mark.realdata
def test_the_real_lsp(tmp_path: Path, real_data: Path) -> None:
    file = real_data / "lsp" / "joints.mat"
    LSP.touch(tmp_path, range(1, 2001))
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


@pytest.mark.realdata
def test_the_real_file_is_read_to_the_bit(real_data: Path) -> None:
    file = real_data / "lsp" / "joints.mat"
    raw = scipy.io.loadmat(file)["joints"]
    people = read_joints(file)
    np.testing.assert_array_equal(people.keypoints, raw[:2].transpose(2, 1, 0))
    np.testing.assert_array_equal(people.visibility == 1, raw[2].T == 1)
    assert [people.splits.count(split) for split in ("train", "test")] == [1000, 1000]
    assert people.names[-1] == ARCHIVE.photo_name(2000) == "im2000.jpg"
