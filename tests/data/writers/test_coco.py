"""COCO files: by hand against the format's description, and what happens to edited ones."""

import gzip
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, LSP14, MPII16, Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.coco import parse
from hourglass.data.writers.coco import restored, to_coco, write_coco
from hourglass.data.writers.shared import Losses
from hourglass.data.writers.write import ReadPeople, picture_sizes, read_source, write_people

FOUR = Skeleton("four", ("head_top", "neck", "left_hip", "right_hip"), head=("neck", "head_top"))


def three(form: str = "lspet", origin: int = 1, **changed: Any) -> Annotations:
    """Three people with four joints in two pictures; the last has none labelled and no crop."""
    people = Annotations(
        file=Path("people.x"),
        form=form,
        what="LSPET",
        skeleton=FOUR,
        where=["row 0", "row 1", "row 2"],
        names=["a.jpg", "b.jpg", "a.jpg"],
        ids=np.array([7, 8, 12]),
        splits=["train", "val", ""],
        keypoints=np.array(
            [
                [[11, 21], [12.25, 31], [-60.5, 0.1], [13, 61]],
                [[0.3, 5], [3, 6], [4, 7], [5, 8]],
                [[-1, -1], [-1, -1], [-1, -1], [-60.5, 0.1]],
            ],
            np.float64,
        ),
        visibility=np.array([[2, 1, 0, 2], [2, 2, 2, 2], [0, 0, 0, 0]], np.uint8),
        tells_hidden=True,
        origin=origin,
        center=np.array([[12, 41], [3, 6.5], [np.nan, np.nan]]),
        side_px=np.array([50, 8, np.nan]),
        lengths={"head": np.array([10.5, 2, np.nan])},
        columns={"scale": np.array([0.2, 0.1, np.inf])},
    )
    return replace(people, **changed)


def back(content: Any) -> Annotations:
    content = json.loads(json.dumps(content, allow_nan=False))
    return restored(parse(content, Path("people.json")), content)


def test_a_person_by_hand() -> None:
    content = to_coco(three())
    first, second, third = content["annotations"]
    # One less everywhere, and zeros where nothing is labelled, as the format's description has it.
    assert first["keypoints"] == [10, 20, 2, 11.25, 30, 1, 0, 0, 0, 12, 60, 2]
    assert (first["num_keypoints"], first["iscrowd"], first["id"]) == (3, 0, 7)
    # From pixel 10 to 12 and 20 to 60, ends included.
    assert first["bbox"] == [10, 20, 3, 41]
    assert first["area"] == 123
    assert first["crop"] == {"center": [11, 40], "side_px": 50}
    assert (first["split"], first["lengths"]) == ("train", {"head": 10.5})
    assert second["crop"]["center"] == [2, 5.5]
    assert third["keypoints"] == [0] * 12
    assert (third["bbox"], third["area"], third["num_keypoints"]) == ([0, 0, 0, 0], 0, 0)
    assert not {"crop", "split", "lengths"} & set(third)


def test_the_rest_of_the_file_by_hand() -> None:
    content = to_coco(three(), sizes={"b.jpg": (64, 48)})
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 2, "file_name": "b.jpg", "width": 64, "height": 48},
    ]
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 1]
    assert [entry["category_id"] for entry in content["annotations"]] == [1, 1, 1]
    assert content["categories"] == [
        {
            **{"id": 1, "name": "four", "supercategory": "person", "keypoints": list(FOUR.joints)},
            **{"skeleton": [], "flip_pairs": [], "torso": [], "head": ["neck", "head_top"]},
        }
    ]


@pytest.mark.parametrize("skeleton", [MPII16, LSP14, COCO17], ids=lambda s: s.name)
def test_skeletons_come_back(skeleton: Skeleton) -> None:
    shape = (3, len(skeleton))
    people = three(
        skeleton=skeleton, keypoints=np.ones((*shape, 2)), visibility=np.full(shape, 2, np.uint8), columns={}
    )
    content = to_coco(people)
    assert Skeleton.from_coco_category(content["categories"][0]) == skeleton
    # Rows of limbs count from 1.
    pairs = content["categories"][0]["skeleton"]
    assert tuple((skeleton.joints[a - 1], skeleton.joints[b - 1]) for a, b in pairs) == skeleton.limbs
    assert back(content).skeleton == skeleton
    assert (content["categories"][0]["name"] == "person") == (skeleton is COCO17)


