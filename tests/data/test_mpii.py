import gzip
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.data.mpii import load_records
from hourglass.skeleton import MPII16
from hourglass.structs import PersonRecord

# FACTS, B1: the order in every form of the annotations.
ANKLE, KNEE, HIP, NECK, TOP = 0, 1, 2, 8, 9
STICK_PX = 100.0
"""Neck to head top of the person below: what a raw scale of 3 means, as 3 x 100 / 3."""


def person(**changes: Any) -> dict[str, Any]:
    """A validation person of raw scale 3 in the one-list form: hidden knee, unlabelled hip."""
    joints = [[50.0 + 10 * j, 400.0 - 10 * j, 1.0] for j in range(16)]
    joints[ANKLE] = [11, 21.5, 1]
    joints[KNEE][2] = 0
    joints[HIP] = [0, 0, 0]
    joints[NECK], joints[TOP] = [200, 180, 1], [260, 100, 1]
    entry = {
        "isValidation": 1.0,
        "img_paths": "a.jpg",
        "objpos": [101.0, 201.0],
        "scale_provided": 3.0,
        "joint_self": joints,
        "annolist_index": 7.0,
        "people_index": 2.0,
        "numOtherPeople": 0.0,
    }
    return entry | changes


def hrnet(entry: dict[str, Any]) -> dict[str, Any]:
    """The same person as HRNet's files have people: what is hidden isn't told, what is missing lies at -1."""
    joints = np.array(entry["joint_self"])
    labelled = (joints[:, :2] != 0).any(1)
    return {
        "image": entry["img_paths"],
        "center": entry["objpos"],
        "scale": entry["scale_provided"],
        "joints": np.where(labelled[:, None], joints[:, :2], -1).tolist(),
        "joints_vis": labelled.astype(int).tolist(),
    }


