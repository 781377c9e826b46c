import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from hourglass.core.skeleton import MPII16
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.mpii import load_records
from mpii_forms import (
    ANKLE,
    FORMS,
    KNEE,
    STICK_PX,
    TOP,
    hdf5,
    hrnet,
    person,
    write,
    write_hdf5,
    write_hrnet,
    write_list,
    write_official,
)


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

    official = "mpii_human_pose_v1_u12_1.mat"
    write_official(tmp_path, f"annot/{official}", 9)
    found = [x()]
    write_official(tmp_path, official, 10)
    found.append(x())
    for place, make in (
        ("valid.h5", hdf5),
        ("annot/valid.h5", hdf5),
        ("mpii_annotations.json.gz", list),
        ("mpii_annotations.json", list),
        ("annot/valid.json", lambda entries: [hrnet(e) for e in entries]),
    ):
        # The later, the higher in rank; each with its own centre.
        entry = person(objpos=[9.0 + len(found), 201.0])
        write(tmp_path / place, make([entry]))
        found.append(x())
    assert found == [8, 9, 10, 11, 12, 13, 14]


def test_the_official_file_alone_has_people_to_test_on(tmp_path: Path) -> None:
    root = write_official(tmp_path, "mpii_human_pose_v1_u12_1.mat")
    (train,), (val,), (test,) = (load_records(root, split) for split in ("train", "val", "test"))
    assert [r.image_id for r in (train, val, test)] == ["b.jpg", "a.jpg", "c.jpg"]
    assert [r.person_id for r in (train, val, test)] == [101, 701, 201]
    assert [int((r.visibility > 0).sum()) for r in (train, val, test)] == [3, 3, 0]
    check_the_crop(test)
    # The other forms have no such people, so they aren't asked.
    write_list(root, person())
    assert load_records(root, "val")[0].person_id == 702
    assert load_records(root, "test")[0].person_id == 201
    (root / "mpii_human_pose_v1_u12_1.mat").unlink()
    wanted = r"test split: none of mpii_human_pose_v1_u12_1\.mat, annot/mpii_human_pose_v1_u12_1\.mat$"
    with pytest.raises(FileNotFoundError, match=wanted):
        load_records(root, "test")


def test_splits_of_the_one_list(tmp_path: Path) -> None:
    train = [person(isValidation=0, img_paths=f"{n}.jpg", people_index=i) for i, n in enumerate("bcc", 5)]
    root = write_list(tmp_path, train[0], person(), *train[1:])
    assert [r.image_id for r in load_records(root)] == ["b.jpg", "c.jpg", "c.jpg"]
    assert [r.image_id for r in load_records(root, "val")] == ["a.jpg"]


def test_a_picture_in_both_splits_is_refused(tmp_path: Path) -> None:
    root = write_list(tmp_path, person(), person(isValidation=0, people_index=5))
    with pytest.raises(ValueError, match=r"annotations\.json: row 1: a\.jpg has people of both splits"):
        load_records(root)


def test_unknown_split_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MPII has no split 'all'; it has train, val, test$"):
        load_records(tmp_path, "all")


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
        FileNotFoundError, match=r"train split: none of annot/train\.json, mpii_ann.*train\.h5, mpii_human"
    ):
        load_records(tmp_path)
    root = write_list(tmp_path, person(), person(img_paths="e.jpg", people_index=4))
    (root / "images" / "b.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of MPII's val split .*first is e\.jpg"):
        load_records(root, "val")
    shutil.rmtree(root / "images")
    with pytest.raises(FileNotFoundError, match=r"no folder .*images; it should hold the pictures of MPII's"):
        load_records(root, "val")
