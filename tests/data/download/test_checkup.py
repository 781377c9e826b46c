import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

from hourglass.data.download.checkup import Report, check, mismatch
from hourglass.data.download.sources import AP10K, COCO, FLIC, LSPET, MPII, DataSource, RemoteFile, SplitSize


def lspet_folder(root: Path, people: int, photos: Iterable[int]) -> Path:
    """Photos hold no picture: they are looked for, not opened."""
    joints: npt.NDArray[np.float64] = np.ones((14, 3, people))
    joints[:, 0] = np.linspace(20, 70, 14)[:, None]
    joints[:, 1] = np.linspace(10, 80, 14)[:, None]
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in photos:
        (root / "images" / f"im{number:05d}.jpg").write_bytes(b"no picture")
    return root


def small(source: DataSource, *parts: SplitSize) -> DataSource:
    return replace(source, parts=parts)


def counts(report: Report) -> list[tuple[str, int, int, int]]:
    return [(s.split, s.people, s.pictures, s.present) for s in report.splits]


def test_a_whole_data_set_is_told_as_such(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "lspet", 3, (1, 2, 3))
    (root / "images" / "of_mine.jpg").write_bytes(b"")
    report = check(small(LSPET, SplitSize("train", 3, 3)), root)
    assert report.whole
    assert counts(report) == [("train", 3, 3, 3)]
    assert report.splits[0].annotations == "joints.mat"
    assert (report.people, report.pictures) == ((3, 3), (3, 3))


def test_part_of_a_data_set_is_counted(tmp_path: Path) -> None:
    report = check("lspet", lspet_folder(tmp_path / "lspet", 3, (1, 3)))
    assert not report.whole
    assert counts(report) == [("train", 3, 3, 2), ("val", 0, 0, 0), ("test", 0, 0, 0)]
    assert (report.people, report.pictures) == ((3, 10_000), (2, 10_000))
    assert [split.problem for split in report.splits] == ["", "", ""]


def test_a_missing_picture_is_a_difference(tmp_path: Path) -> None:
    report = check(small(LSPET, SplitSize("train", 3, 3)), lspet_folder(tmp_path / "lspet", 3, (1, 3)))
    assert counts(report) == [("train", 3, 3, 2)]
    assert not report.whole


def test_people_without_a_labelled_joint_do_not_count(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "lspet", 3, (1, 2, 3))
    joints = scipy.io.loadmat(root / "joints.mat")["joints"]
    joints[:, 2, 1] = 0
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    report = check(small(LSPET, SplitSize("train", 3, 3)), root)
    assert counts(report) == [("train", 2, 3, 3)]
    assert not report.whole


def test_too_many_people_are_no_whole_data_set_either(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "lspet", 4, (1, 2, 3, 4))
    assert not check(small(LSPET, SplitSize("train", 3, 3)), root).whole


def test_what_cannot_be_counted_is_told_not_raised(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "lspet", 3, (1,))
    (root / "joints.mat").write_bytes(b"damaged")
    [problem] = {split.problem for split in check("lspet", root).splits}
    assert "joints.mat is not a MATLAB file" in problem
    (root / "joints.mat").unlink()
    assert {s.problem for s in check("lspet", root).splits} == {"no annotations: none of joints.mat"}


def test_annotations_without_pictures(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "lspet", 3, ())
    (root / "images").rmdir()
    [split] = check(small(LSPET, SplitSize("train", 3, 3)), root).splits
    assert (split.people, split.present) == (3, 0)
    assert split.problem == "no pictures: there is no folder images"