def hdf5(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The same people as the authors' file has them, whose centre and scale are adjusted."""
    joints = np.array([e["joint_self"] for e in entries])
    scale = np.array([e["scale_provided"] for e in entries])
    center = np.array([e["objpos"] for e in entries])
    return {
        "imgname": np.array([e["img_paths"] for e in entries], "S"),
        "part": np.trunc(joints[..., :2]),
        "visible": joints[..., 2],
        "center": np.stack([center[:, 0], center[:, 1] + 15 * scale], 1),
        "scale": 1.25 * scale,
        "index": np.array([e["annolist_index"] - 1 for e in entries]),
        "person": np.array([e["people_index"] - 1 for e in entries]),
    }


def write(file: Path, content: Any) -> Path:
    """Write any of the forms, by its suffix; returns the root, which gets the pictures a.jpg to d.jpg."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".h5":
        with h5py.File(file, "w") as out:
            for key, value in content.items():
                out[key] = value
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress(json.dumps(content).encode()))
    else:
        file.write_text(json.dumps(content))
    root = file.parent.parent if file.parent.name == "annot" else file.parent
    (root / "images").mkdir(exist_ok=True)
    for name in "abcd":
        (root / "images" / f"{name}.jpg").touch()
    return root


def write_list(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "mpii_annotations.json", list(entries))


def write_hrnet(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "annot" / "valid.json", [hrnet(e) for e in entries])


def write_hdf5(root: Path, *entries: dict[str, Any]) -> Path:
    return write(root / "annot" / "valid.h5", hdf5(list(entries)))


FORMS: dict[str, Callable[..., Path]] = {"list": write_list, "hrnet": write_hrnet, "hdf5": write_hdf5}


def check_the_crop(record: PersonRecord) -> None:
    # 1-based (101, 201); 15 x 3 lower; 200 x 1.25 x 3 wide. PCKh's head is 0.75 of the stick.
    np.testing.assert_allclose(record.center, (100, 245))
    assert record.side_px == pytest.approx(750)
    assert record.side_px / 10 == pytest.approx(0.75 * STICK_PX)


def test_the_one_list_form_by_hand(tmp_path: Path) -> None:
    (record,) = load_records(write_list(tmp_path, person()), "val")
    assert record.skeleton is MPII16
    assert (record.image, record.image_id) == (tmp_path / "images" / "a.jpg", "a.jpg")
    assert record.person_id == 702
    assert record.visibility.tolist() == [2, 1, 0] + 13 * [2]
    np.testing.assert_allclose(record.keypoints[[ANKLE, KNEE]], [(10, 20.5), (59, 389)])
    np.testing.assert_allclose(record.keypoints[15], (199, 249))
    check_the_crop(record)


def test_hrnets_form_by_hand(tmp_path: Path) -> None:
    first, second = load_records(write_hrnet(tmp_path, person(), person(img_paths="b.jpg")), "val")
    # A hidden joint isn't told from a visible one.
    assert first.visibility.tolist() == [2, 2, 0] + 13 * [2]
    np.testing.assert_allclose(first.keypoints[[ANKLE, KNEE]], [(10, 20.5), (59, 389)])
    check_the_crop(first)
    assert (first.person_id, second.person_id) == (100_001, 100_002)
    (train,) = load_records(write(tmp_path / "annot" / "train.json", [hrnet(person())]), "train")
    assert train.person_id == 1


def test_the_authors_form_by_hand(tmp_path: Path) -> None:
    content = hdf5([person()])
    # What the file holds is adjusted before it comes to us.
    assert content["center"].tolist() == [[101, 246]]
    assert content["scale"].tolist() == [3.75]
    (record,) = load_records(write(tmp_path / "annot" / "valid.h5", content), "val")
    assert record.person_id == 702
    assert record.visibility.tolist() == [2, 1, 0] + 13 * [2]
    np.testing.assert_allclose(record.keypoints[[ANKLE, KNEE]], [(10, 20), (59, 389)])
    check_the_crop(record)


def test_the_authors_names_may_be_padded_or_of_any_length(tmp_path: Path) -> None:
    content = hdf5([person(), person(people_index=3)])
    for names in (
        np.array([b"a.jpg\0\0\0\0", b"b.jpg"], "S9"),
        np.array([b"a.jpg", b"b.jpg"], h5py.special_dtype(vlen=bytes)),
    ):
        records = load_records(write(tmp_path / "valid.h5", content | {"imgname": names}), "val")
        assert [r.image_id for r in records] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("form", FORMS)
def test_a_joint_on_one_axis_is_labelled(tmp_path: Path, form: str) -> None:
    joints = person()["joint_self"]
    joints[3], joints[4], joints[5] = [0, 30, 1], [-2, 30, 1], [0, 0, 1]
    (record,) = load_records(FORMS[form](tmp_path, person(joint_self=joints)), "val")
    assert record.visibility[3:6].tolist() == [2, 2, 0]
    np.testing.assert_allclose(record.keypoints[3:5], [(-1, 29), (-3, 29)])


def test_which_file_is_read(tmp_path: Path) -> None:
    def x() -> float:
        return float(load_records(tmp_path, "val")[0].center[0])

    found: list[float] = []
    for place, make in (
        ("valid.h5", hdf5),
        ("annot/valid.h5", hdf5),
        ("mpii_annotations.json.gz", list),
        ("mpii_annotations.json", list),
        ("annot/valid.json", lambda entries: [hrnet(e) for e in entries]),
    ):
        # The later, the higher in rank; each with its own centre.
        entry = person(objpos=[11.0 + len(found), 201.0])
        write(tmp_path / place, make([entry]))
        found.append(x())
    assert found == [10, 11, 12, 13, 14]


def test_splits_of_the_one_list(tmp_path: Path) -> None:
    train = [person(isValidation=0, img_paths=f"{n}.jpg", people_index=i) for i, n in enumerate("bcc")]
    root = write_list(tmp_path, train[0], person(), *train[1:])
    assert [r.image_id for r in load_records(root)] == ["b.jpg", "c.jpg", "c.jpg"]
    assert [r.image_id for r in load_records(root, "val")] == ["a.jpg"]


def test_a_picture_in_both_splits_is_refused(tmp_path: Path) -> None:
    root = write_list(tmp_path, person(), person(isValidation=0, people_index=5))
    with pytest.raises(ValueError, match=r"annotations\.json: row 1: a\.jpg has people of both splits"):
        load_records(root)


def test_unknown_split_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MPII has no split 'test' with annotations; it has train, val"):
        load_records(tmp_path, "test")


def test_people_without_labels_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nothing = person(joint_self=[[0, 0, 0]] * 16, people_index=3)
    one = person(joint_self=[[5, 6, 1]] + [[0, 0, 0]] * 15, people_index=4)
    with caplog.at_level(logging.INFO):
        # The crop hangs on no joint, so one joint is enough.
        assert [r.person_id for r in load_records(write_list(tmp_path, nothing, one), "val")] == [704]
    assert "people without labelled joints: 1" in caplog.text
    with pytest.raises(ValueError, match="nobody with a labelled joint in MPII's val split"):
        load_records(write_list(tmp_path, nothing), "val")


@pytest.mark.parametrize("form", ["list", "hrnet"])
def test_adjusted_scales_in_a_raw_form_are_refused(tmp_path: Path, form: str) -> None:
    adjusted = person(scale_provided=3.75, objpos=[101, 246])
    with pytest.raises(ValueError, match=r"holds adjusted scales, .* is 26\.7 px .* 33\.3 is raw"):
        load_records(FORMS[form](tmp_path, adjusted), "val")


def test_raw_scales_in_the_adjusted_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"valid\.h5 holds raw scales, .* is 33\.3 px"):
        load_records(write_hdf5(tmp_path, person(scale_provided=3 / 1.25)), "val")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("slip", [0.98, 1.02])
def test_scales_in_the_wrong_state_are_seen_through_a_clumsy_click(
    tmp_path: Path, form: str, slip: float
) -> None:
    factor = 1 / 1.25 if form == "hdf5" else 1.25
    with pytest.raises(ValueError, match="crops would come out of the wrong size"):
        load_records(FORMS[form](tmp_path, person(scale_provided=3 * factor * slip)), "val")
    (record,) = load_records(FORMS[form](tmp_path, person(scale_provided=3 * slip)), "val")
    assert record.side_px == pytest.approx(750 * slip)


@pytest.mark.parametrize("form", FORMS)
def test_the_median_person_decides_on_the_scales(tmp_path: Path, form: str) -> None:
    # One with the wrong state among three, then two; the side shows that nothing else changed.
    factor = 1 / 1.25 if form == "hdf5" else 1.25
    odd = person(scale_provided=3 * factor, people_index=3)
    records = load_records(FORMS[form](tmp_path, person(), odd, person(people_index=4)), "val")
    assert [round(r.side_px) for r in records] == [750, round(750 * factor), 750]
    with pytest.raises(ValueError, match="crops would come out of the wrong size"):
        load_records(FORMS[form](tmp_path, person(), odd, odd | {"people_index": 4}), "val")


@pytest.mark.parametrize("form", FORMS)
def test_scales_that_tell_nothing_are_believed(tmp_path: Path, form: str) -> None:
    headless = [*person()["joint_self"]]
    headless[TOP] = [0, 0, 0]
    factor = 1 / 1.25 if form == "hdf5" else 1.25
    wrong = person(joint_self=headless, scale_provided=3 * factor)
    (record,) = load_records(FORMS[form](tmp_path, wrong), "val")
    assert record.side_px == pytest.approx(750 * factor)
    # People of other proportions, such as somebody's own data: neither state.
    (record,) = load_records(FORMS[form](tmp_path, person(scale_provided=5.0)), "val")
    assert record.side_px == pytest.approx(1250)


def test_missing_parts_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the folder"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"train split: none of annot/train\.json, mpii_ann.*train\.h5"
    ):
        load_records(tmp_path)
    root = write_list(tmp_path, person(), person(img_paths="e.jpg", people_index=4))
    (root / "images" / "b.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of MPII's val split .*first is e\.jpg"):
        load_records(root, "val")
    shutil.rmtree(root / "images")
    with pytest.raises(FileNotFoundError, match=r"no folder .*images; it should hold the pictures of MPII's"):
        load_records(root, "val")


@pytest.mark.parametrize("name", ["annot/valid.json", "mpii_annotations.json", "mpii_annotations.json.gz"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_json_that_is_cut_off(tmp_path: Path, name: str, share: float) -> None:
    make = hrnet if "annot/" in name else dict
    root = write(tmp_path / name, [make(person())])
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="is not a whole JSON file"):
        load_records(root, "val")


@pytest.mark.parametrize("name", ["annot/valid.json", "mpii_annotations.json", "mpii_annotations.json.gz"])
@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"\xff\xfe\x00[", b"[" * 100_000])
def test_bytes_that_are_no_json(tmp_path: Path, name: str, content: bytes) -> None:
    root = write(tmp_path / name, [])
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole JSON file"):
        load_records(root, "val")


@pytest.mark.parametrize("content", [{}, {"annolist": []}, 5, None, [[1, 2]], ["a"]])
def test_json_of_another_shape(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="holds no list of objects"):
        load_records(write(tmp_path / "mpii_annotations.json", content), "val")


def test_nobody_of_a_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"annotations\.json holds nobody of the train split"):
        load_records(write_list(tmp_path, person()), "train")
    with pytest.raises(ValueError, match=r"valid\.json holds nobody of the val split"):
        load_records(write_hrnet(tmp_path), "val")


LIST_KEYS = ("isValidation", "img_paths", "objpos", "scale_provided", "joint_self", "annolist_index")
HRNET_KEYS = ("image", "center", "scale", "joints", "joints_vis")


@pytest.mark.parametrize("key", [*LIST_KEYS, "people_index", *HRNET_KEYS])
@pytest.mark.parametrize("value", ["missing", None, "x", [], [1], [[1], [2, 3]], {}, True, 10**400])
def test_a_field_that_is_missing_or_malformed(tmp_path: Path, key: str, value: Any) -> None:
    good, bad = person(), person(people_index=3)
    if key in HRNET_KEYS:
        good, bad = hrnet(good), hrnet(bad)
    bad[key] = value
    if value == "missing":
        del bad[key]
    elif value == "x" and key in ("img_paths", "image"):
        bad[key] = ""
    root = write(
        tmp_path / ("annot/valid.json" if key in HRNET_KEYS else "mpii_annotations.json"), [good, bad]
    )
    problem = f"has no '{key}'" if value == "missing" else f": '{key}' is"
    with pytest.raises(ValueError, match=rf"\.json: row 1:? ?{problem}"):
        load_records(root, "val")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", FORMS)
def test_numbers_that_are_not_finite(tmp_path: Path, form: str, value: float) -> None:
    joints = person()["joint_self"]
    joints[KNEE][1] = value
    scale_problem = "the scale is .*must be positive"
    if form == "hdf5":
        # Its centre is adjusted by the scale and speaks first.
        scale_problem = "the centre of the person is not a finite number"
    for bad, problem in (
        ({"joint_self": joints}, "right_knee is labelled but not a finite number"),
        ({"objpos": [value, 3]}, "the centre of the person is not a finite number"),
        ({"scale_provided": value}, scale_problem),
    ):
        root = FORMS[form](tmp_path, person(), person(people_index=3, **bad))
        with pytest.raises(ValueError, match=f"row 1: {problem}"):
            load_records(root, "val")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0, -3.0])
def test_scales_that_are_not_positive(tmp_path: Path, form: str, scale: float) -> None:
    with pytest.raises(ValueError, match=r"row 0: the scale is -?\d.*; it must be positive"):
        load_records(FORMS[form](tmp_path, person(scale_provided=scale)), "val")


@pytest.mark.parametrize("flag", [2, -1, 0.5, np.nan])
def test_flags_that_are_neither_0_nor_1(tmp_path: Path, flag: float) -> None:
    joints = person()["joint_self"]
    joints[KNEE][2] = flag
    bad = person(joint_self=joints)
    with pytest.raises(ValueError, match=r"row 0: 'joint_self' gives right_knee the flag .*expected 0 or 1"):
        load_records(write_list(tmp_path, bad), "val")
    with pytest.raises(ValueError, match=r"row 0: 'isValidation' is .*expected 0 or 1"):
        load_records(write_list(tmp_path, person(isValidation=flag)), "val")
    with pytest.raises(ValueError, match=r"row 0: 'visible' of right_knee is .*expected 0 or 1"):
        load_records(write_hdf5(tmp_path / "authors", bad), "val")
    entry = hrnet(person())
    entry["joints_vis"][KNEE] = flag
    with pytest.raises(ValueError, match=r"row 0: 'joints_vis' gives right_knee the flag .*expected 0 or 1"):
        load_records(write(tmp_path / "hrnet" / "annot" / "valid.json", [entry]), "val")


@pytest.mark.parametrize("number", [-1, 1.5, np.nan, 1e300])
@pytest.mark.parametrize("form", ["list", "hdf5"])
def test_numbers_of_people_that_are_no_counts(tmp_path: Path, form: str, number: float) -> None:
    for key in ("annolist_index", "people_index"):
        with pytest.raises(ValueError, match=r"row 1: .*is no count"):
            load_records(FORMS[form](tmp_path, person(), person(**{key: number})), "val")


@pytest.mark.parametrize("form", ["list", "hdf5"])
def test_the_same_person_twice(tmp_path: Path, form: str) -> None:
    with pytest.raises(ValueError, match=r"row 1 and .*row 0 are the same person"):
        load_records(FORMS[form](tmp_path, person(), person()), "val")


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\x89HDF\r\n\x1a\n" + b"\0" * 90])
def test_bytes_that_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    root = write_hdf5(tmp_path, person())
    (root / "annot" / "valid.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"valid\.h5 is not an HDF5 file that can be read"):
        load_records(root, "val")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_hdf5_that_is_cut_off(tmp_path: Path, share: float) -> None:
    root = write_hdf5(tmp_path, person())
    file = root / "annot" / "valid.h5"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"valid\.h5 is not an HDF5 file that can be read, or is cut off"):
        load_records(root, "val")


@pytest.mark.parametrize("key", hdf5([person()]))
def test_hdf5_without_a_field_or_with_another_shape(tmp_path: Path, key: str) -> None:
    content = hdf5([person(), person(people_index=3)])
    whole = content.pop(key)
    with pytest.raises(ValueError, match=f"valid.h5 holds no '{key}'"):
        load_records(write(tmp_path / "annot" / "valid.h5", content), "val")
    for bad in (whole[:, None], np.full(whole.shape, True)):
        with pytest.raises(ValueError, match=rf"valid\.h5: '{key}' is .* of shape .*expected"):
            load_records(write(tmp_path / "annot" / "valid.h5", content | {key: bad}), "val")
    if key != "imgname":
        with pytest.raises(ValueError, match=rf"'{key}' is .* of shape \(1,.*expected numbers of shape \(2,"):
            load_records(write(tmp_path / "annot" / "valid.h5", content | {key: whole[:1]}), "val")


@pytest.mark.parametrize("name", [b"\xff\xfe", b""])
def test_hdf5_with_a_name_that_is_none(tmp_path: Path, name: bytes) -> None:
    content = hdf5([person(), person(people_index=3)])
    content["imgname"] = np.array([b"a.jpg", name])
    with pytest.raises(ValueError, match=r"valid\.h5: row 1: 'imgname' is"):
        load_records(write(tmp_path / "annot" / "valid.h5", content), "val")


def test_hdf5_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_hdf5(tmp_path, person())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"valid\.h5 needs the package h5py; install it: pip install h5py"):
        load_records(root, "val")


REAL = Path(os.environ.get("HOURGLASS_DATA", "")) / "mpii"
needs_data = pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder")
# FACTS, E4, in the order of B1.
JOINTS_OF_VAL = [2115, 2485, 2889, 2888, 2478, 2119, 2878, 2932]
JOINTS_OF_VAL += [2932, 2932, 2928, 2935, 2944, 2944, 2932, 2909]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty file for each real picture."""
    folder = tmp_path_factory.mktemp("photos")
    entries = json.loads(gzip.decompress((REAL / "mpii_annotations.json.gz").read_bytes()))
    for name in {entry["img_paths"] for entry in entries}:
        (folder / name).touch()
    return folder


def real_root(root: Path, photos: Path, source: str, place: str) -> Path:
    """A folder with one real file of annotations."""
    (root / "images").symlink_to(photos)
    (root / "annot").mkdir()
    (root / place).symlink_to(REAL / source)
    return root


def stack(records: list[PersonRecord], field: str) -> Any:
    return np.stack([getattr(record, field) for record in records])


@pytest.mark.realdata
@needs_data
def test_the_real_list(tmp_path: Path, photos: Path) -> None:
    root = real_root(tmp_path, photos, "mpii_annotations.json.gz", "mpii_annotations.json.gz")
    train, val = load_records(root, "train"), load_records(root, "val")
    assert (len(train), len(val)) == (22_246, 2958)
    images = [{r.image_id for r in records} for records in (train, val)]
    assert (len(images[0]), len(images[1]), len(images[0] & images[1])) == (14_679, 2729, 0)
    assert len({r.person_id for r in train + val}) == 25_204
    seen = stack(val, "visibility")
    assert (seen > 0).sum(0).tolist() == JOINTS_OF_VAL
    assert (int((seen > 0).sum()), int((seen == 1).sum())) == (44_240, 10_243)
    # 332,022 with the rule x > 0, see the module.
    seen = stack(train, "visibility")
    assert (int((seen > 0).sum()), int((seen == 1).sum())) == (332_023, 76_460)
    # The first validation person, 1-based in the file: ankle (804, 711), centre (966, 340), scale 4.718.
    np.testing.assert_allclose(val[0].keypoints[0], (803, 710))
    np.testing.assert_allclose(val[0].center, (965, 339 + 15 * 4.718), atol=0.01)
    assert val[0].side_px == pytest.approx(250 * 4.718, rel=1e-3)
    assert (val[0].image_id, val[0].person_id) == ("005808361.jpg", 701)

    truth = scipy.io.loadmat(REAL / "detections_our_format.mat")
    seen = stack(val, "visibility") > 0
    np.testing.assert_array_equal(seen, truth["jnt_missing"].T == 0)
    expected = truth["pos_gt_src"].transpose(2, 0, 1)
    # That file has a coordinate wiped out in 13 labelled joints.
    whole = seen & (expected != 0).all(-1)
    assert int((seen & ~whole).sum()) == 13
    np.testing.assert_allclose(stack(val, "keypoints")[whole], expected[whole] - 1, atol=1e-3)
    boxes = truth["headboxes_src"]
    head = 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    np.testing.assert_allclose([r.side_px / 10 for r in val], head, rtol=1e-3)


@pytest.mark.realdata
@needs_data
def test_the_authors_real_file_agrees_with_the_list(tmp_path: Path, photos: Path) -> None:
    root = real_root(tmp_path, photos, "mpii_annotations.json.gz", "mpii_annotations.json.gz")
    listed = load_records(root, "val")
    (root / "mpii_annotations.json.gz").unlink()
    (root / "valid.h5").symlink_to(REAL / "valid.h5")
    theirs = load_records(root, "val")
    assert [r.image_id for r in theirs] == [r.image_id for r in listed]
    assert [r.person_id for r in theirs] == [r.person_id for r in listed]
    np.testing.assert_array_equal(stack(theirs, "visibility"), stack(listed, "visibility"))
    seen = stack(listed, "visibility") > 0
    ours, cut = stack(listed, "keypoints")[seen] + 1, stack(theirs, "keypoints")[seen] + 1
    # Cut towards zero, but for five joints that went one further.
    assert np.abs(ours - cut).max() < 1.001
    assert int((np.trunc(ours + 1e-4 * np.sign(ours)) != cut).any(-1).sum()) <= 5
    np.testing.assert_allclose(stack(theirs, "center"), stack(listed, "center"), atol=0.01)
    np.testing.assert_allclose([r.side_px for r in theirs], [r.side_px for r in listed], rtol=1e-3)
    with h5py.File(REAL / "valid.h5") as file:
        np.testing.assert_allclose([r.side_px / 10 for r in theirs], file["normalize"][()], rtol=1e-3)


@pytest.mark.realdata
@needs_data
def test_the_real_file_in_hrnets_form(tmp_path: Path, photos: Path) -> None:
    root = real_root(tmp_path, photos, "test_mpii.json", "annot/valid.json")
    five = load_records(root, "val")
    (root / "annot" / "valid.json").unlink()
    (root / "mpii_annotations.json.gz").symlink_to(REAL / "mpii_annotations.json.gz")
    listed = {r.image_id: r for r in load_records(root, "val")}
    assert len(five) == 5
    for record in five:
        other = listed[record.image_id]
        np.testing.assert_array_equal(record.labelled, other.labelled)
        rows = record.labelled
        np.testing.assert_allclose(record.keypoints[rows], other.keypoints[rows], atol=1e-3)
        np.testing.assert_allclose(record.center, other.center, atol=0.01)
        assert record.side_px == pytest.approx(other.side_px, rel=1e-3)


@pytest.mark.realdata
@needs_data
def test_real_files_in_the_wrong_state_are_refused(tmp_path: Path, photos: Path) -> None:
    root = real_root(tmp_path, photos, "mpii_annotations.json.gz", "mpii_annotations.json.gz")
    with h5py.File(REAL / "valid.h5") as file:
        authors = {key: file[key][()] for key in file}
    entries = [
        {
            "image": name.decode(),
            "center": center,
            "scale": scale,
            "joints": parts,
            "joints_vis": [int(x > 0) for x, _ in parts],
        }
        for name, center, scale, parts in zip(
            authors["imgname"],
            authors["center"].tolist(),
            authors["scale"].tolist(),
            authors["part"].tolist(),
            strict=True,
        )
    ]
    write(root / "annot" / "valid.json", entries)
    with pytest.raises(ValueError, match=r"valid\.json holds adjusted scales, .* is 26\.7 px"):
        load_records(root, "val")
    (root / "annot" / "valid.json").unlink()
    (root / "mpii_annotations.json.gz").unlink()
    write(root / "valid.h5", authors | {"scale": authors["scale"] / 1.25})
    with pytest.raises(ValueError, match=r"valid\.h5 holds raw scales, .* is 33\.3 px"):
        load_records(root, "val")
