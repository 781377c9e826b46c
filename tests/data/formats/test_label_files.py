"""Files of labelling tools are read as they were made by hand, become COCO and come back."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hourglass.data.formats.annotation_files import load_records, read_annotations
from hourglass.data.formats.coco import read_annotations as read_coco
from hourglass.data.formats.sleap import write_frames
from hourglass.data.loading.records import load_records as records_of_recipe
from hourglass.data.writers.shared import Losses
from hourglass.data.writers.write import read_source, write_people
from hourglass.doctor.sources import find
from hourglass.evaluation.scoring.truth import read_truth
from hourglass.recipe.recipe import DataRecipe, RecipeError
from label_files import EARS, FILES, analysis, check, copy_of_files, project_of_sleap, table_of_pandas, told


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """All the files, to be changed."""
    return copy_of_files(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_read_by_hand(files: Path, name: str) -> None:
    form, joints, flips, wanted = FILES[name]
    people = read_annotations(files / name)
    assert people.form == form
    assert people.skeleton.joints == joints
    assert people.skeleton.flip_pairs == flips
    assert people.ids.tolist() == list(range(1, len(wanted) + 1))
    check(told(people), wanted)


@pytest.mark.parametrize("name", FILES)
def test_to_coco_and_back(files: Path, tmp_path: Path, name: str) -> None:
    form, joints, flips, wanted = FILES[name]
    source = read_source(files / name)
    write_people(source.people, tmp_path / "coco.json", "coco", source, Losses())
    # Any reader of COCO's finds the same, and ours what it came from.
    plain, back = read_coco(tmp_path / "coco.json"), read_source(tmp_path / "coco.json")
    assert (plain.skeleton.joints, plain.skeleton.flip_pairs) == (joints, flips)
    by_hand = [(*person[:2], None, person[3]) for person in wanted]
    check([(*person[:2], None, person[3]) for person in told(plain)], by_hand)
    assert back.people.form == form
    check(told(back.people), wanted)
    np.testing.assert_array_equal(back.people.keypoints, source.people.keypoints)
    np.testing.assert_array_equal(back.people.side_px, source.people.side_px)
    assert back.sizes == source.sizes


def test_what_else_the_files_say(files: Path) -> None:
    assert read_annotations(files / "project").skeleton.limbs == (("snout", "tail"),)
    assert read_annotations(files / "project").skeleton.name == "mice"
    assert read_annotations(files / "mice.slp").skeleton.limbs == (("nose", "ear_a"),)
    assert read_annotations(files / "images.xml").sizes == {"day/a.jpg": (300, 400), "b.jpg": (300, 400)}
    assert read_annotations(files / "labelstudio.json").sizes["night/b.png"] == (200, 100)
    assert read_annotations(files / "yolo").sizes == {
        "images/train/a.png": (200, 100),
        "images/val/b.png": (40, 40),
    }
    hidden = {name: read_annotations(files / name).tells_hidden for name in ("single.csv", "images.xml")}
    assert hidden == {"single.csv": False, "images.xml": True}


def test_a_category_of_a_file(files: Path) -> None:
    unique = read_annotations(files / "several.csv", category="single")
    assert told(unique) == [
        (f"labeled-data/arena/img{n}.png", {"corner": (5.0, 6.0, 2)}, None, "") for n in (10, 11)
    ]
    assert len(read_annotations(files / "yolo", category="lynx")) == 1
    assert len(read_annotations(files / "yolo", category="cat")) == 2
    assert [p[0] for p in told(read_annotations(files / "points.xml", category="dog"))] == ["a.jpg"]
    with pytest.raises(ValueError, match=r"has no category 'wolf' with labelled joints; it has cat, lynx"):
        read_annotations(files / "yolo", category="wolf")


def test_splits_of_a_file(files: Path) -> None:
    assert len(read_annotations(files / "yolo", "val")) == 1
    with pytest.raises(ValueError, match=r"single\.csv is one split by itself; leave --split val away"):
        read_annotations(files / "single.csv", "val")


def test_the_other_ways_to_write_the_same(files: Path) -> None:
    table_of_pandas(files / "three.h5", several_columns=True)
    check(told(read_annotations(files / "three.h5")), FILES["labels.h5"][3])
    assert not Path("/tmp/pwned").exists()
    analysis(files / "standard.h5", standard=True)
    check(told(read_annotations(files / "standard.h5")), FILES["clip.analysis.h5"][3])
    # VIA's export without the project around it, and VIA 1's numbered regions.
    project = json.loads((files / "via.json").read_text())["_via_img_metadata"]
    for entry in project.values():
        entry["regions"] = {str(n): region for n, region in enumerate(entry["regions"])}
    (files / "export.json").write_text(json.dumps(project))
    check(told(read_annotations(files / "export.json")), FILES["via.json"][3])
    for name in ("project/config.yaml", "yolo/data.yaml"):
        check(told(read_annotations(files / name)), FILES[name.split("/")[0]][3])
    (folder,) = [files / "project/labeled-data/night"]
    check(told(read_annotations(folder)), [("img7.png", {"tail": (7, 8, 2)}, None, "")])


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 400)).save(root / name)


def test_records_find_their_pictures(files: Path, tmp_path: Path) -> None:
    # Below the folder that is given, or near the file; by the whole name, or the end of it.
    pictures(tmp_path / "photos", "a2.jpg", "a10.jpg", "sub/c.jpg", "a b.jpg", "night/b.png")
    found = load_records(files / "labelme", tmp_path / "photos")
    assert [r.image for r in found] == [tmp_path / "photos" / "a2.jpg"]
    assert [r.image_id for r in found] == ["../img/a2.jpg"]
    found = load_records(files / "labelstudio.json", tmp_path / "photos")
    assert [r.image for r in found] == [tmp_path / "photos" / "a b.jpg"]
    pictures(files / "project", "labeled-data/day/img1.png")
    (mouse,) = load_records(files / "project")
    assert mouse.image == files / "project/labeled-data/day/img1.png"
    np.testing.assert_array_equal(mouse.keypoints, [(3, 4), (1, 2)])
    # The middle of the joints, and 1.25 times the longer side of what they span, but 8 px at least.
    assert (mouse.center.tolist(), mouse.side_px) == ([2, 3], 8)
    day = files / "project/labeled-data/day/CollectedData_ana.csv"
    assert load_records(day)[0].image == mouse.image
    assert len(load_records(files / "yolo", split="train")) == 2


def test_one_file_cannot_be_two_pictures(files: Path, tmp_path: Path) -> None:
    text = (files / "single.csv").read_text().replace("v1/img002", "v2/img001")
    (files / "twice.csv").write_text(text)
    pictures(tmp_path / "photos", "img001.png")
    with pytest.raises(ValueError, match=r"v1/img001\.png and .*v2/img001\.png would both be .*img001\.png"):
        load_records(files / "twice.csv", tmp_path / "photos")


def test_pictures_that_are_nowhere(files: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"1 of the 1 photos of several\.csv|photos of single\.csv are"
    ):
        load_records(files / "single.csv", tmp_path)


def test_the_extra_is_named_without_sleap_io(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(ImportError, match=r"sleap_io is not installed.*\[labels\]"):
        read_annotations(files / "mice.slp")


def test_a_recipes_data_may_be_any_file(files: Path) -> None:
    recipe = DataRecipe(name="file", annotations=str(files / "yolo"))
    assert [len(records_of_recipe(recipe, split)) for split in ("train", "val")] == [2, 1]
    pictures(files / "project", "labeled-data/day/img1.png", "labeled-data/night/img7.png")
    recipe = DataRecipe(name="file", root=str(files / "project"))
    (mouse,) = records_of_recipe(recipe, "train")  # the other has one joint of two, and no box
    assert mouse.skeleton.joints == ("tail", "snout")
    with pytest.raises(RecipeError, match=r"data\.annotations"):
        records_of_recipe(DataRecipe(name="file"), "train")


def test_scores_read_labels_too(files: Path) -> None:
    truth = read_truth(files / "images.xml", "train")
    assert (truth.kind, len(truth)) == ("cvat labels, train", 2)
    assert read_truth(files / "labelme").people.keypoints[0, 0].tolist() == [120.5, 80.25]


def test_the_doctor_looks_at_labels(files: Path) -> None:
    pictures(files / "project", "labeled-data/day/img1.png")
    found = find(str(files / "project"))
    assert (found.kind, found.folders) == ("file", (files / "project",))
    assert list(found.parts[0].people.names) == ["labeled-data/day/img1.png", "labeled-data/night/img7.png"]
    pictures(files / "photos", "a2.jpg", "a10.jpg", "c.jpg")
    (part,) = find(str(files / "photos"), annotations=str(files / "labelme")).parts
    assert list(part.people.names) == ["a2.jpg", "a2.jpg", "a10.jpg", "c.jpg"]
    assert part.sizes is not None
    assert part.sizes["a2.jpg"] == (300, 400)


def test_frames_of_a_project_become_pictures(tmp_path: Path) -> None:
    clip = str(tmp_path / "clip.mp4")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for n in range(8):
        writer.write(np.full((48, 64, 3), 30 * n, np.uint8))
    writer.release()
    project_of_sleap(tmp_path / "mice.slp", clip=clip)
    assert write_frames(tmp_path / "mice.slp", tmp_path / "frames") == 1
    assert write_frames(tmp_path / "mice.slp", tmp_path / "frames") == 0
    (record,) = load_records(tmp_path / "mice.slp", tmp_path / "frames")
    assert record.image == tmp_path / "frames" / "clip" / "000005.png"
    seen = np.asarray(Image.open(tmp_path / "frames" / "clip" / "000005.png"))
    assert seen.shape[:2] == (48, 64)
    assert abs(float(seen.mean()) - 150) < 6
    project_of_sleap(tmp_path / "mice.slp", clip=str(tmp_path / "gone.mp4"))
    with pytest.raises(ValueError, match=r"frame 5 of .*gone\.mp4 can't be read"):
        write_frames(tmp_path / "mice.slp", tmp_path / "frames")


# Real labels


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "count", "joints", "flips"),
    [
        ("openfield/labeled-data/m4s1", 116, 4, EARS),
        ("mirror-mouse/CollectedData.csv", 90, 17, ()),
    ],
)
def test_real_animals(
    real_data: Path, name: str, count: int, joints: int, flips: tuple[tuple[str, str], ...]
) -> None:
    file = real_data / "animals" / name
    people = load_records(file)
    assert len(people) == count
    assert len(people[0].skeleton) == joints
    assert people[0].skeleton.flip_pairs == flips
    assert all(isinstance(record.image, Path) and record.image.is_file() for record in people)
    # Against a plain reading of the table.
    table = file if file.is_file() else next(file.glob("*.csv"))
    rows = [line.split(",") for line in table.read_text().splitlines()[3:]]
    for record, cells in zip(people, rows, strict=True):
        values = np.array([float(cell) if cell else np.nan for cell in cells[1:]]).reshape(-1, 2)
        assert record.image_id == cells[0]
        np.testing.assert_array_equal(record.labelled, ~np.isnan(values[:, 0]))
        np.testing.assert_allclose(record.keypoints[record.labelled], values[record.labelled], rtol=1e-6)
