from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import MPII16
from hourglass.data.formats.mpii import load_records, read_hrnet, read_list
from mpii_forms import FORMS, KNEE, hrnet, person, write, write_hdf5, write_hrnet, write_list


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
    with pytest.raises(ValueError, match=r"row 1 and .*row 0 have the same id 702"):
        load_records(FORMS[form](tmp_path, person(), person()), "val")


def test_the_list_without_pictures(tmp_path: Path) -> None:
    train = person(isValidation=0, img_paths="b.jpg", people_index=3, scale_provided=1.5, tag="x")
    # Neck to head top is half as long, as the scale is.
    train["joint_self"][9] = [230, 140, 1]
    write_list(tmp_path, person(tag=None, only_here=5), train)
    people = read_list(tmp_path / "mpii_annotations.json")
    assert people.skeleton is MPII16
    assert (people.form, people.origin, people.tells_hidden) == ("mpii-list", 1, True)
    assert [list(column) for column in (people.names, people.splits)] == [
        ["a.jpg", "b.jpg"],
        ["val", "train"],
    ]
    assert people.ids.tolist() == [702, 703]
    # Neither cut nor moved: as in the file.
    np.testing.assert_array_equal(people.keypoints[0, :3], [(11, 21.5), (60, 390), (0, 0)])
    assert people.visibility[0, :4].tolist() == [2, 1, 0, 2]
    # FACTS, B3: 15 x scale lower and 200 x 1.25 x scale wide; the head is 25 x scale.
    np.testing.assert_allclose(people.center, [(101, 246), (101, 223.5)])
    np.testing.assert_allclose(people.side_px, [750, 375])
    np.testing.assert_allclose(people.lengths["head"], [75, 37.5])
    np.testing.assert_array_equal(people.columns["objpos"], [(101, 201)] * 2)
    for key, wanted in (("scale_provided", [3, 1.5]), ("isValidation", [1, 0]), ("annolist_index", [7, 7])):
        assert people.columns[key].tolist() == wanted
    assert people.columns["numOtherPeople"].tolist() == [0, 0]
    assert people.columns["tag"].tolist() == [None, "x"]
    assert "only_here" not in people.columns


def test_hrnets_file_without_pictures(tmp_path: Path) -> None:
    file = write_hrnet(tmp_path, person(), person(img_paths="b.jpg")) / "annot" / "valid.json"
    for split, first in (("", 1), ("train", 1), ("val", 100_001)):
        people = read_hrnet(file, split)
        assert people.ids.tolist() == [first, first + 1]
        assert list(people.splits) == [split] * 2
    assert (people.form, people.origin, people.tells_hidden) == ("mpii-hrnet", 1, False)
    np.testing.assert_array_equal(people.keypoints[0, :3], [(11, 21.5), (60, 390), (-1, -1)])
    assert people.visibility[0].tolist() == [2, 2, 0] + 13 * [2]
    np.testing.assert_allclose(people.center, [(101, 246)] * 2)
    np.testing.assert_allclose(people.side_px, 750)
    np.testing.assert_allclose(people.lengths["head"], 75)
    np.testing.assert_array_equal(people.columns["center"], [(101, 201)] * 2)
    assert people.columns["scale"].tolist() == [3, 3]
    with pytest.raises(ValueError, match="HRNet's files are of the splits train, val, not 'test'"):
        read_hrnet(file, "test")


def test_scales_are_looked_at_in_each_split(tmp_path: Path) -> None:
    # Of 5 people 2 are in the wrong state: not the median of all, but everybody of val.
    train = [person(isValidation=0, img_paths="b.jpg", people_index=n) for n in (5, 6, 7)]
    val = [person(scale_provided=3.75, people_index=n) for n in (8, 9)]
    write_list(tmp_path, *train, *val)
    with pytest.raises(ValueError, match=r"annotations\.json holds adjusted scales, .* is 26\.7 px"):
        read_list(tmp_path / "mpii_annotations.json")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"objpos": [1e30, 3]}, "row 1: the centre of the person lies where no picture reaches"),
        ({"scale_provided": 1e307}, "row 1: the side of the crop inf is not a positive number"),
        ({"scale_provided": 1e-300}, "row 1: the side of the crop 2e-298 is out of all proportion"),
        ({"joint_self": [[1e200, 5, 1]] * 16}, "row 1: right_ankle lies where no picture reaches"),
        ({"img_paths": "a\0.jpg"}, r"row 1: 'img_paths' is 'a\\x00\.jpg', not the file name of a picture"),
    ],
)
def test_values_that_no_picture_has(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    root = write_list(tmp_path, person(), person(people_index=3) | changes)
    with pytest.raises(ValueError, match=complaint):
        load_records(root, "val")
