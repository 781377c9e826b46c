"""Native forms by hand, what they can't hold, and how files are put in place."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.skeleton_map import map_skeleton
from hourglass.data.writers.shared import Losses, put
from hourglass.data.writers.write import ReadPeople, read_source, target_of, write_people


def two(skeleton: Skeleton = MPII16, form: str = "coco", origin: int = 0, **changed: Any) -> Annotations:
    """Two people of unlike crops; joint j lies at (10 + j, 20 + 2 j) and 5 px further right."""
    joints = np.arange(len(skeleton), dtype=np.float64)
    points = np.stack([10 + joints, 20 + 2 * joints], axis=1)
    people = Annotations(
        file=Path("people.x"),
        form=form,
        what="people",
        skeleton=skeleton,
        where=["row 0", "row 1"],
        names=["a.jpg", "b.jpg"],
        ids=np.array([301, 502]),
        splits=["train", "val"],
        keypoints=np.stack([points, points + np.array([5, 0])]).astype(np.float64),
        visibility=np.full((2, len(skeleton)), 2, np.uint8),
        tells_hidden=True,
        origin=origin,
        center=np.array([[30, 90], [40, 64.5]]),
        side_px=np.array([500, 100.0]),
        lengths={"head": np.array([50, 10.0])},
    )
    return replace(people, **changed)


def flagged(people: Annotations, joint: str, flag: int) -> Annotations:
    people.visibility[0, people.skeleton.index(joint)] = flag
    return people


def written(people: Annotations, file: Path, target: str, lossy: bool = False) -> tuple[Any, list[str]]:
    losses = Losses(lossy)
    write_people(people, file, target, ReadPeople(people), losses, force=True)
    return file, losses.notes


def entries(people: Annotations, folder: Path, target: str, lossy: bool = False) -> tuple[Any, list[str]]:
    file, notes = written(people, folder / "people.json", target, lossy)
    return json.loads(file.read_bytes()), notes


def test_list_by_hand(tmp_path: Path) -> None:
    people = flagged(flagged(two(), "pelvis", 1), "neck", 0)
    (first, second), notes = entries(people, tmp_path, "mpii")
    assert notes == []
    # 500 / 250, and the centre, which counts from 1 here, moves up by 15 x 2.
    assert (first["scale_provided"], first["objpos"]) == (2, [31, 61])
    assert (second["scale_provided"], second["objpos"]) == (0.4, [41, 59.5])
    assert first["joint_self"][0] == [11, 21, 1]
    assert first["joint_self"][6] == [17, 33, 0]
    assert first["joint_self"][8] == [0, 0, 0]
    assert [entry["isValidation"] for entry in (first, second)] == [0, 1]
    assert (first["annolist_index"], first["people_index"]) == (3, 1)
    assert (second["annolist_index"], second["people_index"]) == (5, 2)
    assert (first["img_paths"], second["img_paths"]) == ("a.jpg", "b.jpg")


def test_hrnet_by_hand(tmp_path: Path) -> None:
    people = flagged(flagged(two(), "pelvis", 1), "neck", 0)
    (first, second), notes = entries(people, tmp_path, "hrnet")
    assert set(first) == {"joints_vis", "joints", "image", "scale", "center"}
    assert (first["scale"], first["center"]) == (2, [31, 61])
    assert first["joints_vis"] == [1] * 8 + [0] + [1] * 7
    assert first["joints"][6] == [17, 33]
    assert first["joints"][8] == [-1, -1]
    assert second["joints"][8] == [24, 37]
    assert [note.split(",")[0] for note in notes] == [
        "hidden joints",
        "splits (train",
        "ids have no place in this form: its readers number the rows",
    ]


def test_authors_by_hand(tmp_path: Path) -> None:
    people = flagged(flagged(two(), "pelvis", 1), "neck", 0)
    file, notes = written(people, tmp_path / "people.h5", "authors")
    assert [note.split(" ")[0] for note in notes] == ["splits"]
    with h5py.File(file) as found:
        # Both steps stay taken: the side over 200, and the crop's own centre.
        assert found["scale"][()].tolist() == [2.5, 0.5]
        assert found["center"][()].tolist() == [[31, 91], [41, 65.5]]
        assert found["index"][()].tolist() == [2, 4]
        assert found["person"][()].tolist() == [0, 1]
        assert found["imgname"][()].tolist() == [b"a.jpg", b"b.jpg"]
        assert found["normalize"][()].tolist() == [50, 10]
        assert found["part"][0, 8].tolist() == [0, 0]
        assert found["part"][0, 0].tolist() == [11, 21]
        assert found["visible"][0].tolist() == [1] * 6 + [0, 1, 0] + [1] * 7
        # From pelvis to thorax it goes 1 right and 2 down.
        assert found["torsoangle"][0] == pytest.approx(180 - math.degrees(math.atan2(1, 2)))


def test_flic_counts_from_0_and_has_its_own_torso(tmp_path: Path) -> None:
    people = two(FLIC11, form="lsp", origin=1, lengths={})
    file, notes = written(people, tmp_path / "people.h5", "authors")
    with h5py.File(file) as found:
        assert found["part"][0, 0].tolist() == [9, 19]
        assert found["center"][0].tolist() == [29, 89]
        # Right shoulder, row 3, to left hip, row 6.
        assert found["normalize"][()].tolist() == pytest.approx([math.hypot(3, 6)] * 2)
    people = flagged(people, "left_hip", 0)
    file, notes = written(people, tmp_path / "people.h5", "authors")
    assert "'normalize'" in notes[-1]
    with h5py.File(file) as found:
        assert "normalize" not in found
        assert found["torsoangle"][0] == 0


def test_joints_mat_by_hand(tmp_path: Path) -> None:
    people = flagged(two(LSP14), "left_knee", 1)
    file, _ = written(people, tmp_path / "joints.mat", "lsp")
    joints = scipy.io.loadmat(str(file))["joints"]
    assert joints.shape == (3, 14, 2)
    # LSP flags the hidden one, and MATLAB counts from 1.
    assert joints[:, 4, 0].tolist() == [15, 29, 1]
    assert joints[2].sum() == 1
    people = flagged(people, "left_knee", 0)
    file, _ = written(people, tmp_path / "joints.mat", "lspet")
    joints = scipy.io.loadmat(str(file))["joints"]
    assert joints.shape == (14, 3, 2)
    assert joints[4, 2].tolist() == [0, 1]
    assert joints[5, :, 0].tolist() == [16, 31, 1]


@pytest.mark.parametrize(
    ("people", "target", "sentence"),
    [
        (
            flagged(two(LSP14), "neck", 0),
            "lsp",
            "people with an unlabelled joint, while LSP's form has .*: 1 of 2",
        ),
        (
            two(side_px=np.array([np.nan, 9])),
            "mpii",
            "people without a crop, which this form needs for its scale: 1 of 2",
        ),
        (
            two(side_px=np.array([np.nan, 9])),
            "hrnet",
            "people without a crop, which this form needs for its scale: 1 of 2",
        ),
        (
            two(side_px=np.array([np.nan, 9])),
            "authors",
            "people without a crop, which this form needs for its scale: 1 of 2",
        ),
        (
            two(crowd=np.array([True, False])),
            "hrnet",
            "crowds, which have no place in this form: 1 of 2 people",
        ),
        (two(splits=["", "val"]), "mpii", "people of the split none, while MPII's list has .*: 1 of 2"),
        (
            two(splits=["test", "val"]),
            "mpii",
            "people of the split test, while MPII's .*: 1 of 2",
        ),
    ],
)
def test_losing_people_is_refused_unless_asked_for(
    tmp_path: Path, people: Annotations, target: str, sentence: str
) -> None:
    name = {"lsp": "joints.mat", "authors": "people.h5"}.get(target, "people.json")
    with pytest.raises(ValueError, match=f"^people.x has {sentence}; --lossy leaves them out$"):
        written(people, tmp_path / name, target)
    assert list(tmp_path.iterdir()) == []
    losses = Losses(lossy=True)
    left = write_people(people, tmp_path / name, target, ReadPeople(people), losses)
    assert left.ids.tolist() == [502]
    assert re.match(f"left out {sentence}$", losses.notes[0])
    assert len(read_source(tmp_path / name).people) == 1


@pytest.mark.parametrize("target", ["mpii", "authors"])
def test_a_joint_in_the_corner_can_t_be_told(tmp_path: Path, target: str) -> None:
    people = two()
    people.keypoints[0, 3] = -1
    name = "people.h5" if target == "authors" else "people.json"
    with pytest.raises(ValueError, match=r"joints at \(0, 0\), which means not labelled in this form: 1;"):
        written(people, tmp_path / name, target)
    written(people, tmp_path / name, target, lossy=True)
    assert read_source(tmp_path / name).people.labelled.sum() == 31
    # HRNet's form has a flag of its own for that.
    written(people, tmp_path / "valid.json", "hrnet")
    assert read_source(tmp_path / "valid.json").people.labelled.all()


@pytest.mark.parametrize(
    ("people", "target", "sentence"),
    [
        (
            two(LSP14),
            "mpii",
            "people.x has the joints of lsp14, but this form is for mpii16; give --skeleton",
        ),
        (two(COCO17), "authors", "people.x has the joints of coco17, but this form is for mpii16; give"),
        (
            two(),
            "lsp",
            "people.x has the joints of mpii16, but this form is for lsp14; give --skeleton lsp14",
        ),
        (two(names=["a.jpg", "a.jpg"]), "mpii", "row 1: a.jpg has people of train and of val, which MPII's"),
        (two(ids=np.array([-1, 5])), "mpii", "people.x: the id -1 is negative"),
        (two(side_px=np.full(2, np.nan)), "mpii", "people.x has nobody with a crop"),
        (two(splits=["test", "test"]), "mpii", "people.x has nobody of train or val"),
        (two(crowd=np.array([True, True])), "mpii", "people.x has nobody to write"),
    ],
)
def test_what_no_option_mends(tmp_path: Path, people: Annotations, target: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        written(people, tmp_path / "people.out", target, lossy=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "stick_px", "steps"), [("mpii", 26.7, "twice"), ("authors", 33.3, "never")]
)
def test_crops_that_readers_would_refuse(tmp_path: Path, target: str, stick_px: float, steps: str) -> None:
    """A head as long per unit of scale as in files of the other state."""
    people = two(side_px=np.array([250 if target == "mpii" else 200] * 2, np.float64))
    neck, top = MPII16.index("neck"), MPII16.index("head_top")
    people.keypoints[:, top] = people.keypoints[:, neck] - [0, stick_px]
    with pytest.raises(ValueError, match=f"had been taken {steps}, and readers of this form would refuse"):
        written(people, tmp_path / "people.out", target)


def test_flags_and_names_are_lost_with_a_note(tmp_path: Path) -> None:
    people = flagged(two(LSP14, box=np.ones((2, 4)), area=np.ones(2)), "neck", 1)
    losses = Losses()
    write_people(people, tmp_path / "joints.mat", "lspet", ReadPeople(people), losses)
    assert [note.split(" ", 1)[0] for note in losses.notes] == ["boxes", "areas", "hidden", "names", "crops"]
    assert "rename 2 of them, a.jpg to im00001.jpg and so on" in losses.notes[3]
    assert losses.rows == ["a.jpg", "b.jpg"]
    untold = two(LSP14, tells_hidden=False, names=["im0001.jpg", "im0002.jpg"])
    _, notes = written(untold, tmp_path / "joints.mat", "lsp")
    assert "isn't known, so all are marked as visible" in notes[0]
    assert "ids have no place in this form: its readers number the rows from 1" in notes
    _, notes = written(two(splits=["", ""], lengths={}), tmp_path / "mpii_annotations.json", "mpii")
    assert notes == [
        "people of no split, written as train: 2",
        "readers of this form take a tenth of the crop for PCKh's head size; these people have another",
    ]
    _, notes = written(two(ids=np.array([3, 400])), tmp_path / "valid.h5", "authors")
    assert "ids have no place in this form, which counts pictures and their people; rows are counted" in notes


def test_too_many_people_for_lsp(tmp_path: Path) -> None:
    people = two(LSP14).take([0] * 1)
    lists: dict[str, Any] = {
        name: list(getattr(people, name)) * 2001 for name in ("where", "names", "splits")
    }
    arrays: dict[str, Any] = {
        name: np.repeat(getattr(people, name), 2001, axis=0)
        for name in ("keypoints", "visibility", "center", "side_px")
    }
    many = replace(people, **lists, **arrays, lengths={}, ids=np.arange(2001))
    with pytest.raises(ValueError, match="people beyond the 2000 that LSP can have: 1 of 2001;"):
        written(many, tmp_path / "joints.mat", "lsp")
    written(many, tmp_path / "joints.mat", "lsp", lossy=True)
    assert len(read_source(tmp_path / "joints.mat").people) == 2000


def test_joints_in_another_order_are_sorted(tmp_path: Path) -> None:
    turned = Skeleton("turned", LSP14.joints[::-1])
    written(two(turned), tmp_path / "joints.mat", "lsp")
    found = read_source(tmp_path / "joints.mat").people
    np.testing.assert_array_equal(found.keypoints[:, ::-1], two(turned).keypoints + 1)


def test_columns_of_another_form_or_another_crop_don_t_count(tmp_path: Path) -> None:
    file, _ = written(two(), tmp_path / "people.json", "mpii")
    people = read_source(file).people
    assert "objpos" in people.columns
    wider = replace(people, side_px=people.side_px * 2)
    (again, _), _ = entries(wider, tmp_path, "mpii")
    assert (again["scale_provided"], again["objpos"]) == (4, [31, 31])
    (other, _), _ = entries(people, tmp_path, "hrnet")
    assert set(other) == {"joints_vis", "joints", "image", "scale", "center"}
    # FLIC's numbers mean other things than MPII's.
    flic, _ = written(two(FLIC11), tmp_path / "flic.h5", "authors")
    mapped = map_skeleton(read_source(flic).people, MPII16)
    made, notes = written(mapped, tmp_path / "mpii.h5", "authors")
    with h5py.File(made) as found:
        assert found["center"][0].tolist() == [31, 91]
        assert "normalize" not in found
    assert "'normalize'" in notes[-1]


@pytest.mark.parametrize(
    ("name", "form", "target"),
    [
        ("x.h5", "coco", "authors"),
        ("x.HDF5", "coco", "authors"),
        ("x.json", "mpii-hrnet", "coco"),
        ("x.json.gz", "lsp", "coco"),
        ("mpii_annotations.json.gz", "coco", "mpii"),
        ("joints.mat", "lspet", "lspet"),
        ("joints.mat", "lsp", "lsp"),
    ],
)
def test_the_name_asks_for_a_form(name: str, form: str, target: str) -> None:
    assert target_of(Path(name), two(form=form)) == target


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("x.mat", "could be of LSP's form or of LSPET's; give --to"), ("x.txt", "tells no form; call it .json")],
)
def test_names_that_leave_it_open(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} {sentence}"):
        target_of(Path(name), two())


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.json"
    put(file, lambda part: part.write_text("first"))

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"cannot write .*x.json: No space left on device"):
        put(file, fail, force=True)
    with pytest.raises(FileExistsError, match=r"x.json exists; give --force to write over it"):
        put(file, lambda part: part.write_text("second"))
    assert [entry.name for entry in file.parent.iterdir()] == ["x.json"]
    assert file.read_text() == "first"
    put(file, lambda part: part.write_text("third"), force=True)
    assert file.read_text() == "third"
    with pytest.raises(OSError, match="it is a folder"):
        put(tmp_path / "new", fail, force=True)


@pytest.mark.parametrize("target", ["coco", "mpii", "hrnet"])
@pytest.mark.parametrize("ending", ["json", "json.gz"])
def test_the_same_people_make_the_same_file(tmp_path: Path, target: str, ending: str) -> None:
    files = [written(two(), tmp_path / f"{n}.{ending}", target)[0] for n in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (files[0].read_bytes()[:2] == b"\x1f\x8b") == (ending == "json.gz")
