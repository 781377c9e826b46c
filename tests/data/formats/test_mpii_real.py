"""The real files of MPII, by the numbers that FACTS and the module have; each picture is an empty file."""

import gzip
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.core.structs import PersonRecord
from hourglass.data.formats.mpii import load_records, read_hrnet, read_list
from mpii_forms import write

pytestmark = pytest.mark.realdata

# FACTS, E4, in the order of B1.
JOINTS_OF_VAL = [2115, 2485, 2889, 2888, 2478, 2119, 2878, 2932]
JOINTS_OF_VAL += [2932, 2932, 2928, 2935, 2944, 2944, 2932, 2909]


@pytest.fixture(scope="module")
def real(real_data: Path) -> Path:
    return real_data / "mpii"


@pytest.fixture(scope="module")
def photos(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty file for each real picture."""
    folder = tmp_path_factory.mktemp("photos")
    entries = json.loads(gzip.decompress((real / "mpii_annotations.json.gz").read_bytes()))
    for name in {entry["img_paths"] for entry in entries}:
        (folder / name).touch()
    return folder


def real_root(root: Path, photos: Path, source: Path, place: str) -> Path:
    """A folder with one real file of annotations."""
    (root / "images").symlink_to(photos)
    (root / "annot").mkdir()
    (root / place).symlink_to(source)
    return root


@pytest.fixture(scope="module")
def the_list(
    real: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[PersonRecord]]:
    """Both splits of the real list, read once."""
    folder = tmp_path_factory.mktemp("list")
    root = real_root(folder, photos, real / "mpii_annotations.json.gz", "mpii_annotations.json.gz")
    return {split: load_records(root, split) for split in ("train", "val")}


def stack(records: list[PersonRecord], field: str) -> Any:
    return np.stack([getattr(record, field) for record in records])


def test_the_real_list(real: Path, the_list: dict[str, list[PersonRecord]]) -> None:
    train, val = the_list["train"], the_list["val"]
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

    truth = scipy.io.loadmat(real / "detections_our_format.mat")
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


def test_the_authors_real_file_agrees_with_the_list(
    tmp_path: Path, real: Path, photos: Path, the_list: dict[str, list[PersonRecord]]
) -> None:
    listed = the_list["val"]
    root = real_root(tmp_path, photos, real / "valid.h5", "valid.h5")
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
    with h5py.File(real / "valid.h5") as file:
        np.testing.assert_allclose([r.side_px / 10 for r in theirs], file["normalize"][()], rtol=1e-3)


def test_the_real_file_in_hrnets_form(
    tmp_path: Path, real: Path, photos: Path, the_list: dict[str, list[PersonRecord]]
) -> None:
    root = real_root(tmp_path, photos, real / "test_mpii.json", "annot/valid.json")
    five = load_records(root, "val")
    listed = {r.image_id: r for r in the_list["val"]}
    assert len(five) == 5
    for record in five:
        other = listed[record.image_id]
        np.testing.assert_array_equal(record.labelled, other.labelled)
        rows = record.labelled
        np.testing.assert_allclose(record.keypoints[rows], other.keypoints[rows], atol=1e-3)
        np.testing.assert_allclose(record.center, other.center, atol=0.01)
        assert record.side_px == pytest.approx(other.side_px, rel=1e-3)


def test_real_files_in_the_wrong_state_are_refused(tmp_path: Path, real: Path, photos: Path) -> None:
    root = real_root(tmp_path, photos, real / "mpii_annotations.json.gz", "mpii_annotations.json.gz")
    with h5py.File(real / "valid.h5") as file:
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


def test_the_real_list_without_pictures(real: Path) -> None:
    file = real / "mpii_annotations.json.gz"
    people = read_list(file)
    entries = json.loads(gzip.decompress(file.read_bytes()))
    assert (len(people), people.origin, people.tells_hidden, people.form) == (25_204, 1, True, "mpii-list")
    assert people.splits.count("val") == 2958
    # Everything that the file holds can be told from what was read.
    flags = np.array([[joint[2] for joint in entry["joint_self"]] for entry in entries])
    np.testing.assert_array_equal(people.visibility == 2, flags == 1)
    np.testing.assert_array_equal(
        people.keypoints, [[joint[:2] for joint in entry["joint_self"]] for entry in entries]
    )
    for n in (0, 12_345, 25_203):
        for key, column in people.columns.items():
            assert np.array_equal(column[n], entries[n][key]), key
    assert set(people.columns) == set(entries[0]) - {"img_paths", "joint_self"}
    # FACTS, B3: 25 x the raw scale is PCKh's head, which the other file tells by its head boxes.
    val = people.take([split == "val" for split in people.splits])
    boxes = scipy.io.loadmat(real / "detections_our_format.mat")["headboxes_src"]
    head = 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    np.testing.assert_allclose(val.lengths["head"], head, rtol=1e-3)
    np.testing.assert_allclose(val.side_px, 10 * val.lengths["head"])


def test_the_real_file_of_hrnet_without_pictures(real: Path) -> None:
    people = read_hrnet(real / "test_mpii.json")
    entries = json.loads((real / "test_mpii.json").read_bytes())
    assert people.splits == [""] * 5
    assert not people.tells_hidden
    np.testing.assert_array_equal(people.columns["center"], [entry["center"] for entry in entries])
    np.testing.assert_array_equal(people.columns["scale"], [entry["scale"] for entry in entries])
    np.testing.assert_allclose(people.lengths["head"], 25 * people.columns["scale"])
    assert list(people.names) == [entry["image"] for entry in entries]
