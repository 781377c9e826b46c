"""What LSP and LSPET have in common."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import LSP14
from leeds_archives import BOTH, LSP, LSPET, Kind

each = pytest.mark.parametrize("kind", BOTH, ids=str)


def test_lsp_and_lspet_agree(tmp_path: Path) -> None:
    offsets = np.random.default_rng(0).uniform(0, 9, (3, 14, 2))
    records = []
    for kind in BOTH:
        joints = kind.people(3)
        joints[..., :2] += offsets
        records.append(kind.load(kind.write(tmp_path / str(kind), joints)))
    assert len(records[0]) == len(records[1]) == 3
    for a, b in zip(*records, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.visibility, b.visibility)
        np.testing.assert_array_equal(a.center, b.center)
        assert a.side_px == b.side_px


@pytest.mark.parametrize(
    ("kind", "form", "ends"),
    [
        (LSP, "lsp", [(1, "train"), (1000, "train"), (1001, "test"), (2000, "test")]),
        (
            LSPET,
            "lspet",
            [
                *((1, "train"), (8000, "train"), (8001, "val")),
                *((9000, "val"), (9001, "test"), (10000, "test")),
            ],
        ),
    ],
    ids=str,
)
def test_everybody_as_the_file_counts(
    tmp_path: Path, kind: Kind, form: str, ends: list[tuple[int, str]]
) -> None:
    joints = kind.people(ends[-1][0])
    joints[6, 3, :2] = 21.25, 4
    people = kind.read(kind.write(tmp_path, joints, photos=()) / "joints.mat")
    assert (people.form, people.origin, len(people)) == (form, 1, ends[-1][0])
    assert people.skeleton is LSP14
    assert people.tells_hidden is (kind is LSP)
    assert people.ids.tolist() == list(range(1, len(people) + 1))
    assert set(people.splits) == {split for _, split in ends}
    assert [(number, people.splits[number - 1]) for number, _ in ends] == ends
    assert people.names[6] == kind.photo(7)
    assert str(tmp_path / "joints.mat") in people.where[6]
    assert kind.photo(7) in people.where[6]
    np.testing.assert_array_equal(people.keypoints, joints[..., :2])
    # 11 to 50 and, with that hip, 4 to 45; counted as the file counts.
    np.testing.assert_allclose(people.center[[5, 6]], [(30.5, 25.5), (30.5, 24.5)])
    np.testing.assert_allclose(people.side_px[[5, 6]], [39 * 1.25, 41 * 1.25])


@each
def test_people_beyond_the_last_are_left_out(
    tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    last = 2000 if kind is LSP else 10_000
    file = kind.write(tmp_path, kind.people(last + 3), photos=()) / "joints.mat"
    with caplog.at_level(logging.INFO):
        assert len(kind.read(file)) == last
    assert f"people beyond number {last}, the last of {kind.name}: 3" in caplog.text


@each
def test_photos_of_the_split_must_be_there(tmp_path: Path, kind: Kind) -> None:
    last = 2000 if kind is LSP else 10_000
    root = kind.write(tmp_path, kind.people(last), photos=(last - 999, last - 1))
    with pytest.raises(
        FileNotFoundError,
        match=rf"998 of the 1000 photos of {kind.name}'s test split.*first is {kind.photo(last - 998)}",
    ):
        kind.load(root, "test")
    kind.touch(root, range(last - 999, last + 1))
    assert [r.person_id for r in kind.load(root, "test")] == list(range(last - 999, last + 1))
    with pytest.raises(FileNotFoundError, match=rf"train split.*first is {kind.photo(1)}"):
        kind.load(root, "train")


@each
def test_a_fault_in_one_split_is_no_fault_of_the_other(tmp_path: Path, kind: Kind) -> None:
    last = 2000 if kind is LSP else 10_000
    joints = kind.people(last)
    joints[999, 0, 2] = 7
    root = kind.write(tmp_path, joints, photos=range(last - 999, last + 1))
    assert len(kind.load(root, "test")) == 1000
    for read in (lambda: kind.load(root, "train"), lambda: kind.read(root / "joints.mat")):
        with pytest.raises(ValueError, match=rf"the flag of right_ankle in {kind.photo(1000)} is 7"):
            read()


@each
def test_a_split_that_the_file_does_not_reach(tmp_path: Path, kind: Kind) -> None:
    root = kind.write(tmp_path, kind.people(3))
    assert len(kind.load(root, "train")) == 3
    with pytest.raises(
        ValueError, match=r"joints\.mat holds people 1 to 3, none of the test split \(\d+ to .*get the full"
    ):
        kind.load(root, "test")


@each
@pytest.mark.parametrize("split", ["trian", "", "valid"])
def test_unknown_split_names_the_known(tmp_path: Path, kind: Kind, split: str) -> None:
    known = "train and test, its first and" if kind is LSP else "train, val, test, all"
    with pytest.raises(ValueError, match=f"{kind.name} has no split '{split}'; it has {known}"):
        kind.load(tmp_path, split)


@each
def test_missing_parts_of_the_folder(tmp_path: Path, kind: Kind) -> None:
    advice = f"give the folder of the unpacked {kind.name} archive, which holds"
    with pytest.raises(FileNotFoundError, match=rf"no folder .*nowhere; {advice}"):
        kind.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=rf"no file .*joints\.mat; {advice}"):
        kind.load(tmp_path)
    kind.write_joints(tmp_path, kind.people(1))
    (tmp_path / "images").rmdir()
    with pytest.raises(FileNotFoundError, match=rf"no folder .*images; {advice}"):
        kind.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"no file .*gone\.mat of {kind.name}'s joints"):
        kind.read(tmp_path / "gone.mat")
    with pytest.raises(ValueError, match="is a folder, not a file"):
        kind.read(tmp_path)


@each
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"no MATLAB file at all, but long enough to have a header" * 9, "is not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "is a MATLAB 7.3 file; save it with -v7"),
    ],
    ids=["empty", "text", "new"],
)
def test_joints_mat_that_is_no_mat_file(tmp_path: Path, kind: Kind, content: bytes, problem: str) -> None:
    root = kind.write(tmp_path, kind.people(1))
    (root / "joints.mat").write_bytes(content)
    with pytest.raises(ValueError, match=rf"joints\.mat {problem}"):
        kind.load(root)


@each
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_joints_mat_that_is_cut_off(tmp_path: Path, kind: Kind, share: float, packed: bool) -> None:
    root = kind.write(tmp_path, kind.people(50), packed=packed)
    whole = (root / "joints.mat").read_bytes()
    (root / "joints.mat").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"joints\.mat is not a MATLAB file that can be read, or is cut off"):
        kind.load(root)


@each
def test_joints_mat_without_joints(tmp_path: Path, kind: Kind) -> None:
    root = kind.write(tmp_path, kind.people(1))
    scipy.io.savemat(root / "joints.mat", {"points": kind.people(1)})
    with pytest.raises(ValueError, match=rf"no variable 'joints'; take .* the {kind.name} archive again"):
        kind.load(root)


@each
@pytest.mark.parametrize(
    "change",
    [
        lambda joints: joints[..., :2],
        lambda joints: joints[:, :13],
        lambda joints: joints[0],
        lambda joints: joints[:0],
        lambda joints: joints[..., None] + np.zeros(2),
        lambda joints: np.full(joints.shape, "a"),
        lambda joints: joints * 1j,
    ],
    ids=["no flags", "13 joints", "one person", "nobody", "another axis", "text", "complex"],
)
def test_joints_of_the_wrong_kind(tmp_path: Path, kind: Kind, change: Callable[[Any], Any]) -> None:
    array = change(kind.people(5))
    turned = array.transpose(kind.axes) if array.ndim == 3 else array
    file = kind.write_joints(tmp_path, np.ascontiguousarray(turned))
    with pytest.raises(ValueError, match=r"joints\.mat.*joints'") as caught:
        kind.read(file)
    told = str(caught.value)
    assert f"expected numbers of shape {kind.shape}" in told or "holds no variable" in told
    assert "looks like" not in told


@each
def test_the_file_of_the_other_one_is_recognised(tmp_path: Path, kind: Kind) -> None:
    file = kind.write_joints(tmp_path, kind.people(5).transpose(kind.axes).transpose(1, 0, 2))
    shape = r"\(14, 3, 5\)" if kind is LSP else r"\(3, 14, 5\)"
    with pytest.raises(
        ValueError, match=rf"{shape}, which looks like {kind.other}'s file, not {kind.name}'s"
    ):
        kind.read(file)


@each
@pytest.mark.parametrize("flag", [2, 0.5, -1, math.nan])
def test_a_flag_that_is_neither_0_nor_1(tmp_path: Path, kind: Kind, flag: float) -> None:
    joints = kind.people(3)
    joints[1, 0, 2] = flag
    with pytest.raises(ValueError, match=rf"the flag of right_ankle in {kind.photo(2)} is .*expected 0 or 1"):
        kind.load(kind.write(tmp_path, joints))


@each
@pytest.mark.parametrize("value", [1e300, -1e9])
def test_a_joint_where_no_picture_reaches(tmp_path: Path, kind: Kind, value: float) -> None:
    joints = kind.people(3)
    joints[1, 7, 0] = value
    with pytest.raises(ValueError, match=rf"{kind.photo(2)}: right_elbow lies where no picture reaches"):
        kind.load(kind.write(tmp_path, joints))


@each
def test_the_options_reach_the_records(tmp_path: Path, kind: Kind) -> None:
    joints = kind.people(2)
    # Right shoulder and left one, rows 8 and 9: only the second person is seen from behind.
    joints[1, [8, 9]] = joints[1, [9, 8]]
    root = kind.write(tmp_path, joints)
    usual = kind.load(root)
    observed = kind.load(root, "train", sides="observer")
    swap = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
    np.testing.assert_array_equal(observed[0].keypoints, usual[0].keypoints)
    np.testing.assert_array_equal(observed[1].keypoints, usual[1].keypoints[swap])
    by_limbs = kind.load(root, "train", crop="limbs")
    for a, b in zip(usual, by_limbs, strict=True):
        np.testing.assert_array_equal(a.center, b.center)
    # All joints lie 3 px apart on each axis, so that each limb between neighbours is sqrt(18) px long: the
    # 8 of arms and legs, and the head. The torso's sides go from row 2 to 8 and from 3 to 9, 6 joints on.
    step = math.sqrt(18)
    lengths = [36.5, 30.8, 52.4, 50.6] * 2 + [33.3]
    ratios = sorted([step / reference for reference in lengths] + [6 * step / 65.9] * 2)
    # Three quarters up the 11 ratios is half-way between the 8th and the 9th.
    assert by_limbs[0].side_px == pytest.approx(250 * (ratios[7] + ratios[8]) / 2)
    with pytest.raises(ValueError, match=r"data\.crop: 'person' is not one of box, limbs"):
        kind.load(root, "train", crop="person")
    with pytest.raises(ValueError, match=r"data\.sides: 'left' is not one of"):
        kind.load(root, "train", sides="left")
    with pytest.raises(ValueError, match=rf"data\.sides: .*{kind.name}'s train split.*lost"):
        kind.load(root, "train", sides="person")
