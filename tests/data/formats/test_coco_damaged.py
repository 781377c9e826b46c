"""COCO files and files of boxes with flipped bits, with holes, or out of thin air."""

import contextlib
import json
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coco_dogs import DOG, content, dog, write
from damaged import anything, damaged, or_refusal
from hourglass.data.formats.coco import CocoFile, load_records, read_file
from hourglass.data.formats.photos import detections_of

COPIES = [200, pytest.param(2000, marks=pytest.mark.slow)]
REAL = ["annotations/person_keypoints_train2017.json", "mmpose/test_coco.json"]


def check_whole(file: CocoFile, content: Any) -> None:
    """Everything fits together, what counts is finite, and everybody whom the file has is there."""
    people, pictures = file.people, len(file.names)
    assert people.ids.tolist() == [
        entry["id"] for entry in content["annotations"] if entry["category_id"] == file.category
    ]
    assert len(file.image) == len(file.own_crop) == len(people)
    assert len(file.ids) == len(file.sizes) == pictures == len(content["images"])
    assert [people.names[n] for n in range(len(people))] == [file.names[n] for n in file.image.tolist()]
    assert np.isfinite(people.keypoints).all()
    assert set(np.unique(people.visibility).tolist()) <= {0, 1, 2}
    has_crop = ~np.isnan(people.side_px)
    assert np.isfinite(people.center[has_crop]).all()
    assert (people.side_px[has_crop] > 0).all()
    assert people.crowd is not None


def try_records(file: Path, photos: Path) -> None:
    """Records, or a refusal that names the file or a photo that is not there."""

    def read() -> None:
        with contextlib.suppress(FileNotFoundError):
            assert load_records(file, photos)

    or_refusal(read, file)


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL, ids=["train2017", "mmpose"])
@pytest.mark.parametrize("copies", COPIES)
def test_damaged_copies_of_real_annotations(tmp_path: Path, real_data: Path, name: str, copies: int) -> None:
    whole = (real_data / "coco" / name).read_bytes()
    photos = real_data / "coco" / ("images/train2017" if "train" in name else "mmpose")
    file, draw, refused = tmp_path / "people.json", random.Random(name), 0
    for _ in range(copies):
        file.write_bytes(damaged(whole, draw))
        found = or_refusal(partial(read_file, file), file)
        if found is None:
            refused += 1
            continue
        check_whole(found, json.loads(file.read_bytes()))
        try_records(file, photos)
    assert copies / 5 < refused < copies


@pytest.mark.realdata
@pytest.mark.parametrize("copies", COPIES)
def test_damaged_copies_of_real_boxes(tmp_path: Path, real_data: Path, copies: int) -> None:
    root = real_data / "coco" / "mmpose"
    whole = (root / "test_coco_det_AP_H_56.json").read_bytes()
    annotated = read_file(root / "test_coco.json")
    file, draw, refused = tmp_path / "boxes.json", random.Random(copies), 0
    for _ in range(copies):
        file.write_bytes(damaged(whole, draw))
        found = or_refusal(partial(detections_of, annotated, root, file), file)
        if found is None:
            refused += 1
            continue
        assert 0 < len(found.records) == len(found.scores) == len(found.image) <= 118
        assert np.isfinite(found.scores).all()
    assert copies / 5 < refused < copies


# Hypothesis

odd: st.SearchStrategy[Any] = st.sampled_from(
    [math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, 2**63, 1e8, True, None, "3", [], {}]
)
relaxed = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FIELDS = {
    "annotations": [
        *("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd"),
        *("crop", "split", "lengths"),
    ],
    "images": ["id", "file_name", "width", "height"],
    "categories": ["id", "name", "keypoints", "skeleton", "flip_pairs", "torso", "head", "sigmas"],
}
PLACES = [(part, field) for part, fields in FIELDS.items() for field in fields]


def put(folder: Path, data: Any) -> tuple[Path, Path]:
    """The file and its photos; those are there already after the first time."""
    if not (folder / "photos").is_dir():
        write(folder, content())
    (folder / "dogs.json").write_text(json.dumps(data))
    return folder / "dogs.json", folder / "photos"


@relaxed
@given(st.sampled_from(PLACES), anything | odd | st.lists(odd, min_size=2, max_size=12))
def test_any_value_anywhere(tmp_path: Path, place: tuple[str, str], value: Any) -> None:
    data = content()
    data[place[0]][0][place[1]] = value
    file, photos = put(tmp_path, data)
    found = or_refusal(partial(read_file, file), file)
    if found is not None:
        check_whole(found, data)
    try_records(file, photos)


