import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hourglass.core.skeleton import FLIC11
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.flic import SHARED, load_records
from hourglass.data.formats.princeton_hdf5 import read_authors_file


def content(count: int = 2) -> dict[str, Any]:
    """What the authors' file holds: the first joint of each at (300.5, 200), the next ones 5 px further."""
    corner = np.array([300.5, 200.0])
    return {
        "imgname": np.array([f"film-{n}.jpg" for n in range(count)], "S"),
        "part": np.tile(corner + 5.0 * np.arange(11)[:, None], (count, 1, 1)),
        "visible": np.ones((count, 11)),
        "center": np.tile(np.array([310.25, 240], np.float32), (count, 1)),
        "scale": np.full(count, 2.2),
        "index": np.arange(4, 4 + count),
        "person": np.zeros(count, np.int64),
        "normalize": np.full(count, 90.0),
        "torsoangle": np.zeros(count),
    }


def dataset(root: Path, fields: dict[str, Any], name: str = "annot/train.h5") -> Path:
    """A FLIC folder with one file of annotations and an empty file for each of 3 pictures."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / name, "w") as file:
        for key, value in fields.items():
            file[key] = value
    (root / "images").mkdir(exist_ok=True)
    for n in range(3):
        (root / "images" / f"film-{n}.jpg").touch()
    return root


def test_coordinates_visibility_and_crop_by_hand(tmp_path: Path) -> None:
    _, record = load_records(dataset(tmp_path, content()), "train")
    assert record.skeleton is FLIC11
    assert (record.image, record.image_id) == (tmp_path / "images" / "film-1.jpg", "film-1.jpg")
    assert record.person_id == 601
    # As stored: neither coordinates nor the crop are adjusted.
    left_shoulder, left_hip = FLIC11.index("left_shoulder"), FLIC11.index("left_hip")
    assert (left_shoulder, left_hip) == (0, 6)
    np.testing.assert_allclose(record.keypoints[[left_shoulder, left_hip]], [(300.5, 200), (330.5, 230)])
    assert record.visibility.tolist() == [2] * 11
    np.testing.assert_allclose(record.center, (310.25, 240))
    assert record.side_px == pytest.approx(440)


def test_the_crop_is_what_the_file_says(tmp_path: Path) -> None:
    fields = content()
    fields["scale"] = np.array([2.2, 1.1])
    fields["center"] = np.array([[310.25, 240], [100, 200]])
    first, second = load_records(dataset(tmp_path, fields))
    np.testing.assert_allclose([first.side_px, second.side_px], [440, 220])
    np.testing.assert_allclose(second.center, (100, 200))


def test_splits_are_files_in_annot_or_in_the_root(tmp_path: Path) -> None:
    dataset(tmp_path, content(3), "train.h5")
    assert len(load_records(tmp_path, "train")) == 3
    dataset(tmp_path, content(2))
    assert len(load_records(tmp_path, "train")) == 2
    with pytest.raises(FileNotFoundError, match=r"of the val split: none of annot/valid\.h5, valid\.h5"):
        load_records(tmp_path, "val")
    dataset(tmp_path, content(1), "valid.h5")
    assert len(load_records(tmp_path, "val")) == 1


@pytest.mark.parametrize("split", ["test", "valid", ""])
def test_unknown_split_names_the_known(tmp_path: Path, split: str) -> None:
    with pytest.raises(ValueError, match=f"FLIC has no split '{split}'; it has train, val"):
        load_records(tmp_path, split)


def turned(fields: dict[str, Any]) -> dict[str, Any]:
    """The second person seen from behind: every joint changes places with the other side's."""
    part = fields["part"].copy()
    part[1] = part[1, [3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10]]
    return fields | {"part": part}


def facing(root: Path, fields: dict[str, Any], name: str) -> Path:
    """The file with everybody's left shoulder 50 px right of the right one."""
    part = fields["part"].copy()
    part[:, :3, 0] += 65
    return dataset(root, fields | {"part": part}, name)


def test_the_observers_sides(tmp_path: Path) -> None:
    # FACTS, B4: the whole body is swapped where the left shoulder lies left of the right one.
    fields = content()
    facing(tmp_path / "a", fields, "annot/train.h5")
    with h5py.File(tmp_path / "a" / "annot" / "train.h5") as file:
        faced = fields | {"part": file["part"][()]}
    dataset(tmp_path / "b", turned(faced), "annot/train_personcentric.h5")
    wanted = load_records(tmp_path / "a")
    for root, name in ((tmp_path / "b", "annot/train_personcentric.h5"), (tmp_path / "c", "train.h5")):
        dataset(root, turned(faced), name)
        found = load_records(root, sides="observer")
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
            np.testing.assert_array_equal(ours.center, theirs.center)
    # As they are, unless told otherwise.
    as_they_are = load_records(tmp_path / "c")
    np.testing.assert_array_equal(as_they_are[0].keypoints, wanted[0].keypoints)
    assert not np.array_equal(as_they_are[1].keypoints, wanted[1].keypoints)


