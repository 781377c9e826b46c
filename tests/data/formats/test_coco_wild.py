"""COCO files as people and programs write them: odd ids, nulls, several species, pictures on their side."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coco_dogs import DOG, changed, content, dog, write
from hourglass.data.formats.annotation_files import read_annotations
from hourglass.data.formats.coco import load_records, read_file
from hourglass.data.formats.photos import detections_of
from hourglass.evaluation.scoring.predictions import read_predictions
from hourglass.evaluation.scoring.truth import read_truth


def read(folder: Path, data: Any) -> Any:
    return read_annotations(write(folder, data)[0])


@pytest.mark.parametrize(
    ("image", "annotation", "category"),
    [
        ("10", 10, 7),
        (10, "10", "7"),
        (10.0, 10, 7.0),
        (10, 10.0, 7),
        ("ten", "ten", "dogs"),
        ("0010", "0010", 7),
        # By the file's name.
        ("x", "a.jpg", 7),
    ],
)
def test_ids_are_compared_as_people_mean_them(
    tmp_path: Path, image: Any, annotation: Any, category: Any
) -> None:
    data = content()
    data["images"][0]["id"] = image
    for entry in data["annotations"]:
        entry["image_id"] = annotation if entry["image_id"] == 10 else 11
        entry["category_id"] = category
    data["categories"][0]["id"] = 7 if category != "dogs" else "dogs"
    people = read(tmp_path, data)
    assert people.ids.tolist() == [1, 2, 3]
    assert list(people.names) == ["a.jpg", "deep/b.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (["5", "7", "6"], [5, 7, 6]),
        ([5.0, 7, "6"], [5, 7, 6]),
        (["a", "b", "c"], [1, 2, 3]),
        ([9, "b", 4], [1, 2, 3]),
    ],
)
def test_ids_of_annotations_may_be_words(tmp_path: Path, ids: list[Any], numbers: list[int]) -> None:
    data = content()
    for entry, key in zip(data["annotations"], ids, strict=True):
        entry["id"] = key
    people = read(tmp_path, data)
    assert people.ids.tolist() == numbers
    assert people.where[1].endswith(f"annotation {int(ids[1]) if isinstance(ids[1], float) else ids[1]}")


def test_the_same_id_in_two_ways_is_twice_the_same(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dogs\.json: two annotations have the id 1"):
        read(tmp_path, changed(1, id="1"))


@pytest.mark.parametrize(
    ("keypoints", "seen"),
    [
        (None, [0, 0, 0, 0]),
        ([], [0, 0, 0, 0]),
        ([1, 2, 2, None, None, 0, None, None, None, 3, 4, 1], [2, 0, 0, 1]),
        ([1.5, 2, 2.0, 0, 0, 0.0, 0, 0, 0, 3, 4, 1.0], [2, 0, 0, 1]),
    ],
)
def test_null_and_empty_keypoints(tmp_path: Path, keypoints: Any, seen: list[int]) -> None:
    people = read(tmp_path, changed(1, keypoints=keypoints))
    assert people.visibility[1].tolist() == seen
    assert np.isfinite(people.keypoints).all()


def species() -> dict[str, Any]:
    """Three kinds with one skeleton, as AP-10K has them, and cars, which have none."""
    data = content()
    data["categories"] = [
        {**DOG, "id": n, "name": name, "supercategory": family}
        for n, name, family in ((3, "dog", "Canidae"), (4, "fox", "Canidae"), (9, "cat", "Felidae"))
    ]
    data["categories"][2]["skeleton"] = [[1, 4]]  # only drawn
    data["categories"].append({"id": 8, "name": "car"})
    for entry, category in zip(data["annotations"], (3, 4, 9), strict=True):
        entry["category_id"] = category
    data["annotations"].append({**dog(4, 10, [1, 1, 2] * 4), "category_id": 8})
    return data


def test_many_species_with_one_skeleton_are_read_together(tmp_path: Path) -> None:
    file, photos = write(tmp_path, species())
    people = read_annotations(file)
    assert people.ids.tolist() == [1, 2, 3]
    assert people.skeleton.joints == tuple(DOG["keypoints"])
    assert people.skeleton.name == "dog and 2 more"
    assert read_annotations(file, category="fox").ids.tolist() == [2]
    assert [r.person_id for r in load_records(file, photos)] == [1, 2, 3]
    assert len(read_truth(file)) == 3
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image_id": 10, "category_id": c, "bbox": [1, 2, 9, 9], "score": 1} for c in (9, 8, 3)])
    )
    assert [r.person_id for r in detections_of(read_file(file), photos, tmp_path / "boxes.json").records] == [
        0,
        2,
    ]


def test_a_family_names_the_skeleton(tmp_path: Path) -> None:
    data = species()
    del data["categories"][2], data["annotations"][2:]
    assert read(tmp_path, data).skeleton.name == "Canidae"


@pytest.mark.parametrize(
    "field",
    [{"keypoints": ["nose", "right_paw", "left_paw", "tail"]}, {"flip_pairs": []}, {"sigmas": [1] * 4}],
)
def test_species_that_differ_must_be_chosen(tmp_path: Path, field: dict[str, Any]) -> None:
    data = species()
    data["categories"][1].update(field)
    with pytest.raises(ValueError, match=r"several categories with keypoints; choose one of dog, fox"):
        read(tmp_path, data)


def test_coordinates_that_are_shares_are_refused(tmp_path: Path) -> None:
    data = content()
    for entry in data["annotations"]:
        entry["keypoints"] = [0.25, 0.5, 2, 0.5, 1, 2, 0, 0, 0, 0, 0.75, 1]
    with pytest.raises(ValueError, match="all labelled coordinates lie between 0 and 1, so they are shares"):
        read(tmp_path, data)
    # One joint beyond shows that they are pixels, and so do whole numbers.
    data["annotations"][2]["keypoints"][0] = 1.5
    assert len(read(tmp_path, data)) == 3
    for entry in data["annotations"]:
        entry["keypoints"] = [0, 1, 2] * 4
    assert len(read(tmp_path, data)) == 3


# Pictures on their side


TURNED: dict[int, Callable[[float, float], tuple[float, float]]] = {
    # Of a point (x, y) in a picture that is stored 80 wide and 60 high.
    5: lambda x, y: (y, x),
    6: lambda x, y: (59 - y, x),
    7: lambda x, y: (59 - y, 79 - x),
    8: lambda x, y: (y, 79 - x),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_labels_of_a_picture_as_stored_turn_with_it(
    tmp_path: Path, orientation: int, caplog: pytest.LogCaptureFixture
) -> None:
    file, photos = write(tmp_path, content())
    # A bright square where the second dog's nose is, in the pixels as stored.
    stored = Image.new("RGB", (80, 60))
    stored.paste((255, 255, 255), (48, 48, 53, 53))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(photos / "a.jpg", exif=exif, quality=95)
    with caplog.at_level(logging.WARNING):
        first, _, third = load_records(file, photos)
    assert "1 pictures are stored turned (EXIF)" in caplog.text
    turn = TURNED[orientation]
    np.testing.assert_array_equal(first.keypoints[0], turn(20, 10))
    np.testing.assert_array_equal(third.keypoints[:3], [turn(50, 50), turn(60, 52), turn(55, 44)])
    # The crop's centre goes along: the first box covers the pixels 8 to 37 and 6 to 45.
    np.testing.assert_allclose(first.center, turn(22.5, 25.5))
    assert first.side_px == 50
    # What the network sees, by the reader of pictures: bright where the label is.
    from hourglass.data.loading.images import read_image

    assert isinstance(third.image, Path)
    x, y = third.keypoints[0].astype(int)
    seen = read_image(third.image)
    assert seen.shape[:2] == (80, 60)
    assert seen[y, x].min() > 200
    assert seen.mean() < 40


def test_labels_of_a_picture_as_it_is_shown_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = content()
    data["images"][0].update(width=60, height=80)
    file, photos = write(tmp_path, data)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(photos / "a.jpg", exif=exif)
    first = load_records(file, photos)[0]
    np.testing.assert_array_equal(first.keypoints[0], (20, 10))
    assert not caplog.text


def test_sizes_that_contradict_the_pictures_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = content()
    data["images"][0].update(width=160, height=120)
    first = load_records(*write(tmp_path, data))[0]
    assert (
        "states other sizes of 1 pictures than they have, such as a.jpg, 160 x 120 instead of 80 x 60"
        in caplog.text
    )
    np.testing.assert_array_equal(first.keypoints[0], (20, 10))


# One joint


def test_a_single_joint_without_a_box_sees_the_whole_picture(tmp_path: Path) -> None:
    data = content()
    data["categories"] = [{"id": 7, "name": "dot", "keypoints": ["dot"]}]
    data["annotations"] = [dog(1, 10, [20, 10, 2]), dog(2, 11, [5, 6, 1], bbox=[0, 0, 20, 10])]
    first, second = load_records(*write(tmp_path, data))
    assert (first.center.tolist(), first.side_px) == ([39.5, 29.5], 80)
    assert (second.center.tolist(), second.side_px) == ([9.5, 4.5], 25)


# Results of programs that know no categories


@pytest.mark.parametrize(("category", "known"), [(1, True), (7, True), ("7", True), (None, True), (3, False)])
def test_results_of_another_category(tmp_path: Path, category: Any, known: bool) -> None:
    data = content()
    for entry in data["annotations"]:
        entry["area"] = 900
    truth = read_truth(write(tmp_path, data)[0])
    entry = {"image_id": 10, "keypoints": [1, 2, 0.5] * 4, "score": 0.5, "category_id": category}
    if category is None:
        del entry["category_id"]
    (tmp_path / "results.json").write_text(json.dumps([entry]))
    if known:
        assert read_predictions(tmp_path / "results.json", truth) is not None
    else:
        with pytest.raises(ValueError, match=r"results\.json holds no results of category 7"):
            read_predictions(tmp_path / "results.json", truth)


def test_everything_else_stays(tmp_path: Path) -> None:
    file = read_file(write(tmp_path, content())[0])
    assert (file.category, file.categories, file.ids) == (7, (7,), (10, 11))
    assert file.sizes == ((80, 60), None)