def test_a_skeleton_that_a_category_can_t_say() -> None:
    # A reader makes torsos out of these names where it finds none.
    joints = ("left_shoulder", "right_hip", "right_shoulder", "left_hip")
    bare = Skeleton("bare", joints)
    assert back(to_coco(three(skeleton=bare))).skeleton == bare


def test_all_comes_back() -> None:
    people = three()
    found = back(to_coco(people))
    np.testing.assert_array_equal(found.keypoints, people.keypoints)
    np.testing.assert_array_equal(found.center, people.center)
    np.testing.assert_array_equal(found.side_px, people.side_px)
    np.testing.assert_array_equal(found.columns["scale"], people.columns["scale"])
    np.testing.assert_array_equal(found.lengths["head"], people.lengths["head"])
    assert (found.form, found.origin, found.box, found.area, found.crowd) == ("lspet", 1, None, None, None)


def test_only_what_moving_the_origin_blurs_is_carried() -> None:
    entries = to_coco(three())["annotations"]
    # 0.3 - 1 + 1 is 0.30000000000000004; 12.25 is as good as new; the usual (-1, -1) is said once.
    assert entries[0]["hourglass"]["exact"] == {"keypoints": [[2, -60.5, 0.1]]}
    assert entries[1]["hourglass"]["exact"] == {"keypoints": [[0, 0.3, 5]]}
    assert entries[2]["hourglass"]["exact"] == {"keypoints": [[3, -60.5, 0.1]]}
    assert to_coco(three())["hourglass"]["unlabelled"] == [-1, -1]


def test_the_crop_of_a_coco_box_is_not_said_again() -> None:
    box = np.array([[10, 20, 30, 39], [1, 2, 8, 8], [0, 0, 10, 10]], np.float64)
    side_px = np.array([1.25 * 39, 90, 12.5])
    # The second has a crop of its own.
    center = np.array([[24.5, 39], [9, 9], [4.5, 4.5]])
    people = three(
        "coco", 0, box=box, center=center, side_px=side_px, crowd=np.array([False, False, True]), area=side_px
    )
    content = to_coco(people)
    assert [("crop" in entry) for entry in content["annotations"]] == [False, True, False]
    assert [entry["iscrowd"] for entry in content["annotations"]] == [0, 0, 1]
    assert content["annotations"][0]["area"] == 48.75
    found = back(content)
    np.testing.assert_array_equal(found.side_px, side_px)
    np.testing.assert_array_equal(found.center, center)
    np.testing.assert_array_equal(found.box, box)


def test_pictures_without_people_and_their_ids_stay(tmp_path: Path) -> None:
    ids: dict[str, int | str] = {"empty.jpg": 40, "b.jpg": "word", "a.jpg": 2}
    write_coco(three(), tmp_path / "people.json", image_ids=ids, sizes={"empty.jpg": (3, 4)}, category_id=9)
    source = read_source(tmp_path / "people.json")
    assert dict(source.image_ids) == ids
    write_people(source.people, tmp_path / "again.json", "coco", source, Losses())
    first, again = (json.loads((tmp_path / name).read_bytes()) for name in ("people.json", "again.json"))
    assert first["annotations"] == again["annotations"]
    assert sorted(map(str, first["images"])) == sorted(map(str, again["images"]))
    assert again["categories"][0]["id"] == 9
    # Of one split only its own pictures.
    assert dict(read_source(tmp_path / "people.json", "val").image_ids) == {"b.jpg": "word"}


def test_a_split_of_a_file_that_came_from_us(tmp_path: Path) -> None:
    write_coco(three(), tmp_path / "people.json.gz")
    assert json.loads(gzip.decompress((tmp_path / "people.json.gz").read_bytes()))["images"]
    assert read_source(tmp_path / "people.json.gz", "val").people.ids.tolist() == [8]
    with pytest.raises(ValueError, match="LSPET has no split 'dev'"):
        read_source(tmp_path / "people.json.gz", "dev")


def test_what_was_edited_stays_edited() -> None:
    content = to_coco(three())
    first, second, third = content["annotations"]
    second["keypoints"][:3] = [99, 5, 2]  # moved
    first["keypoints"][6:9] = [50, 51, 2]  # labelled for the first time
    first["bbox"] = [0, 0, 20, 70]
    third["crop"] = {"center": [5, 5], "side_px": 20}
    found = back(content)
    assert found.keypoints[1, 0].tolist() == [100, 6]
    assert found.keypoints[0, 2].tolist() == [51, 52]
    assert found.box is not None
    assert found.box[0].tolist() == [1, 1, 20, 70]
    assert np.isnan(found.box[1:]).all()
    assert (found.center[2].tolist(), found.side_px[2]) == ([6, 6], 20)


