"""COCO files as they are: everybody, the pictures, our own additions, and what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coco_dogs import DOG, changed, content, dog, write
from hourglass.core.skeleton import COCO17
from hourglass.data.formats.coco import of_split, parse, read_annotations, read_file

NAN, INF = float("nan"), float("inf")


def everybody() -> dict[str, Any]:
    """A labelled dog, a crowd, one with a box alone, one with neither, one with a single joint; a car."""
    data = content()
    data["images"] += [
        {"id": 3, "file_name": "c.jpg", "width": 9.5, "height": 8},
        {"id": "x", "file_name": "d.jpg"},
    ]
    data["annotations"] = [
        dog(4, 10, [20, 10, 2, 30, 40, 1, 0, 0, 0, 12, 22, 2], bbox=[8, 6, 30, 40], area=700.5),
        dog(9, 3, [0] * 12, bbox=[1, 2, 50, 20], area=900, iscrowd=1),
        {"id": 2, "image_id": "x", "category_id": 7, "bbox": [5, 5, 10, 20]},
        {"id": 3, "image_id": 11, "category_id": 7, "num_keypoints": 0},
        dog(5, 11, [0] * 9 + [7, 8, 1]),
        {"id": 77, "image_id": 11, "category_id": 3},
    ]
    return data


def test_everybody_is_kept(tmp_path: Path) -> None:
    file = read_file(write(tmp_path, everybody())[0])
    people = file.people
    assert people.ids.tolist() == [4, 9, 2, 3, 5]
    assert people.labelled.sum(1).tolist() == [3, 0, 0, 0, 1]
    assert people.crowd is not None
    assert people.crowd.tolist() == [False, True, False, False, False]
    assert people.area is not None
    np.testing.assert_array_equal(people.area, [700.5, 900, NAN, NAN, NAN])
    assert people.box is not None
    np.testing.assert_array_equal(people.box[:3], [[8, 6, 30, 40], [1, 2, 50, 20], [5, 5, 10, 20]])
    assert np.isnan(people.box[3:]).all()
    # Crops of boxes, and none for the two of whom a single joint is known at most.
    np.testing.assert_array_equal(people.side_px, [50, 62.5, 25, NAN, NAN])
    np.testing.assert_array_equal(people.center[:3], [[22.5, 25.5], [25.5, 11.5], [9.5, 14.5]])
    assert np.isnan(people.center[3:]).all()
    assert (people.origin, people.form, people.tells_hidden) == (0, "coco", True)
    assert people.where[2].endswith("dogs.json: annotation 2")
    assert people.what == "the category 'dog'"
    assert (people.splits, dict(people.lengths)) == ([""] * 5, {})


def test_pictures_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    file = read_file(write(tmp_path, everybody())[0])
    # Numbers first, words after them.
    assert file.ids == (3, 10, 11, "x")
    assert file.names == ("c.jpg", "a.jpg", "deep/b.jpg", "d.jpg")
    assert file.sizes == (None, (80, 60), None, None)
    assert file.image.tolist() == [1, 0, 3, 2, 2]
    assert list(file.people.names) == ["a.jpg", "c.jpg", "d.jpg", "deep/b.jpg", "deep/b.jpg"]
    assert (file.keys[11], file.keys["deep/b.jpg"], file.keys["x"], file.keys["d.jpg"]) == (2, 2, 3, 3)
    assert file.category == 7


def test_without_boxes_and_areas_there_are_none(tmp_path: Path) -> None:
    data = content()
    for entry in data["annotations"]:
        entry.pop("bbox", None)
    people = read_annotations(write(tmp_path, data)[0])
    assert people.box is people.area is None
    # x 20 to 30, y 10 to 40 with the third joint unlabelled, as far as the joints go.
    assert people.side_px.tolist() == [37.5, 37.5, 12.5]


def test_a_picture_may_go_by_its_id_and_an_annotation_name_the_file(tmp_path: Path) -> None:
    data = content()
    del data["images"][1]["file_name"]
    data["annotations"][0]["image_id"] = "a.jpg"
    file = read_file(write(tmp_path, data)[0])
    assert file.names == ("a.jpg", "11")
    assert file.image.tolist() == [0, 1, 0]


def test_packed_files_are_read_too(tmp_path: Path) -> None:
    plain, _ = write(tmp_path, content())
    (tmp_path / "dogs.json.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    packed = read_annotations(tmp_path / "dogs.json.gz")
    np.testing.assert_array_equal(packed.keypoints, read_annotations(plain).keypoints)


def test_nobody_at_all(tmp_path: Path) -> None:
    file = read_file(write(tmp_path, {**content(), "annotations": []})[0])
    assert len(file.people) == len(file.image) == 0
    assert file.people.keypoints.shape == (0, 4, 2)
    assert file.names == ("a.jpg", "deep/b.jpg")


def test_what_stands_beside_a_0_is_kept_unless_no_number_can_hold_it(tmp_path: Path) -> None:
    people = read_annotations(
        write(tmp_path, changed(1, keypoints=[3, 4, 0, NAN, 5, 0, 1e300, 2, 0, 7, 8, 1]))[0]
    )
    np.testing.assert_array_equal(people.keypoints[1], [[3, 4], [0, 0], [0, 0], [7, 8]])


# Our own additions


def test_an_annotation_tells_its_crop_split_and_lengths(tmp_path: Path) -> None:
    data = content()
    data["annotations"][0] |= {"crop": {"center": [30.25, 20], "side_px": 44.5}, "split": "train"}
    data["annotations"][1] |= {"crop": None, "split": "test", "lengths": {"head": 12.5}}
    data["annotations"][2] |= {"lengths": {"head": 4, "file-torso": 30}}
    data["hourglass"] = {"form": "lspet", "origin": 1, "tells_hidden": False}
    file = read_file(write(tmp_path, data)[0])
    people = file.people
    assert people.splits == ["train", "test", ""]
    assert (people.center[0].tolist(), people.side_px.tolist()) == ([30.25, 20], [44.5, 37.5, 25])
    assert file.own_crop.tolist() == [True, False, False]
    np.testing.assert_array_equal(people.lengths["head"], [NAN, 12.5, 4])
    np.testing.assert_array_equal(people.lengths["file-torso"], [NAN, NAN, 30])
    assert not people.tells_hidden
    assert file.ours["form"] == "lspet"
    assert people.origin == 0
    train = of_split(file, "train")
    assert (train.people.ids.tolist(), train.image.tolist(), train.own_crop.tolist()) == ([1], [0], [True])
    assert train.names == file.names


def test_far_joints_do_not_move_an_own_crop(tmp_path: Path) -> None:
    from hourglass.data.formats.coco import load_records

    data = changed(0, keypoints=[20, 10, 2, 30, 400, 1, 0, 0, 0, 12, 22, 2], bbox=None)
    data["annotations"][0]["crop"] = {"center": [15, 16], "side_px": 33}
    record = load_records(*write(tmp_path, data))[0]
    assert record.visibility.tolist() == [2, 0, 0, 2]
    assert (record.center.tolist(), record.side_px) == ([15, 16], 33)


# What is refused


def without(field: str, position: int | None = None) -> dict[str, Any]:
    data = content()
    del (data if position is None else data["annotations"][position])[field]
    return data


def images(*entries: dict[str, Any]) -> dict[str, Any]:
    return {**content(), "images": list(entries)}


def category(**fields: Any) -> dict[str, Any]:
    return {**content(), "categories": [{**DOG, **fields}]}


SHAPE = r"annotation 2: 'keypoints' is not numbers of shape \(12,\)"
BAD: dict[str, tuple[Any, str]] = {
    "a list": ([], r"dogs\.json holds a JSON list, not an object"),
    "a word": ("dogs", r"dogs\.json holds a JSON str"),
    "no annotations": (without("annotations"), "lacks the list of objects 'annotations'"),
    "no images": (without("images"), "lacks the list of objects 'images'"),
    "no categories": (without("categories"), "lacks the list of objects 'categories'"),
    "odd annotations": ({**content(), "annotations": [1]}, "lacks the list of objects 'annotations'"),
    "no keypoint names": (category(keypoints=[]), "no entry of 'categories' lists 'keypoints'"),
    "odd keypoint names": (category(keypoints=5), "category 'dog'.* lists no 'keypoints'"),
    "bad flip pairs": (category(flip_pairs=[[1, 9]]), "category 'dog': 'flip_pairs' names"),
    "bad sigmas": (category(sigmas=[10**400] * 4), "category 'dog': "),
    "no category id": (category(id=None), "category 'dog': 'id' is None, not a whole number"),
    "no id": (without("id", 1), r"annotation in row 1 has no 'id'"),
    "odd id": (changed(1, id=2.5), "annotation 2.5: 'id' is 2.5, not a whole number"),
    "true id": (changed(1, id=True), "'id' is True, not a whole number"),
    "huge id": (changed(1, id=2**70), "not a whole number"),
    "same id": (changed(1, id=1), r"dogs\.json: two annotations have the id 1"),
    "no category_id": (without("category_id", 1), "annotation 2 has no 'category_id'"),
    "no image_id": (without("image_id", 1), "annotation 2: 'image_id' None is not among"),
    "odd image_id": (changed(1, image_id=[1]), r"annotation 2: 'image_id' \[1\] is not among"),
    "unknown image": (changed(1, image_id=99), "annotation 2: 'image_id' 99 is not among the pictures"),
    "keypoints gone": (
        changed(1, keypoints=None, num_keypoints=3),
        "annotation 2 has no 'keypoints', but its 'num_keypoints' is not 0",
    ),
    "keypoints short": (changed(1, keypoints=[1] * 9), SHAPE),
    "keypoints empty": (
        changed(1, keypoints=[], num_keypoints=3),
        "annotation 2 has no 'keypoints', but its 'num_keypoints' is not 0",
    ),
    "keypoints words": (changed(1, keypoints=["1"] * 12), SHAPE),
    "keypoints nested": (changed(1, keypoints=[[1, 2, 3]] * 12), SHAPE),
    "keypoints ragged": (changed(1, keypoints=[[1], *[1] * 11]), SHAPE),
    "keypoint null": (changed(1, keypoints=[None, *[1] * 11]), SHAPE),
    "keypoint NaN": (changed(1, keypoints=[NAN, *[1] * 11]), "annotation 2: nose is not a finite number"),
    "keypoint inf": (changed(1, keypoints=[*[1] * 10, INF, 2]), "annotation 2: tail is not a finite"),
    "keypoint far": (changed(1, keypoints=[*[1] * 9, -1e9, 1, 2]), "tail lies where no picture reaches"),
    "visibility": (changed(1, keypoints=[1, 1, 3] * 4), "gives nose the visibility 3; expected 0, 1 or 2"),
    "visibility NaN": (changed(1, keypoints=[1, 1, NAN] * 4), "gives nose the visibility nan"),
    "bbox short": (changed(1, bbox=[1, 2, 3]), r"annotation 2: 'bbox' is not numbers of shape \(4,\)"),
    "bbox NaN": (changed(1, bbox=[1, 2, 3, NAN]), "annotation 2: 'bbox' is not a finite number"),
    "area": (changed(1, area="big"), "annotation 2: 'area' is not a number"),
    "crowd": (changed(1, iscrowd="yes"), "annotation 2: 'iscrowd' is not a number"),
    "image no id": (images({"file_name": "a.jpg"}), "entry 0 of 'images' has the id None"),
    "image id": (images({"id": 1.5, "file_name": "a.jpg"}), "entry 0 of 'images' has the id 1.5"),
    "image name": (images({"id": 10, "file_name": 5}), "entry 0 of 'images' has the 'file_name' 5"),
    "image empty name": (images({"id": 10, "file_name": ""}), "entry 0 of 'images' has the 'file_name' ''"),
    "image twice": (images(*content()["images"][:1] * 2), "two entries of 'images' have the same id"),
    "crop": (changed(1, crop=[1, 2]), "annotation 2: 'crop' is not an object with 'center' and 'side_px'"),
    "crop no side": (changed(1, crop={"center": [1, 2]}), "annotation 2: 'crop' has no 'side_px'"),
    "crop center": (changed(1, crop={"center": [1], "side_px": 2}), "annotation 2: 'crop': 'center' is not"),
    "crop NaN": (
        changed(1, crop={"center": [1, NAN], "side_px": 2}),
        "annotation 2: the centre of 'crop' is not a finite number",
    ),
    "crop side": (
        changed(1, crop={"center": [1, 2], "side_px": 0}),
        "annotation 2: the 'side_px' of 'crop' is 0, not a positive number",
    ),
    "split": (changed(1, split=3), "annotation 2: 'split' is 3, not a word"),
    "lengths": (changed(1, lengths=[3]), "annotation 2: 'lengths' is not an object"),
    "length": (changed(1, lengths={"head": -1}), "annotation 2: the length 'head' is -1, not a positive"),
    "length true": (changed(1, lengths={"head": True}), "the length 'head' is True, not a positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_where(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        read_file(write(tmp_path, data)[0])
    assert "\n" not in str(caught.value)
    assert "dogs.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("images: []", "is not a whole JSON file"),
        (json.dumps(content())[:300], "is not a whole"),
        ("", "is empty"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "dogs.json").write_text(text)
    with pytest.raises(ValueError, match=rf"dogs\.json {complaint}"):
        read_file(tmp_path / "dogs.json")


def test_the_last_of_many_annotations_is_named() -> None:
    # One bad entry among many: the quick way fails, and the slow one finds it.
    data = content()
    many = [dog(n, 10, [20, 10, 2] * 4, bbox=[8, 6, 30, 40]) for n in range(1, 3001)]
    data["annotations"] = many
    assert len(parse(data, Path("dogs.json")).people) == 3000
    many[-1]["bbox"] = [1, 2, 3]
    with pytest.raises(ValueError, match=r"dogs\.json: annotation 3000: 'bbox' is not numbers"):
        parse(data, Path("dogs.json"))


# Real files


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    ["annotations/person_keypoints_train2017.json", "mmpose/test_coco.json"],
    ids=["train2017", "mmpose"],
)
def test_real_files_as_they_are(real_data: Path, name: str) -> None:
    raw = json.loads((real_data / "coco" / name).read_text())
    file = read_file(real_data / "coco" / name)
    people = file.people
    assert people.skeleton is COCO17
    assert people.box is not None
    assert people.area is not None
    assert people.crowd is not None
    names = {p["id"]: p["file_name"] for p in raw["images"]}
    assert list(file.ids) == sorted(names)
    assert (
        [file.keys[key] for key in file.ids] == [file.keys[n] for n in file.names] == list(range(len(names)))
    )
    for n, entry in enumerate(raw["annotations"]):
        assert people.ids[n] == entry["id"]
        assert people.names[n] == file.names[file.image[n]] == names[entry["image_id"]]
        triples = np.column_stack([people.keypoints[n], people.visibility[n]])
        assert triples.ravel().tolist() == entry["keypoints"]
        assert (people.box[n].tolist(), people.area[n]) == (entry["bbox"], entry["area"])
        assert people.crowd[n] == bool(entry["iscrowd"])
        x, y, w, h = entry["bbox"]
        assert people.center[n].tolist() == pytest.approx([x + (w - 1) / 2, y + (h - 1) / 2])
        assert people.side_px[n] == pytest.approx(max(8, 1.25 * max(w, h)))
