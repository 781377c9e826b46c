import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hourglass.data.coco import load_records
from hourglass.skeleton import COCO17

DOG: dict[str, Any] = {
    "id": 7,
    "name": "dog",
    "keypoints": ["nose", "left_paw", "right_paw", "tail"],
    "skeleton": [[1, 2], [1, 3], [1, 4]],
}


def content() -> dict[str, Any]:
    """Two dogs in one photo of 80 x 60, and one in another."""
    return {
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": 80, "height": 60},
            {"id": 11, "file_name": "deep/b.jpg"},
        ],
        "annotations": [
            dog(1, 10, [20, 10, 2, 30, 40, 1, 0, 0, 0, 12, 22, 2], bbox=[8, 6, 30, 40]),
            dog(2, 11, [20, 10, 2, 30, 40, 1, 0, 0, 0, 12, 22, 2]),
            dog(3, 10, [50, 50, 2, 60, 52, 2, 55, 44, 2, 0, 0, 0], bbox=[45, 40, 20, 15]),
        ],
        "categories": [DOG],
    }


def dog(identifier: int, image: int, keypoints: Sequence[float], **more: Any) -> dict[str, Any]:
    return {"id": identifier, "image_id": image, "category_id": 7, "keypoints": keypoints, **more}


def write(folder: Path, data: Any) -> tuple[Path, Path]:
    photos = folder / "photos"
    (photos / "deep").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "deep/b.jpg"):
        Image.new("RGB", (80, 60)).save(photos / name)
    file = folder / "dogs.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file, photos


def changed(position: int, **fields: Any) -> dict[str, Any]:
    data = content()
    data["annotations"][position].update(fields)
    return data


def without(field: str, position: int | None = None) -> dict[str, Any]:
    data = content()
    del (data if position is None else data["annotations"][position])[field]
    return data


def test_an_own_skeleton_read_by_hand(tmp_path: Path) -> None:
    first, second, third = load_records(*write(tmp_path, content()))
    assert first.skeleton.name == "dog"
    assert first.skeleton.joints == ("nose", "left_paw", "right_paw", "tail")
    assert first.skeleton.flip_pairs == (("left_paw", "right_paw"),)
    assert first.image == tmp_path / "photos" / "a.jpg"
    assert [(r.image_id, r.person_id) for r in (first, second, third)] == [
        ("a.jpg", 1),
        ("deep/b.jpg", 2),
        ("a.jpg", 3),
    ]
    assert first.visibility.tolist() == [2, 1, 0, 2]
    np.testing.assert_array_equal(first.keypoints[first.labelled], [(20, 10), (30, 40), (12, 22)])
    # The box covers the pixels 8 to 37 and 6 to 45.
    np.testing.assert_allclose(first.center, (22.5, 25.5))
    assert first.side_px == 40 * 1.25
    # Without one the joints decide: x 12 to 30, y 10 to 40.
    np.testing.assert_allclose(second.center, (21, 25))
    assert second.side_px == 30 * 1.25


@pytest.mark.parametrize("bbox", [None, [], [5, 5, 0, 10]])
def test_an_empty_box_is_none(tmp_path: Path, bbox: Any) -> None:
    assert load_records(*write(tmp_path, changed(0, bbox=bbox)))[0].side_px == 30 * 1.25


def test_the_coco_person_is_coco17(tmp_path: Path) -> None:
    data = content()
    data["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}]
    data["annotations"] = [{**dog(5, 10, [30, 30, 2, 40, 40, 1] + [0] * 45), "category_id": 1}]
    assert load_records(*write(tmp_path, data))[0].skeleton is COCO17


def test_crowds_and_people_without_joints_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = content()
    data["annotations"][0]["iscrowd"] = 1
    data["annotations"] += [
        dog(4, 10, [0] * 12),
        {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 1, 9, 9]},
    ]
    data["annotations"] += [dog(6, 10, [9, 9, 2] + [0] * 9)]
    data["annotations"] += [{"id": 9, "image_id": 10, "category_id": 3, "bbox": [1, 1, 9, 9]}]
    with caplog.at_level(logging.INFO):
        assert [r.person_id for r in load_records(*write(tmp_path, data))] == [2, 3]
    assert "crowds: 1" in caplog.text
    assert "without labelled keypoints: 2" in caplog.text
    assert "one joint and no bbox: 1" in caplog.text


def test_joints_outside_the_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # 80 x 60: 4 px beyond the border is still believed. The second photo has no size in the file.
    data = content()
    data["annotations"][0]["keypoints"] = [83, 10, 2, 30, 40, 1, 85, 10, 2, 12, 22, 2]
    data["annotations"][1]["keypoints"] = [20, 10, 2, 30, 70, 1, 30, 40, 2, 12, 22, 2]
    with caplog.at_level(logging.INFO):
        first, second, _ = load_records(*write(tmp_path, data))
    assert first.visibility.tolist() == [2, 1, 0, 2]
    assert second.visibility.tolist() == [2, 0, 2, 2]
    assert second.side_px == 30 * 1.25
    assert "joints far outside their picture: 2" in caplog.text


