"""COCO files as records for training: who is in them, whose joints count, and the crops."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coco_dogs import DOG, changed, content, dog, write
from hourglass.core.skeleton import COCO17
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.coco import load_records
from hourglass.data.formats.person_scale import OUTSIDE_SHARE


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


def test_no_crop_is_smaller_than_8_px(tmp_path: Path) -> None:
    first = load_records(*write(tmp_path, changed(0, bbox=[5, 5, 2, 1])))[0]
    assert first.side_px == 8
    np.testing.assert_allclose(first.center, (5.5, 5))
    # Two joints in one place.
    same = load_records(*write(tmp_path, changed(1, keypoints=[9, 9, 2] * 2 + [0] * 6)))[1]
    assert (same.side_px, same.center.tolist()) == (8, [9, 9])


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
    assert "without labelled joints: 2" in caplog.text
    # One joint and no box.
    assert "without a crop: 1" in caplog.text


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


def test_a_person_whose_joints_are_all_far_outside_is_left_out(tmp_path: Path) -> None:
    data = changed(0, keypoints=[500, 10, 2, 30, -400, 1, 0, 0, 0, 12, 222, 2])
    assert [r.person_id for r in load_records(*write(tmp_path, data))] == [2, 3]


def plain_record(entry: dict[str, Any], width: int, height: int) -> tuple[list[int], Any] | None:
    """Visibility and crop (x, y, side) of an annotation, joint by joint."""
    seen, points = [], []
    slack = OUTSIDE_SHARE * max(width, height)
    for x, y, flag in zip(*(entry["keypoints"][n::3] for n in range(3)), strict=True):
        inside = -0.5 - slack <= x <= width - 0.5 + slack and -0.5 - slack <= y <= height - 0.5 + slack
        seen.append(flag if inside else 0)
        if flag and inside:
            points.append((x, y))
    if not points or entry.get("iscrowd"):
        return None
    if (box := entry.get("bbox")) and box[2] > 0 and box[3] > 0:
        x, y, w, h = box
        return seen, (x + (w - 1) / 2, y + (h - 1) / 2, max(8.0, 1.25 * max(w, h)))
    if len(points) < 2:
        return None
    (low_x, low_y), (high_x, high_y) = (tuple(f(p[i] for p in points) for i in (0, 1)) for f in (min, max))
    side = max(8.0, 1.25 * max(high_x - low_x, high_y - low_y))
    return seen, ((low_x + high_x) / 2, (low_y + high_y) / 2, side)


@pytest.mark.parametrize("seed", range(8))
def test_generated_people_equal_a_plain_loop(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = content()
    sizes = {10: (80, 60), 11: (80, 60)}
    data["annotations"] = []
    for number in range(1, 61):
        image = int(rng.choice([10, 11]))
        # Halves and quarters, which float32 holds exactly.
        points = np.round(rng.uniform(-12, 95, (4, 2)) * 4) / 4
        flags = rng.choice([0, 1, 2], 4, p=[0.5, 0.2, 0.3])
        keypoints = np.column_stack([points, flags]).ravel().tolist()
        entry = dog(number, image, keypoints, iscrowd=int(rng.random() < 0.1))
        if rng.random() < 0.6:
            entry["bbox"] = (
                np.round(rng.uniform(0, 40, 4) * 4) / 4 * rng.choice([0, 1], 4, p=[0.1, 0.9])
            ).tolist()
        data["annotations"].append(entry)
    wanted = {e["id"]: plain_record(e, *sizes[e["image_id"]]) for e in data["annotations"]}
    found = load_records(*write(tmp_path, data))
    assert [r.person_id for r in found] == [n for n, plain in wanted.items() if plain is not None]
    for record in found:
        plain = wanted[record.person_id]
        assert plain is not None
        seen, (x, y, side) = plain
        assert record.visibility.tolist() == seen
        assert (*record.center.tolist(), record.side_px) == (x, y, side)


def test_categories_are_chosen_by_name(tmp_path: Path) -> None:
    data = content()
    data["categories"] += [{"id": 8, "name": "cat", "keypoints": ["nose"]}, {"id": 9, "name": "car"}]
    file, photos = write(tmp_path, data)
    with pytest.raises(ValueError, match=r"dogs\.json has several categories with keypoints; .* dog, cat"):
        load_records(file, photos)
    assert len(load_records(file, photos, "dog")) == 3
    with pytest.raises(
        ValueError, match=r"dogs\.json has nobody with a labelled joint in the category 'cat'"
    ):
        load_records(file, photos, "cat")
    with pytest.raises(ValueError, match="no category 'car' with keypoints; it has dog, cat"):
        load_records(file, photos, "car")


def test_two_categories_of_one_name_are_refused(tmp_path: Path) -> None:
    data = content()
    data["categories"] += [{**DOG, "id": 8}]
    with pytest.raises(ValueError, match="has several categories 'dog' with keypoints"):
        load_records(*write(tmp_path, data), "dog")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    file, photos = write(tmp_path, content())
    with pytest.raises(FileNotFoundError, match=r"there is no file .*cats\.json of annotations"):
        load_records(tmp_path / "cats.json", photos)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; it should hold the pictures of .*dog"):
        load_records(file, tmp_path / "nowhere")
    (photos / "deep" / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of .*dog.* first is deep/b\.jpg"):
        load_records(file, photos)


def test_a_picture_without_a_name_cannot_be_opened(tmp_path: Path) -> None:
    data = content()
    del data["images"][1]["file_name"]
    with pytest.raises(ValueError, match=r"dogs\.json: entry 1 of 'images' has the 'file_name' None"):
        load_records(*write(tmp_path, data))


# Splits, sides and crops that the caller asks for


def test_only_the_split_that_is_asked_for(tmp_path: Path) -> None:
    data = content()
    for entry, split in zip(data["annotations"], ("train", "test", None), strict=True):
        entry["split"] = split
    file, photos = write(tmp_path, data)

    def people(split: str) -> list[int]:
        return [r.person_id for r in load_records(file, photos, split=split)]

    assert (people(""), people("train"), people("test")) == ([1, 2, 3], [1], [2])
    with pytest.raises(ValueError, match=r"dogs\.json has nobody of the split 'val'; it has test, train"):
        people("val")
    # A file that tells no splits is one.
    assert len(load_records(*write(tmp_path, content()), split="val")) == 3


def test_a_pictures_split_counts_where_its_annotations_tell_none(tmp_path: Path) -> None:
    data = content()
    data["images"][0]["split"], data["images"][1]["split"] = "train", "val"
    data["annotations"][2]["split"] = "val"
    file, photos = write(tmp_path, data)
    assert [[r.person_id for r in load_records(file, photos, split=s)] for s in ("train", "val")] == [
        [1],
        [2, 3],
    ]


def test_scores_of_machine_made_labels_are_their_weights(tmp_path: Path) -> None:
    first, second, _ = load_records(*write(tmp_path, changed(0, keypoint_scores=[0.5, 1, 0, 0.25])))
    assert first.weight is not None
    assert first.weight.tolist() == [0.5, 1, 0, 0.25]
    assert second.weight is not None
    assert second.weight.tolist() == [1, 1, 1, 1]
    assert load_records(*write(tmp_path, content()))[0].weight is None
    for scores, complaint in (
        ([0.5, 1.5, 0, 0], "annotation 1: 'keypoint_scores' gives left_paw 1.5; a score lies in 0..1"),
        ([0.5], "annotation 1: .*'keypoint_scores'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            load_records(*write(tmp_path, changed(0, keypoint_scores=scores)))


def people_file(folder: Path) -> tuple[Path, Path]:
    """One person seen from behind: the left shoulder further left; and one from the front."""
    data = content()
    data["categories"] = [{"id": 7, "name": "person", "keypoints": list(COCO17.joints)}]
    rows = [
        COCO17.index(j) for j in ("left_shoulder", "right_shoulder", "left_hip", "left_knee", "left_ankle")
    ]
    data["annotations"] = []
    for person, xs in ((1, (10, 30, 12, 12, 12)), (2, (30, 10, 28, 28, 28))):
        triples = np.zeros((17, 3))
        triples[rows] = np.column_stack([xs, (5, 5, 20, 40, 55), [2] * 5])
        data["annotations"].append(dog(person, 10, triples.ravel().tolist(), bbox=[5, 2, 30, 56]))
    return write(folder, data)


def joint(record: PersonRecord, name: str) -> list[float]:
    return record.keypoints[record.skeleton.index(name)].tolist()  # type: ignore[no-any-return]


def test_the_observers_sides(tmp_path: Path) -> None:
    plain, seen = (load_records(*people_file(tmp_path), sides=sides) for sides in ("", "observer"))
    assert [joint(r, "left_shoulder") for r in plain] == [[10, 5], [30, 5]]
    # The observer's left shoulder is on the right of the picture, and the leg goes with it.
    assert [joint(r, "left_shoulder") for r in seen] == [[30, 5], [30, 5]]
    assert joint(seen[0], "right_knee") == [12, 40]
    assert seen[0].visibility[COCO17.index("left_knee")] == 0
    with pytest.raises(ValueError, match="sides: 'mirror'"):
        load_records(*people_file(tmp_path), sides="mirror")


def test_a_crop_by_limbs(tmp_path: Path) -> None:
    box, same, limbs = (load_records(*people_file(tmp_path), crop=crop) for crop in ("", "box", "limbs"))
    assert [r.side_px for r in box] == [r.side_px for r in same] == [70, 70]
    assert limbs[0].side_px not in (70, box[0].side_px)
    np.testing.assert_array_equal(limbs[0].center, box[0].center)
    with pytest.raises(ValueError, match="crop: 'torso'"):
        load_records(*people_file(tmp_path), crop="torso")


@pytest.mark.realdata
def test_real_coco_files(real_data: Path) -> None:
    root = real_data / "coco"
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