@relaxed
@given(anything)
def test_any_json(tmp_path: Path, data: Any) -> None:
    file, photos = put(tmp_path, data)
    assert or_refusal(partial(read_file, file), file) is None
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(data))
    put(tmp_path, content())
    assert or_refusal(partial(detections_of, read_file(file), photos, boxes), boxes) is None


@relaxed
@given(
    st.sampled_from(["image_id", "category_id", "bbox", "score"]), anything | odd | st.lists(odd, max_size=4)
)
def test_any_value_in_a_box(tmp_path: Path, field: str, value: Any) -> None:
    file, photos = put(tmp_path, content())
    rows = [{"image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5} for _ in range(2)]
    rows[0][field] = value
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(rows))
    found = or_refusal(partial(detections_of, read_file(file), photos, boxes), boxes)
    if found is not None:
        assert found.records[-1].person_id == 1


number = st.floats(-300, 900) | st.integers(-300, 900)


@st.composite
def drawn_dogs(draw: st.DrawFn) -> dict[str, Any]:
    """A file without faults, of any dogs."""
    entries = []
    for n in range(draw(st.integers(0, 5))):
        triples = [
            v for _ in range(4) for v in (draw(number), draw(number), draw(st.sampled_from([0, 1, 2])))
        ]
        entry = {**dog(10 - n, 0, triples), "image_id": draw(st.sampled_from([3, 4, "x"]))}
        size = draw(st.none() | st.lists(st.floats(0, 400), min_size=2, max_size=2))
        if size is not None:
            entry["bbox"] = [draw(number), draw(number), *size]
        if draw(st.booleans()):
            entry["iscrowd"] = draw(st.sampled_from([0, 1, False, True, None]))
        if draw(st.booleans()):
            entry["area"] = draw(st.floats(0, 1e6))
        if draw(st.booleans()):
            entry["crop"] = {"center": [draw(number), draw(number)], "side_px": draw(st.floats(0.5, 999))}
        if draw(st.booleans()):
            entry["lengths"] = {draw(st.sampled_from(["head", "file-torso"])): draw(st.floats(1, 99))}
        entry["split"] = draw(st.sampled_from(["", "train", "test"]))
        entries.append(entry)
    images = [{"id": key, "file_name": f"{key}.jpg"} for key in draw(st.permutations([3, 4, "x"]))]
    return {"images": images, "annotations": entries, "categories": [DOG]}


@relaxed
@given(drawn_dogs())
def test_whatever_is_written_is_read(tmp_path: Path, data: dict[str, Any]) -> None:
    (tmp_path / "dogs.json").write_text(json.dumps(data))
    file = read_file(tmp_path / "dogs.json")
    people, entries = file.people, data["annotations"]
    check_whole(file, data)
    assert (file.ids, file.names) == ((3, 4, "x"), ("3.jpg", "4.jpg", "x.jpg"))
    for n, entry in enumerate(entries):
        triples = np.column_stack([people.keypoints[n], people.visibility[n]])
        np.testing.assert_array_equal(triples.ravel(), entry["keypoints"])
        assert people.names[n] == f"{entry['image_id']}.jpg"
        assert people.splits[n] == entry["split"]
        assert people.crowd is not None
        assert people.crowd[n] == bool(entry.get("iscrowd"))
        for name in ("head", "file-torso"):
            told = entry.get("lengths", {}).get(name, math.nan)
            found = people.lengths.get(name, np.full(len(people), np.nan))[n]
            np.testing.assert_array_equal(found, told)
        for column, field, empty in ((people.area, "area", math.nan), (people.box, "bbox", [math.nan] * 4)):
            wanted = entry.get(field, empty)
            np.testing.assert_array_equal(wanted, empty if column is None else column[n])
        if "crop" in entry:
            crop = entry["crop"]
            assert (people.center[n].tolist(), people.side_px[n]) == (crop["center"], crop["side_px"])
        elif min(entry.get("bbox", [0])[-2:]) > 0:
            assert people.side_px[n] == max(8, 1.25 * max(entry["bbox"][2:]))
        else:
            assert np.isnan(people.side_px[n]) == (people.labelled[n].sum() < 2)