def test_an_unknown_name_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set 'nope'"):
        check("nope", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*gone; give the one that holds AP-10K"):
        check("ap10k", tmp_path / "gone")


def table_of(content: bytes, name: str = "archive.zip", **changes: Any) -> RemoteFile:
    made = RemoteFile(
        name=name,
        holds="noise",
        address="http://127.0.0.1/",
        seen="in a test",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return replace(made, **changes)


def test_files_are_told_apart(tmp_path: Path) -> None:
    content = b"as it should be"
    root = lspet_folder(tmp_path / "lspet", 3, (1, 2, 3))
    for name in ("good.zip", "changed.zip", "longer.zip", "unknown.zip"):
        (root / name).write_bytes(content)
    (root / "changed.zip").write_bytes(b"as it should bE")
    (root / "longer.zip").write_bytes(content + b".")
    (root / "elsewhere.h5").write_bytes(content)
    files = (
        table_of(content, "good.zip"),
        table_of(content, "changed.zip"),
        table_of(content, "longer.zip"),
        table_of(content, "unknown.zip", sha256=""),
        table_of(content, "annot/elsewhere.h5", also=("elsewhere.h5",)),
        table_of(content, "gone.zip", unpacks=("joints.mat", "more/")),
        table_of(content, "extra.zip", extra=True),
    )
    source = replace(small(LSPET, SplitSize("train", 3, 3)), files=files)
    report = check(source, root)
    states = {state.name: state.state for state in report.files}
    assert list(states.values()) == ["ok", "wrong", "wrong", "unproven", "ok", "missing", "missing"]
    told = {state.name: state.told for state in report.files}
    assert told["longer.zip"] == "longer.zip has 16 bytes where 15 are expected"
    assert "sha256" in told["changed.zip"]
    assert told["gone.zip"] == "not here; joints.mat may come from it"
    assert all(split.whole for split in report.splits)
    assert not report.whole, "a wrong file is a difference"

    quick = {s.name: s.state for s in check(source, root, checksums=False).files}
    assert (quick["good.zip"], quick["changed.zip"], quick["longer.zip"]) == ("unproven", "unproven", "wrong")


def test_a_file_under_anothers_name_is_recognised(tmp_path: Path) -> None:
    root = lspet_folder(tmp_path / "flic", 3, ())
    (root / "train.h5").write_bytes(b"own side")
    files = (table_of(b"observer", "train.h5"), table_of(b"own side", "annot/own.h5", extra=True))
    [state, _] = check(replace(FLIC, files=files), root).files
    assert (state.state, state.told) == ("ok", "holds own.h5: noise")


def test_md5_and_emptiness_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    good = hashlib.md5(b"content").hexdigest()
    assert mismatch(table_of(b"content", sha256="", md5=good), tmp_path / "a") == ""
    assert "md5" in mismatch(table_of(b"content", sha256="", md5=good[::-1]), tmp_path / "a")
    (tmp_path / "empty").write_bytes(b"")
    assert mismatch(table_of(b"", size=None), tmp_path / "empty") == "is empty"


def coco_file(path: Path, people: Sequence[tuple[int, int, int]], pictures: int, categories: int = 1) -> None:
    """People are (category, crowd, labelled joints of two)."""
    joints = {"keypoints": ["left_eye", "right_eye"], "skeleton": [[1, 2]], "supercategory": "x"}
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 90, "height": 90} for n in range(pictures)],
        "categories": [{"id": n + 1, "name": f"kind{n}", **joints} for n in range(categories)],
        "annotations": [
            {
                "id": n,
                "image_id": 0,
                "category_id": category,
                "iscrowd": crowd,
                "bbox": [1, 2, 30, 40],
                "area": 9,
                "num_keypoints": labelled,
                "keypoints": [5, 6, int(labelled > 0) * 2, 7, 8, int(labelled > 1)],
            }
            for n, (category, crowd, labelled) in enumerate(people)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_coco_counts_neither_crowds_nor_people_without_joints(tmp_path: Path) -> None:
    people = [(1, 0, 2), (1, 0, 1), (1, 0, 0), (1, 1, 2)]
    coco_file(tmp_path / "annotations" / "person_keypoints_train2017.json", people, pictures=3)
    (tmp_path / "images" / "train2017").mkdir(parents=True)
    (tmp_path / "images" / "train2017" / "2.jpg").write_bytes(b"")
    report = check(COCO, tmp_path)
    assert counts(report) == [("train", 2, 3, 1), ("val", 0, 0, 0)]
    assert report.splits[1].problem.startswith(
        "no annotations: none of annotations/person_keypoints_val2017.json"
    )


def test_animals_are_counted_over_all_species(tmp_path: Path) -> None:
    people = [(1, 0, 2), (2, 0, 1), (2, 0, 0), (3, 0, 1)]
    for split in ("train", "val", "test"):
        coco_file(tmp_path / "annotations" / f"ap10k-{split}-split1.json", people, 2, categories=3)
    (tmp_path / "data").mkdir()
    for n in range(2):
        (tmp_path / "data" / f"{n}.jpg").write_bytes(b"")
    report = check(small(AP10K, *(SplitSize(split, 3, 2) for split in ("train", "val", "test"))), tmp_path)
    assert report.whole


def hrnet_row(name: str) -> dict[str, Any]:
    joints = [[100 + 3 * j, 100 + 5 * j] for j in range(16)]
    return {"image": name, "joints": joints, "joints_vis": [1] * 16, "center": [120, 130], "scale": 1.5}


def test_hrnets_files_are_one_split_each(tmp_path: Path) -> None:
    (tmp_path / "annot").mkdir()
    rows = [hrnet_row("a.jpg"), hrnet_row("a.jpg"), hrnet_row("b.jpg")]
    (tmp_path / "annot" / "train.json").write_text(json.dumps(rows))
    (tmp_path / "annot" / "valid.json").write_text(json.dumps([hrnet_row("c.jpg")]))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.jpg").write_bytes(b"")
    report = check(small(MPII, SplitSize("train", 3, 2), SplitSize("val", 1, 1)), tmp_path)
    assert counts(report) == [("train", 3, 2, 1), ("val", 1, 1, 0)]


@pytest.mark.realdata
def test_the_development_copy_of_lspet_is_9000_of_10000(real_data: Path) -> None:
    report = check("lspet", real_data / "lspet")
    assert not report.whole
    assert counts(report) == [("train", 8000, 8000, 8000), ("val", 1000, 1000, 1000), ("test", 0, 0, 0)]
    assert report.people == (9_000, 10_000)
    assert report.pictures == (9_000, 10_000)


@pytest.mark.realdata
def test_real_annotations_hold_as_many_people_as_the_table_says(real_data: Path) -> None:
    for name in ("mpii", "lsp", "flic"):
        report = check(name, real_data / name)
        for split in report.splits:
            assert (split.people, split.pictures) == (split.people_expected, split.pictures_expected)
        assert {file.state for file in report.files} <= {"ok", "missing"}


@pytest.mark.realdata
def test_the_few_real_coco_photos(real_data: Path) -> None:
    file = real_data / "coco" / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(file.read_text())
    people = [a for a in content["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    train = check("coco", real_data / "coco").splits[0]
    assert (train.people, train.pictures) == (len(people), len(content["images"]))
    assert train.present == len(list((real_data / "coco" / "images" / "train2017").glob("*.jpg")))
