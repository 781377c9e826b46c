"""Any file of annotations is told by its content, and foreign ones are called by their name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.data.formats.annotation_files import read_annotations
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.coco import read_annotations as read_coco
from hourglass.data.formats.lsp import read_lsp, read_lspet
from hourglass.data.formats.mpii import read_hrnet, read_list, read_official
from hourglass.data.formats.princeton_hdf5 import read_authors_file
from hourglass.data.formats.read_files import read_json
from mpii_forms import hdf5, hrnet, person, write, write_official

OFFICIAL = "mpii_human_pose_v1_u12_1.mat"


def coco(*splits: str) -> dict[str, Any]:
    joints = [f"{side}_{part}" for part in ("hip", "knee") for side in ("left", "right")]
    people = [
        {"id": 5 + n, "image_id": 1, "category_id": 1, "keypoints": [3 + n, 4, 2, 9, 8, 1] + [0] * 6}
        for n in range(2)
    ]
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 40}],
        "annotations": [
            {**p, "split": s} if s else p for p, s in zip(people, splits or ("", ""), strict=True)
        ],
        "categories": [{"id": 1, "name": "legs", "keypoints": joints}],
    }


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One of each form, under names that tell nothing but how they are stored."""
    people = [person(), person(isValidation=0, img_paths="b.jpg", people_index=3)]
    write(tmp_path / "list.json", people)
    write(tmp_path / "packed.json.gz", people)
    write(tmp_path / "hrnet.json", [hrnet(p) for p in people])
    write(tmp_path / "authors.h5", hdf5(people))
    write_official(tmp_path, "official.mat")
    rng = np.random.default_rng(0)
    points = rng.uniform(1, 99, (1002, 14, 3))
    points[..., 2] = 1
    scipy.io.savemat(tmp_path / "lsp.mat", {"joints": points.transpose(2, 1, 0)})
    scipy.io.savemat(tmp_path / "lspet.mat", {"joints": points[:3].transpose(1, 2, 0)})
    write(tmp_path / "coco.json", coco())
    write(tmp_path / "splits.json.gz", coco("train", "val"))
    return {file.name.split(".")[0]: file for file in sorted(tmp_path.iterdir()) if file.is_file()}


READERS: dict[str, tuple[Callable[[Path], Annotations], str]] = {
    "list": (read_list, "mpii-list"),
    "packed": (read_list, "mpii-list"),
    "hrnet": (read_hrnet, "mpii-hrnet"),
    "authors": (read_authors_file, "authors-hdf5"),
    "official": (read_official, "mpii-mat"),
    "lsp": (read_lsp, "lsp"),
    "lspet": (read_lspet, "lspet"),
    "coco": (read_coco, "coco"),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_form_is_told(files: dict[str, Path], name: str) -> None:
    read, form = READERS[name]
    found, wanted = read_annotations(files[name]), read(files[name])
    assert found.form == wanted.form == form
    assert found.ids.tolist() == wanted.ids.tolist()
    assert list(found.splits) == list(wanted.splits)
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    np.testing.assert_array_equal(found.visibility, wanted.visibility)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("list", {"": 2, "all": 2, "train": 1, "val": 1}),
        ("official", {"": 3, "all": 3, "train": 1, "val": 1, "test": 1}),
        ("lsp", {"": 1002, "all": 1002, "train": 1000, "test": 2}),
        ("lspet", {"": 3, "all": 3, "train": 3}),
        ("splits", {"": 2, "all": 2, "train": 1, "val": 1}),
    ],
)
def test_splits_of_a_file(files: dict[str, Path], name: str, counts: dict[str, int]) -> None:
    for split, count in counts.items():
        people = read_annotations(files[name], split)
        assert len(people) == count, split
        if split not in ("", "all"):
            assert set(people.splits) == {split}