def test_the_persons_own_sides_have_a_file_of_their_own(tmp_path: Path) -> None:
    root = dataset(tmp_path, content(2))
    wanted = r"none of annot/train_personcentric\.h5, train_personcentric\.h5; .* so add one of these"
    with pytest.raises(FileNotFoundError, match=wanted):
        load_records(root, sides="person")
    dataset(root, content(3), "train_personcentric.h5")
    assert len(load_records(root, sides="person")) == 3
    dataset(root, content(1), "annot/train_personcentric.h5")
    assert [len(load_records(root, sides=sides)) for sides in ("person", "observer", "")] == [1, 2, 2]
    with pytest.raises(ValueError, match=r"data\.sides: 'left' is not one of observer, person, or empty"):
        load_records(root, sides="left")


def test_missing_parts_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the folder that holds FLIC's"):
        load_records(tmp_path / "nowhere")
    root = dataset(tmp_path, content(3))
    (root / "images" / "film-2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 photos of FLIC's train .*first is film-2\.jpg"):
        load_records(root)
    shutil.rmtree(root / "images")
    with pytest.raises(FileNotFoundError, match=r"no folder .*images; it should hold the pictures of FLIC's"):
        load_records(root)


def test_mpiis_file_is_not_flics(tmp_path: Path) -> None:
    fields = content() | {"part": np.ones((2, 16, 2)), "visible": np.ones((2, 16))}
    with pytest.raises(ValueError, match=r"'part' is .*\(2, 16, 2\); expected numbers of shape \(2, 11, 2\)"):
        load_records(dataset(tmp_path, fields))


def real(real_data: Path, root: Path, sides: str = "", *variants: str) -> list[list[PersonRecord]]:
    """Train and val, out of some of the real files, with an empty file for each picture."""
    (root / "images").mkdir(parents=True)
    for split in ("train", "valid"):
        for variant in variants or ("", "_personcentric"):
            name = f"{split}{variant}.h5"
            (root / name).symlink_to(real_data / "flic" / "annot" / name)
        for name in (real_data / "flic" / "annot" / f"{split}_images.txt").read_text().split():
            (root / "images" / name).touch()
    return [load_records(root, "train", sides), load_records(root, "val", sides)]


def points(records: list[PersonRecord]) -> Any:
    return np.stack([r.keypoints for r in records])


@pytest.mark.realdata
def test_the_real_flic(real_data: Path, tmp_path: Path) -> None:
    train, val = real(real_data, tmp_path)
    assert (len(train), len(val)) == (3987, 1016)
    images = [{r.image_id for r in records} for records in (train, val)]
    assert (len(images[0]), len(images[1])) == (3628, 926)
    assert images[0] & images[1] == set(SHARED)
    everybody = train + val
    assert len({r.person_id for r in everybody}) == 5003
    np.testing.assert_allclose([r.side_px for r in everybody], 440)
    assert {float(r.center[1]) for r in everybody} == {240.0}
    assert all((r.visibility == 2).all() for r in everybody)
    first = train[0]
    assert first.image_id == "12-oclock-high-special-edition-00006361.jpg"
    np.testing.assert_allclose(first.center, (266.77985, 240), rtol=1e-6)
    np.testing.assert_allclose(first.keypoints[0], (327.87756, 213.3125), rtol=1e-6)
    # FACTS, B3: the centre follows the torso, and hardly a joint lies outside the crop.
    torso = points(everybody)[
        :, [FLIC11.index(f"{s}_{p}") for s in ("left", "right") for p in ("shoulder", "hip")]
    ]
    center = np.stack([r.center for r in everybody])
    assert np.abs(torso[:, :, 0].mean(1) - center[:, 0]).mean() < 7
    assert (np.abs(points(everybody) - center[:, None]) > 220).any(-1).mean() < 0.008


@pytest.mark.realdata
def test_the_two_real_variants(real_data: Path, tmp_path: Path) -> None:
    observer = real(real_data, tmp_path / "as_they_are")
    person = real(real_data, tmp_path / "person", "person")
    made = real(real_data, tmp_path / "observer", "observer", "_personcentric")
    for ours, theirs in zip(made, observer, strict=True):
        np.testing.assert_array_equal(points(ours), points(theirs))
    left, right = FLIC11.index("left_shoulder"), FLIC11.index("right_shoulder")
    for theirs, own, stem, swapped in zip(observer, person, ("train", "valid"), (199, 48), strict=True):
        a, b = points(theirs), points(own)
        assert (a[:, left, 0] > a[:, right, 0]).all()
        differ = (a != b).any((1, 2))
        assert int(differ.sum()) == swapped
        np.testing.assert_array_equal(a[differ], b[differ][:, FLIC11.flip_permutation])
        # FACTS, B4: the file's torso is the person's own right shoulder to left hip.
        with h5py.File(real_data / "flic" / "annot" / f"{stem}.h5") as file:
            length = np.linalg.norm(b[:, right] - b[:, FLIC11.index("left_hip")], axis=1)
            np.testing.assert_allclose(length, file["normalize"][()], rtol=1e-4)
        people = read_authors_file(real_data / "flic" / "annot" / f"{stem}.h5")
        np.testing.assert_allclose(people.lengths["file-torso"], length, rtol=1e-4)