def test_people_may_be_taken_out_and_added() -> None:
    content = to_coco(three())
    del content["annotations"][0]
    found = back(content)
    assert found.columns["scale"].tolist() == [0.1, np.inf]
    added = {"id": 99, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2] * 4, "bbox": [0, 0, 9, 9]}
    content["annotations"].append(added)
    found = back(content)
    assert found.columns == {}
    assert found.keypoints[2].tolist() == [[2, 3]] * 4
    assert found.side_px[2] == 11.25


def test_who_had_no_crop_has_none() -> None:
    nobody = np.full(3, np.nan)
    people = three(center=np.full((3, 2), np.nan), side_px=nobody, form="mpii-mat")
    content = to_coco(people)
    assert [entry["bbox"][2:] for entry in content["annotations"]] == [[0, 0]] * 3
    found = back(content)
    np.testing.assert_array_equal(found.side_px, nobody)
    # Whoever gets a second joint later gets a crop by it.
    content["annotations"][2]["keypoints"] = [10, 10, 2, 20, 30, 2, 0, 0, 0, 0, 0, 0]
    assert back(content).side_px[2] == 25


@pytest.mark.parametrize(
    "damage",
    [
        {"form": "other"},
        {"origin": 2},
        {"unlabelled": 3},
        {"columns": {"scale": "V8"}},
        {"columns": {"scale": "not a type"}},
        {"columns": {"scale": "<U900000000"}},
        {"lengths": None},
    ],
)
def test_damaged_additions_are_refused(damage: dict[str, Any]) -> None:
    content = to_coco(three())
    content["hourglass"] |= damage
    with pytest.raises(ValueError, match=r"people.json: the object 'hourglass'.*is damaged.*plain COCO file"):
        back(content)


def test_damaged_numbers_of_a_joint_are_refused() -> None:
    content = to_coco(three())
    content["annotations"][0]["hourglass"]["exact"] = {"keypoints": [[-1, 2, 3]]}
    with pytest.raises(ValueError, match=r"is damaged \(joint -1\)"):
        back(content)


def test_a_plain_coco_file_is_left_alone() -> None:
    content = to_coco(three())
    del content["hourglass"]
    found = back(content)
    assert (found.form, found.origin, found.keypoints[0, 0].tolist()) == ("coco", 0, [10, 20])


def test_fields_left_behind_are_told(tmp_path: Path) -> None:
    content = to_coco(three())
    content["licenses"] = []
    content["images"][0]["license"] = 3
    content["annotations"][1]["segmentation"] = []
    (tmp_path / "people.json").write_text(json.dumps(content))
    losses = Losses()
    source = read_source(tmp_path / "people.json")
    write_people(source.people, tmp_path / "again.json", "coco", source, losses)
    (note,) = losses.notes
    assert note.endswith("carried on: licenses, license of images, segmentation of annotations")


def test_sizes_of_pictures(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((5, 7, 3), np.uint8))
    people = three()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos of people.x are missing.*b.jpg"):
        picture_sizes(people, ReadPeople(people), tmp_path)
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((9, 2, 3), np.uint8))
    assert picture_sizes(people, ReadPeople(people), tmp_path) == {"a.jpg": (7, 5), "b.jpg": (2, 9)}


@pytest.mark.parametrize("package", ["pycocotools.coco", "faster_coco_eval"])
def test_coco_s_own_tool_loads_it(tmp_path: Path, package: str) -> None:
    tool = pytest.importorskip(package)
    write_coco(three(crowd=np.array([False, True, False])), tmp_path / "people.json")
    logging.disable(logging.INFO)
    loaded = tool.COCO(str(tmp_path / "people.json"))
    logging.disable(logging.NOTSET)
    assert loaded.getImgIds() == [1, 2]
    assert sorted(loaded.getAnnIds(imgIds=[1])) == [7, 12]
    assert loaded.getAnnIds(iscrowd=True) == [8]
    assert loaded.getAnnIds(areaRng=[100, 200]) == [7]
    assert loaded.loadCats([1])[0]["keypoints"] == list(FOUR.joints)
