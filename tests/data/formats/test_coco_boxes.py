"""A detector's boxes as records."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coco_dogs import DOG, content, write
from hourglass.data.formats.coco import load_records, read_file
from hourglass.data.formats.photos import DetectedBoxes, detections_of

NAN, INF = float("nan"), float("inf")


def box(image: Any, bbox: Any, score: Any = 0.5, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 7, "bbox": bbox, "score": score, **more}


def some() -> list[Any]:
    """Two boxes in one photo, by its id and its name, one in the other, and one of another kind."""
    return [
        box(11, [8, 6, 30, 40], 0.25),
        {**box(10, [1, 1, 5, 5]), "category_id": 3},
        box("deep/b.jpg", [0.5, 2, 11, 4], 1),
        {"image_id": 10, "bbox": [45, 40, 20, 15], "score": 0.75},
    ]


def detect(
    folder: Path, boxes: Any, data: Any = None, category: str | None = None, **options: Any
) -> DetectedBoxes:
    annotations, photos = write(folder, content() if data is None else data)
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return detections_of(read_file(annotations, category), photos, folder / "boxes.json", **options)


def test_boxes_read_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = detect(tmp_path, some())
    assert [r.person_id for r in found.records] == [0, 2, 3]
    assert [r.image_id for r in found.records] == ["deep/b.jpg", "deep/b.jpg", "a.jpg"]
    assert found.records[2].image == tmp_path / "photos" / "a.jpg"
    assert found.scores.tolist() == [0.25, 1, 0.75]
    assert found.image.tolist() == [1, 1, 0]
    assert not any(r.labelled.any() for r in found.records)
    assert all(r.skeleton.name == "dog" for r in found.records)
    # 8 to 37 and 6 to 45; 0.5 to 10.5 and 2 to 5.
    assert found.records[0].center.tolist() == [22.5, 25.5]
    assert found.records[1].center.tolist() == [5.5, 3.5]
    assert [r.side_px for r in found.records] == [50, 13.75, 25]
    assert "boxes of other categories: 1" in caplog.text


def test_a_box_gives_the_crop_of_a_person_annotated_with_it(tmp_path: Path) -> None:
    annotated = load_records(*write(tmp_path, content()))
    (found,) = detect(tmp_path, [box(10, content()["annotations"][2]["bbox"])]).records
    np.testing.assert_array_equal(found.center, annotated[2].center)
    assert found.side_px == annotated[2].side_px


def test_boxes_without_an_area_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flat = [box(10, [1, 1, 0, 9]), box(10, [1, 1, 9, 0.0]), box(10, [1, 1, 0, 0], 0.001)]
    with caplog.at_level(logging.INFO):
        found = detect(tmp_path, [*flat, *some()], min_score=0.5)
    assert [r.person_id for r in found.records] == [5, 6]
    assert "boxes without an area: 3" in caplog.text
    assert "boxes that score below 0.5: 1" in caplog.text


def test_the_lowest_score_itself_is_kept(tmp_path: Path) -> None:
    assert len(detect(tmp_path, some(), min_score=0.75)) == 2
    with pytest.raises(
        ValueError, match=r"boxes\.json has no box of category 7 \(dog\) that scores 2 or more"
    ):
        detect(tmp_path, some(), min_score=2)
    for odd in (-0.5, NAN):
        with pytest.raises(ValueError, match=r"the lowest score of a box is .*; it must be 0 or more"):
            detect(tmp_path, some(), min_score=odd)


def test_a_category_by_name(tmp_path: Path) -> None:
    data = content()
    data["categories"] += [{**DOG, "id": 3, "name": "cat"}]
    assert [r.person_id for r in detect(tmp_path, some(), data, category="cat").records] == [1, 3]
    # Both have the same joints, so together they are read without a choice.
    assert [r.person_id for r in detect(tmp_path, some(), data).records] == [0, 1, 2, 3]


def test_only_photos_with_boxes_must_be_there(tmp_path: Path) -> None:
    annotations, photos = write(tmp_path, content())
    (photos / "deep" / "b.jpg").unlink()
    (tmp_path / "boxes.json").write_text(json.dumps(some()[3:]))
    assert len(detections_of(read_file(annotations), photos, tmp_path / "boxes.json")) == 1
    (tmp_path / "boxes.json").write_text(json.dumps(some()))
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of the boxes in .* first is deep/b\.jpg"):
        detections_of(read_file(annotations), photos, tmp_path / "boxes.json")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        detections_of(read_file(annotations), tmp_path / "nowhere", tmp_path / "boxes.json")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.json of boxes"):
        detections_of(read_file(annotations), photos, tmp_path / "gone.json")


def odd(**fields: Any) -> list[Any]:
    boxes = some()
    boxes[2] |= fields
    return boxes


def lacking(field: str) -> list[Any]:
    boxes = some()
    del boxes[2][field]
    return boxes


BAD: dict[str, tuple[Any, str]] = {
    "an object": ({"annotations": []}, r"boxes\.json holds a JSON dict, not a list of boxes"),
    "numbers": ([1], r"boxes\.json: row 0 is no object"),
    "nobody": ([], r"boxes\.json has no box of category 7 \(dog\)"),
    "other kinds": ([{**box(10, [1, 1, 5, 5]), "category_id": 3}], r"has no box of category 7 \(dog\)"),
    "all flat": ([box(10, [1, 1, 0, 9])], r"has no box of category 7 \(dog\)"),
    "no bbox": (lacking("bbox"), r"boxes\.json: row 2 has no 'bbox'"),
    "no score": (lacking("score"), "row 2 has no 'score'"),
    "no picture": (lacking("image_id"), "row 2: 'image_id' None is not among the pictures"),
    "unknown picture": (odd(image_id=99), "row 2: 'image_id' 99 is not among the pictures"),
    "bbox short": (odd(bbox=[1, 2, 3]), r"row 2: 'bbox' is not numbers of shape \(4,\)"),
    "bbox words": (odd(bbox=["1", 2, 3, 4]), "row 2: 'bbox' is not numbers"),
    "bbox null": (odd(bbox=None), "row 2: 'bbox' is not numbers"),
    "bbox NaN": (odd(bbox=[1, 2, 3, NAN]), "row 2: its 'bbox' is not a finite number"),
    "bbox inf": (odd(bbox=[-INF, 2, 3, 4]), "row 2: its 'bbox' is not a finite number"),
    "bbox far": (odd(bbox=[1, 2, 3, 1e9]), "row 2: its 'bbox' lies where no picture reaches"),
    "bbox negative": (odd(bbox=[1, 2, -3, 4]), "row 2: its 'bbox' has a size that can't be negative"),
    "score word": (odd(score="high"), "row 2: 'score' is not a number"),
    "score NaN": (odd(score=NAN), "row 2: its score is not a finite number"),
    "score negative": (odd(score=-0.5), "row 2: the score is -0.5; it can't be negative"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_boxes_say_where(name: str, tmp_path: Path) -> None:
    boxes, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        detect(tmp_path, boxes)
    assert "boxes.json" in str(caught.value)


@pytest.mark.realdata
def test_a_real_detectors_boxes(real_data: Path) -> None:
    root = real_data / "coco" / "mmpose"
    raw = json.loads((root / "test_coco_det_AP_H_56.json").read_text())
    found = detections_of(read_file(root / "test_coco.json"), root, root / "test_coco_det_AP_H_56.json")
    assert len(found) == len(raw) == 118
    assert found.scores.tolist() == [entry["score"] for entry in raw]
    file = read_file(root / "test_coco.json")
    assert [file.ids[number] for number in found.image.tolist()] == [entry["image_id"] for entry in raw]
    assert [r.image_id for r in found.records] == [f"{entry['image_id']:012d}.jpg" for entry in raw]
    # COCO counts a box from pixel edges: its middle is half a pixel before that of the pixels it covers.
    middles = np.array([[e["bbox"][i] + e["bbox"][i + 2] / 2 - 0.5 for i in (0, 1)] for e in raw])
    np.testing.assert_allclose(np.stack([r.center for r in found.records]), middles, rtol=1e-6)