def test_categories_are_chosen_by_name(tmp_path: Path) -> None:
    data = content()
    data["categories"] += [{"id": 8, "name": "cat", "keypoints": ["nose"]}, {"id": 9, "name": "car"}]
    file, photos = write(tmp_path, data)
    with pytest.raises(ValueError, match=r"dogs\.json has several categories with keypoints; .* dog, cat"):
        load_records(file, photos)
    assert len(load_records(file, photos, "dog")) == 3
    with pytest.raises(ValueError, match=r"dogs\.json has no cat with labelled keypoints"):
        load_records(file, photos, "cat")
    with pytest.raises(ValueError, match="no category 'car' with keypoints; it has dog, cat"):
        load_records(file, photos, "car")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    file, photos = write(tmp_path, content())
    with pytest.raises(FileNotFoundError, match=r"no annotation file .*cats\.json"):
        load_records(tmp_path / "cats.json", photos)
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*nowhere; give the folder that holds the photos"
    ):
        load_records(file, tmp_path / "nowhere")
    (photos / "deep" / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of .*dogs\.json .* first is deep/b\.jpg"):
        load_records(file, photos)


LONG = "'keypoints' must list 12 numbers, not 9"
BAD: dict[str, tuple[Any, str]] = {
    "not JSON": ("images: []", r"dogs\.json is not a whole JSON file"),
    "cut": (json.dumps(content())[:300], r"dogs\.json is not a whole JSON file"),
    "empty": ("", r"dogs\.json is not a whole JSON file"),
    "a list": ([], r"dogs\.json holds a JSON list"),
    "no annotations": (without("annotations"), r"dogs\.json lacks the list of objects 'annotations'"),
    "no images": (without("images"), "lacks the list of objects 'images'"),
    "no categories": (without("categories"), "lacks the list of objects 'categories'"),
    "odd annotations": ({**content(), "annotations": [1]}, "lacks the list of objects 'annotations'"),
    "nobody": ({**content(), "annotations": []}, r"dogs\.json has no dog with labelled keypoints"),
    "no keypoint names": (
        {**content(), "categories": [{"id": 7, "name": "dog"}]},
        "no entry of 'categories' lists",
    ),
    "bad skeleton": (
        {**content(), "categories": [{**DOG, "skeleton": [[1, 9]]}]},
        "category 'dog': 'skeleton' names",
    ),
    "no id": (without("id", 1), r"dogs\.json: entry 1 of 'annotations' has no 'id'"),
    "no image_id": (without("image_id", 1), r"dogs\.json: annotation 2 has no 'image_id'"),
    "no category_id": (without("category_id", 1), "annotation 2 has no 'category_id'"),
    "odd image_id": (changed(1, image_id=[1]), r"annotation 2: 'image_id' is \[1\], of the wrong type"),
    "unknown image": (changed(1, image_id=99), "annotation 2: 'image_id' 99 is not among the file's images"),
    "same id twice": (changed(1, id=1), "annotation 1: the 'id' occurs twice"),
    "keypoints gone": (
        changed(1, keypoints=None),
        "annotation 2: 'keypoints' must list 12 numbers, not None",
    ),
    "keypoints short": (changed(1, keypoints=[1] * 9), "annotation 2: " + LONG),
    "keypoints words": (
        changed(1, keypoints=["1"] * 12),
        "annotation 2: 'keypoints' holds something that is no",
    ),
    "keypoints nested": (
        changed(1, keypoints=[[1, 2, 3]] * 12),
        "'keypoints' holds something that is no number",
    ),
    "keypoints ragged": (
        changed(1, keypoints=[[1], *[1] * 11]),
        "'keypoints' holds something that is no number",
    ),
    "keypoint null": (
        changed(1, keypoints=[None, *[1] * 11]),
        "'keypoints' holds something that is no number",
    ),
    "keypoint NaN": (
        changed(1, keypoints=[float("nan"), *[1] * 11]),
        "annotation 2: 'keypoints' labels nose, but not",
    ),
    "keypoint inf": (
        changed(1, keypoints=[*[1] * 10, float("inf"), 2]),
        "'keypoints' labels tail, but not with",
    ),
    "visibility": (changed(1, keypoints=[1, 1, 3] * 4), "gives nose the visibility 3; expected 0, 1 or 2"),
    "visibility NaN": (changed(1, keypoints=[1, 1, float("nan")] * 4), "gives nose the visibility nan"),
    "bbox short": (changed(1, bbox=[1, 2, 3]), "annotation 2: 'bbox' must list 4 numbers, not 3"),
    "bbox NaN": (changed(1, bbox=[1, 2, 3, float("nan")]), "annotation 2: 'bbox' holds a number that is not"),
    "image no name": ({**content(), "images": [{"id": 10}]}, "entry 0 of 'images' has no 'file_name'"),
    "image no id": ({**content(), "images": [{"file_name": "a.jpg"}]}, "entry 0 of 'images' has no 'id'"),
    "image twice": ({**content(), "images": content()["images"][:1] * 2}, "the id 10 occurs twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_where(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        load_records(*write(tmp_path, data))
    assert "\n" not in str(caught.value)
    assert "dogs.json" in str(caught.value)


@pytest.mark.realdata
@pytest.mark.skipif("HOURGLASS_DATA" not in os.environ, reason="HOURGLASS_DATA names no folder of data sets")
def test_real_coco_files() -> None:
    root = Path(os.environ.get("HOURGLASS_DATA", "")) / "coco"
    for file, photos, people in (
        ("annotations/person_keypoints_train2017.json", "images/train2017", 86),
        ("mmpose/test_coco.json", "mmpose", 12),
    ):
        raw = json.loads((root / file).read_text())["annotations"]
        records = load_records(root / file, root / photos)
        # COCO counts the labelled joints itself.
        counts = {a["id"]: a["num_keypoints"] for a in raw if a["num_keypoints"] and not a["iscrowd"]}
        assert {r.person_id: int(r.labelled.sum()) for r in records} == counts
        assert len(records) == people
        assert all(r.skeleton is COCO17 for r in records)