@pytest.mark.parametrize(
    ("name", "split", "complaint"),
    [
        ("list", "test", r"list\.json: MPII's list has no split 'test'; it has train, val, all"),
        ("official", "dev", "MPII has no split 'dev'; it has train, val, test, all"),
        ("lsp", "val", "LSP has no split 'val'; it has train, test, all"),
        ("lspet", "val", r"lspet\.mat holds nobody of the val split, only 3 people of train"),
        ("splits", "test", "holds nobody of the test split, only 2 people of train, val"),
        ("coco", "val", r"coco\.json is one split by itself; leave --split val away"),
        ("authors", "all", r"authors\.h5 is one split by itself; leave --split all away"),
        ("hrnet", "all", r"hrnet\.json: HRNet's files are of the splits train, val, not 'all'"),
    ],
)
def test_splits_that_a_file_has_not(files: dict[str, Path], name: str, split: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_annotations(files[name], split)


def test_hrnets_files_are_told_their_split(files: dict[str, Path]) -> None:
    for split, first in (("", 1), ("train", 1), ("val", 100_001)):
        people = read_annotations(files["hrnet"], split)
        assert people.ids.tolist() == [first, first + 1]
        assert list(people.splits) == [split] * 2


def test_only_coco_has_categories(files: dict[str, Path]) -> None:
    assert len(read_annotations(files["coco"], category="legs")) == 2
    with pytest.raises(ValueError, match=r"coco\.json has no category 'arms'"):
        read_annotations(files["coco"], category="arms")
    for name in ("list", "authors", "lsp"):
        with pytest.raises(ValueError, match=r"is no COCO file and has no categories; leave .* 'legs' away"):
            read_annotations(files[name], category="legs")


def test_what_was_read_already_is_not_read_again(files: dict[str, Path]) -> None:
    for name in ("list", "hrnet", "coco"):
        content = read_json(files[name])
        files[name].write_text("gone")
        assert len(read_annotations(files[name], content=content)) == 2


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5 of annotations"):
        read_annotations(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="is a folder, not a file of annotations"):
        read_annotations(tmp_path)
    for name, complaint in (("a.mat", "is empty"), ("a.txt", r"come as \.json, \.json\.gz, \.h5, \.mat")):
        (tmp_path / name).write_text("x" if name == "a.txt" else "")
        with pytest.raises(ValueError, match=complaint):
            read_annotations(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "holds no annotations: neither a COCO object nor a list of people"),
        ([3], "holds no annotations: neither a COCO object nor a list of people"),
        (None, "holds no annotations: neither a COCO object nor a list of people"),
        ([{"a": 1}], r"row 0 has neither 'joint_self' \(MPII's list\) nor 'joints_vis' \(HRNet's\)"),
        ([{"image_id": 1, "keypoints": []}], "holds COCO results, which are predictions, not annotations"),
        ({"people": []}, "lacks the list of objects 'images'"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_of_other_kinds(tmp_path: Path, content: Any, complaint: str, pack: Any) -> None:
    # Whether it is packed is told by its bytes.
    file = tmp_path / "other.json"
    file.write_bytes(pack(json.dumps(content).encode()))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_annotations(file)
    assert "other.json" in str(caught.value)


def test_arrays_of_other_kinds(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "other.mat", {"pred": np.ones((2, 14, 3))})
    with pytest.raises(ValueError, match=r"holds neither 'joints' \(LSP\) nor 'RELEASE' \(MPII\), only pred"):
        read_annotations(tmp_path / "other.mat")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["preds"] = np.ones((2, 16, 2))
    with pytest.raises(ValueError, match="holds no 'part', only preds; it holds predictions, so swap"):
        read_annotations(tmp_path / "other.h5")


def test_nobody_at_all(tmp_path: Path) -> None:
    fields = {key: value[:0] for key, value in hdf5([person()]).items()}
    write(tmp_path / "empty.h5", fields)
    with pytest.raises(ValueError, match=r"empty\.h5 holds nobody"):
        read_annotations(tmp_path / "empty.h5")
