import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16
from hourglass.data.formats.mpii import load_records
from hourglass.evaluation.scoring.truth import read_truth, with_visibility_of
from mpii_forms import write_official


def changed_mat(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a MATLAB file with variables changed, or without those that are None."""
    content = {k: v for k, v in scipy.io.loadmat(source).items() if not k.startswith("__")}
    content |= changes
    scipy.io.savemat(target, {k: v for k, v in content.items() if v is not None})
    return target


def changed_h5(source: Path, target: Path, **changes: Any) -> Path:
    with h5py.File(source) as file:
        content = {name: file[name][()] for name in file}
    content |= changes
    with h5py.File(target, "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
    return target


def test_mpiis_mat(mpii: SimpleNamespace) -> None:
    truth = read_truth(mpii.root / "detections_our_format.mat")
    assert truth.people.skeleton is MPII16
    assert truth.people.origin == 1
    assert truth.person_id is None
    assert not truth.people.tells_hidden
    np.testing.assert_array_equal(truth.people.keypoints, mpii.points)
    np.testing.assert_array_equal(truth.people.visibility, np.where(mpii.labelled, 2, 0))
    np.testing.assert_allclose(truth.people.lengths["head"], mpii.head, rtol=1e-6)


def test_the_authors_file(mpii: SimpleNamespace) -> None:
    truth = read_truth(mpii.root / "valid.h5")
    np.testing.assert_array_equal(truth.people.keypoints, mpii.points)
    wanted = np.where(mpii.labelled, np.where(mpii.hidden, 1, 2), 0)
    np.testing.assert_array_equal(truth.people.visibility, wanted)
    np.testing.assert_allclose(truth.people.lengths["head"], mpii.head)
    np.testing.assert_array_equal(truth.person_id, mpii.ids)
    assert truth.names == tuple(mpii.names)
    assert (truth.people.origin, truth.people.tells_hidden) == (1, True)


def test_mpiis_list_and_its_splits(mpii: SimpleNamespace, tmp_path: Path) -> None:
    packed = mpii.root / "mpii_annotations.json.gz"
    plain = tmp_path / "mpii_annotations.json"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    for file in (packed, plain):
        truth = read_truth(file)
        np.testing.assert_array_equal(truth.people.keypoints, mpii.points)
        wanted = np.where(mpii.labelled, np.where(mpii.hidden, 1, 2), 0)
        np.testing.assert_array_equal(truth.people.visibility, wanted)
        np.testing.assert_allclose(truth.people.lengths["head"], mpii.head)
        np.testing.assert_array_equal(truth.person_id, mpii.ids)
    assert [len(read_truth(packed, split)) for split in ("val", "train", "all")] == [40, 1, 41]
    with pytest.raises(ValueError, match="MPII's list has no split 'test'; it has train, val, all"):
        read_truth(packed, "test")


def test_ids_are_those_of_our_reader(mpii: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in mpii.names:
        (tmp_path / "images" / name).touch()
    (tmp_path / "mpii_annotations.json.gz").symlink_to(mpii.root / "mpii_annotations.json.gz")
    records = load_records(tmp_path, "val")
    truth = read_truth(mpii.root / "mpii_annotations.json.gz")
    assert truth.person_id is not None
    assert truth.person_id.tolist() == [r.person_id for r in records]
    np.testing.assert_allclose(
        [r.keypoints[9] for r in records], truth.people.keypoints[:, 9] - truth.people.origin
    )
    # PCKh's head size is a tenth of the crop.
    np.testing.assert_allclose([r.side_px / 10 for r in records], truth.people.lengths["head"])


def test_hrnets_list(mpii: SimpleNamespace) -> None:
    truth = read_truth(mpii.root / "valid.json")
    np.testing.assert_array_equal(truth.people.keypoints[mpii.labelled], mpii.points[mpii.labelled])
    np.testing.assert_array_equal(truth.people.visibility, np.where(mpii.labelled, 2, 0))
    np.testing.assert_allclose(truth.people.lengths["head"], mpii.head)
    assert not truth.people.tells_hidden


def test_hrnets_list_numbers_nobody(mpii: SimpleNamespace) -> None:
    # Which split it is of decides on the ids, and the file doesn't tell: predictions go by their rows.
    assert read_truth(mpii.root / "valid.json").person_id is None


def test_mpiis_own_file(tmp_path: Path) -> None:
    write_official(tmp_path, "official.mat")
    truth = read_truth(tmp_path / "official.mat")
    assert (truth.kind, truth.split, truth.people.origin) == ("MPII val (official .mat)", "val", 1)
    assert truth.person_id is not None
    assert truth.person_id.tolist() == [701]
    np.testing.assert_array_equal(truth.people.keypoints[0, :3], [(20, 30), (21, 30), (22, 30)])
    np.testing.assert_allclose(truth.people.lengths["head"], 75)
    assert [len(read_truth(tmp_path / "official.mat", split)) for split in ("train", "test", "all")] == [
        1,
        1,
        3,
    ]


def test_lengths_that_a_coco_file_tells(coco: SimpleNamespace, tmp_path: Path) -> None:
    content = json.loads(json.dumps(coco.truth))
    for n, entry in enumerate(content["annotations"]):
        entry["lengths"] = {"head": 20.0 + n}
    (tmp_path / "ours.json").write_text(json.dumps(content))
    truth = read_truth(tmp_path / "ours.json")
    np.testing.assert_array_equal(truth.people.lengths["head"], 20 + np.arange(12))


def test_lsp_and_its_splits(lsp: SimpleNamespace) -> None:
    truth = read_truth(lsp.root / "joints.mat")
    assert truth.people.skeleton is LSP14
    np.testing.assert_allclose(truth.people.keypoints, lsp.points)
    np.testing.assert_array_equal(truth.people.visibility, np.where(lsp.hidden, 1, 2))
    assert truth.person_id is not None
    assert truth.person_id.tolist() == list(range(1001, 1031))
    assert truth.names[0] == "im1001.jpg"
    assert [len(read_truth(lsp.root / "joints.mat", s)) for s in ("train", "test", "all")] == [1000, 30, 1030]
    with pytest.raises(ValueError, match="LSP has no split 'val'; it has train, test, all"):
        read_truth(lsp.root / "joints.mat", "val")


def test_lspet_has_another_third_row(lsp: SimpleNamespace) -> None:
    truth = read_truth(lsp.root / "lspet.mat")
    np.testing.assert_array_equal(truth.people.visibility, np.where(lsp.labelled, 2, 0))
    np.testing.assert_allclose(truth.people.keypoints[lsp.labelled], lsp.extended[lsp.labelled])
    assert truth.names[0] == "im00001.jpg"
    assert not truth.people.tells_hidden
    with pytest.raises(ValueError, match="holds nobody of the val split, only 25 people of train"):
        read_truth(lsp.root / "lspet.mat", "val")


def test_flic(flic: SimpleNamespace) -> None:
    truth = read_truth(flic.root / "valid.h5")
    assert truth.people.skeleton is FLIC11
    np.testing.assert_allclose(truth.people.keypoints, flic.points)
    np.testing.assert_allclose(truth.people.lengths["file-torso"], flic.torso)
    assert truth.people.origin == 0


def test_coco_keeps_crowds_and_bare_people(coco: SimpleNamespace) -> None:
    truth = read_truth(coco.root / "truth.json")
    people = truth.people
    assert people.skeleton is COCO17
    assert len(truth) == 12
    np.testing.assert_allclose(people.keypoints[coco.flags > 0], coco.points[coco.flags > 0])
    np.testing.assert_array_equal(people.visibility, coco.flags)
    assert people.crowd is not None
    assert np.flatnonzero(people.crowd).tolist() == [4]
    # Pictures in the order of their ids, which here is the file's backwards.
    assert people.image is not None
    assert people.image.tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert truth.names == ("5.jpg", "4.jpg", "3.jpg", "2.jpg", "1.jpg", "0.jpg")
    assert truth.keys is not None
    assert truth.keys[900] == truth.keys["0.jpg"] == 5


def test_flags_from_another_file(mpii: SimpleNamespace, lsp: SimpleNamespace) -> None:
    silent = read_truth(mpii.root / "detections_our_format.mat")
    told = with_visibility_of(silent, read_truth(mpii.root / "valid.h5"))
    assert told.people.tells_hidden
    np.testing.assert_array_equal(told.people.visibility == 1, mpii.hidden)
    np.testing.assert_array_equal(told.people.keypoints, silent.people.keypoints)
    with pytest.raises(ValueError, match="doesn't tell hidden joints"):
        with_visibility_of(told, silent)
    with pytest.raises(ValueError, match="not of the same people: 40 with 16 joints, and 30 with 14"):
        with_visibility_of(silent, read_truth(lsp.root / "joints.mat"))


def test_flags_of_people_who_differ(mpii: SimpleNamespace, tmp_path: Path) -> None:
    part = mpii.points.copy()
    n, j = np.argwhere(mpii.labelled)[5]
    part[n, j] = 0
    other = read_truth(changed_h5(mpii.root / "valid.h5", tmp_path / "other.h5", part=part))
    with pytest.raises(ValueError, match=f"only the first labels {MPII16.joints[j]} in row {n}"):
        with_visibility_of(read_truth(mpii.root / "detections_our_format.mat"), other)


@pytest.mark.parametrize("name", ["valid.h5", "valid.json", "detections_our_format.mat"])
def test_a_file_without_splits(mpii: SimpleNamespace, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is one split by itself; leave --split val away"):
        read_truth(mpii.root / name, "val")


def test_places_that_are_no_files(mpii: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5 of annotations"):
        read_truth(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="is a folder, not a file of annotations"):
        read_truth(tmp_path)
    (tmp_path / "empty.mat").touch()
    with pytest.raises(ValueError, match=r"empty\.mat is empty"):
        read_truth(tmp_path / "empty.mat")
    (tmp_path / "truth.txt").write_text("x")
    with pytest.raises(ValueError, match=r"truth\.txt: annotations come as \.json, \.json\.gz, \.h5, \.mat"):
        read_truth(tmp_path / "truth.txt")


def test_predictions_given_as_truth(
    mpii: SimpleNamespace, lsp: SimpleNamespace, coco: SimpleNamespace
) -> None:
    with pytest.raises(
        ValueError, match=r"valid-ours\.h5 holds no 'part', only preds; .* swap the two files"
    ):
        read_truth(mpii.root / "valid-ours.h5")
    with pytest.raises(ValueError, match=r"holds neither 'joints' \(LSP\) nor 'RELEASE' \(MPII\), only pred"):
        read_truth(lsp.root / "pred.mat")
    with pytest.raises(ValueError, match="holds COCO results, which are predictions"):
        read_truth(coco.root / "results.json")
    with pytest.raises(ValueError, match=r"own\.json lacks the list of objects 'images'"):
        read_truth(coco.root / "own.json")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"jnt_missing": None}, "holds no 'jnt_missing', only"),
        ({"headboxes_src": None}, "holds no 'headboxes_src'"),
        (
            {"pos_gt_src": np.zeros((14, 2, 40))},
            r"'pos_gt_src' is .* of shape \(14, 2, 40\); expected .*16, 2, N",
        ),
        ({"jnt_missing": np.zeros((16, 39))}, r"'jnt_missing' is .*\(16, 39\); expected .*\(16, 40\)"),
        ({"jnt_missing": np.full((16, 40), 2)}, "'jnt_missing': row 0: the flag of right_ankle is 2"),
        ({"headboxes_src": np.zeros((2, 2, 40))}, "'headboxes_src': row 0: the length 0 is not a positive"),
        ({"pos_gt_src": np.full((16, 2, 40), np.nan)}, "'pos_gt_src': row 0: .* is not a finite number"),
        (
            {"dataset_joints": np.array([["lank"] * 16], object)},
            "'dataset_joints' calls row 0 'lank'; expected 'rank'",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_mat(mpii: SimpleNamespace, tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    file = changed_mat(mpii.root / "detections_our_format.mat", tmp_path / "bad.mat", **changes)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_truth(file)
    assert "bad.mat" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"normalize": None}, "holds no 'normalize'"),
        ({"normalize": np.zeros(40)}, "'normalize': row 0: the length 0 is not a positive number"),
        ({"normalize": np.ones(39)}, r"'normalize' is .*\(39,\); expected .*\(40,\)"),
        (
            {"part": np.zeros((40, 15, 2))},
            r"'part' has shape \(40, 15, 2\); expected \(N, 16, 2\) for MPII or",
        ),
        ({"visible": np.full((40, 16), 3.0)}, "row 0: 'visible' of right_ankle is 3"),
        ({"part": np.full((40, 16, 2), np.inf)}, "row 0: right_ankle is labelled but not a finite number"),
    ],
    ids=["none", "zero", "count", "joints", "flags", "inf"],
)
def test_bad_hdf5(mpii: SimpleNamespace, tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    file = changed_h5(mpii.root / "valid.h5", tmp_path / "bad.h5", **changes)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_truth(file)
    assert "bad.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("joint_self", [[1, 2, 3]], r"row 3: 'joint_self' is not numbers of shape \(16, 3\)"),
        ("joint_self", [[1, 2, 7]] * 16, "row 3: 'joint_self' gives right_ankle the flag 7"),
        ("joint_self", [[float("nan"), 2, 1]] * 16, "row 3: right_ankle is labelled but not a finite"),
        ("joint_self", "x", "row 3: 'joint_self' is not numbers"),
        ("scale_provided", None, "row 3 has no 'scale_provided'"),
        ("scale_provided", -1, "row 3: the scale is -1; it must be positive"),
        ("people_index", 1e30, "row 3: 'annolist_index' or 'people_index' is no count"),
        ("isValidation", None, "row 3 has no 'isValidation'"),
    ],
)
def test_bad_list(mpii: SimpleNamespace, tmp_path: Path, key: str, value: Any, complaint: str) -> None:
    content = json.loads(gzip.decompress((mpii.root / "mpii_annotations.json.gz").read_bytes()))
    content[3][key] = value
    if value is None:
        del content[3][key]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint):
        read_truth(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.pop("categories"), "lacks the list of objects 'categories'"),
        (lambda c: c["categories"][0].pop("keypoints"), "no entry of 'categories' lists 'keypoints'"),
        (lambda c: c["annotations"].clear(), "annotates nobody of its category 'coco17'"),
        (lambda c: c["annotations"][2].pop("area"), "annotation 52 has no 'area'"),
        (
            lambda c: c["annotations"][2].update(area=0),
            "annotation 52: the 'area' is 0; OKS needs a positive",
        ),
        (lambda c: c["annotations"][2].update(image_id=1), "annotation 52: 'image_id' 1 is not among"),
        (lambda c: c["annotations"][2].update(image_id=[1]), r"annotation 52: 'image_id' \[1\] is not among"),
        (lambda c: c["annotations"][2].update(id=50), "two annotations have the id 50"),
        (lambda c: c["annotations"][2].update(id=[1]), r"'id' is \[1\], not a whole number or a name"),
        (lambda c: c["annotations"][2].update(keypoints=[1, 2]), "annotation 52: 'keypoints' is not numbers"),
        (lambda c: c["annotations"][2]["keypoints"].__setitem__(2, 5), "annotation 52: .* the visibility 5"),
        (
            lambda c: c["annotations"][0].update(keypoints=[float("inf"), 1, 2] * 17),
            "annotation 50: nose is not a finite number",
        ),
        (lambda c: c["images"][0].update(id=None), "entry 0 of 'images' has the id None"),
        (lambda c: c["images"][0].update(id=899), "two entries of 'images' have the same id"),
    ],
)
def test_bad_coco(coco: SimpleNamespace, tmp_path: Path, change: Any, complaint: str) -> None:
    content = json.loads(json.dumps(coco.truth))
    change(content)
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_truth(tmp_path / "bad.json")
    assert "bad.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", "3", "[3]", '[{"a": 1}]', "\ud83d".encode("utf-16", "surrogatepass")]
)
def test_json_that_is_nothing(tmp_path: Path, text: Any) -> None:
    (tmp_path / "bad.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"bad\.json"):
        read_truth(tmp_path / "bad.json")


def test_matlab_7_3_is_named(mpii: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "new.mat").write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(124) + bytes([0, 2]) + b"IM" + (mpii.root / "valid.h5").read_bytes()
    )
    with pytest.raises(ValueError, match=r"new\.mat is a MATLAB 7\.3 file; save it with -v7"):
        read_truth(tmp_path / "new.mat")


@pytest.mark.parametrize(
    ("length", "problem"), [(1e-300, "out of all proportion"), (1e300, "out of all"), (-3, "not a")]
)
def test_lengths_that_no_head_has(mpii: SimpleNamespace, tmp_path: Path, length: float, problem: str) -> None:
    normalize = mpii.head.copy()
    normalize[11] = length
    file = changed_h5(mpii.root / "valid.h5", tmp_path / "bad.h5", normalize=normalize)
    with pytest.raises(ValueError, match=rf"bad\.h5, 'normalize': row 11: the length .* is {problem}"):
        read_truth(file)


def test_joints_that_no_picture_has(mpii: SimpleNamespace, tmp_path: Path) -> None:
    points = mpii.points.copy()
    n, j = np.argwhere(mpii.labelled)[7]
    points[n, j] = 1e200
    moved = points.transpose(1, 2, 0)
    file = changed_mat(mpii.root / "detections_our_format.mat", tmp_path / "bad.mat", pos_gt_src=moved)
    with pytest.raises(ValueError, match=f"row {n}: {MPII16.joints[j]} lies where no picture reaches"):
        read_truth(file)
