import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from hourglass.core.structs import PersonRecord
from hourglass.data.packs.write_pack import write_pack
from hourglass.doctor.joint_checks import areas
from hourglass.doctor.people import gather
from hourglass.doctor.sources import RefusedAnnotations, find


def coco(words: dict[str, list[int]]) -> dict[str, Any]:
    """Pictures by name with the ids of people in them."""
    names = list(words)
    return {
        "images": [{"id": n, "file_name": name, "width": 60, "height": 50} for n, name in enumerate(names)],
        "annotations": [
            {
                "id": i,
                "image_id": n,
                "category_id": 1,
                "keypoints": [9, 9, 2, 20 + i, 30, 1],
                "bbox": [5, 5, 30, 30],
            }
            for n, name in enumerate(names)
            for i in words[name]
        ],
        "categories": [{"id": 1, "name": "stick", "keypoints": ["left_end", "right_end"]}],
    }


def joints(shape: tuple[int, int, int]) -> np.typing.NDArray[np.float64]:
    array = np.random.default_rng(0).uniform(5, 50, shape)
    if shape[0] == 14:
        array[:, 2] = 1
    else:
        array[2] = 0
    return array


def test_leeds_folders_are_told_by_their_array(tmp_path: Path) -> None:
    for name, shape in (("lspet", (14, 3, 7)), ("lsp", (3, 14, 5))):
        (tmp_path / name).mkdir()
        savemat(tmp_path / name / "joints.mat", {"joints": joints(shape)})
        found = find(str(tmp_path / name))
        assert found.kind == name
        people = gather(found.parts)
        assert len(people) == max(shape[2], 0)
        assert people.photos[0].source == tmp_path / name / "images" / people.photos[0].name
        assert found.folders == (tmp_path / name / "images",)
    with pytest.raises(ValueError, match="is lspet data, not lsp"):
        find(str(tmp_path / "lspet"), "lsp")


def test_coco_files_by_pattern(tmp_path: Path) -> None:
    for split, words in (("train", {"a.jpg": [1, 2], "b.jpg": []}), ("val", {"a.jpg": [7]})):
        (tmp_path / f"people_{split}.json").write_text(json.dumps(coco(words)))
    pattern = str(tmp_path / "people_{split}.json")
    found = find(str(tmp_path / "{split}"), annotations=pattern)
    people = gather(found.parts)
    assert (found.kind, people.splits) == ("coco", ("train", "train", "val"))
    assert [photo.source for photo in people.photos] == [
        tmp_path / "train" / "a.jpg",
        tmp_path / "train" / "b.jpg",
        tmp_path / "val" / "a.jpg",
    ]
    assert people.photos[1].stated == (60, 50)
    assert people.sizes.tolist() == [[60, 50]] * 3
    shared = gather(find(str(tmp_path), annotations=pattern).parts)
    assert [photo.name for photo in shared.photos] == ["a.jpg", "b.jpg"]
    assert gather(find(str(tmp_path), annotations=pattern, split="val").parts).ids.tolist() == [7]
    with pytest.raises(FileNotFoundError, match="whatever"):
        find(str(tmp_path), annotations=str(tmp_path / "other_{split}.json"))


def test_a_repeated_split_is_one_word(tmp_path: Path) -> None:
    for a, b in (("train", "train"), ("train", "val")):
        (tmp_path / a).mkdir(exist_ok=True)
        (tmp_path / a / f"{b}.json").write_text(json.dumps(coco({"a.jpg": [1]})))
    found = find(str(tmp_path), annotations=str(tmp_path / "{split}" / "{split}.json"))
    assert [part.split for part in found.parts] == ["train"]


def test_the_usual_coco_folder(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "train2017").mkdir(parents=True)
    (tmp_path / "val2017").mkdir()
    for word in ("train2017", "val2017"):
        file = tmp_path / "annotations" / f"person_keypoints_{word}.json"
        file.write_text(json.dumps(coco({f"{word}.jpg": [1]})))
    found = find(str(tmp_path))
    assert [part.split for part in found.parts] == ["train", "val"]
    assert found.folders == (tmp_path / "images" / "train2017", tmp_path / "val2017")


def test_packed_json_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(json.dumps(coco({"a.jpg": [1]})).encode()))
    assert find(str(tmp_path), annotations=str(file)).kind == "coco"


def test_packs_bring_their_pictures(tmp_path: Path, rendered: list[PersonRecord]) -> None:
    write_pack({"train": rendered[:3], "val": rendered[3:5]}, tmp_path / "p.parquet", 64, 80, 1.5, 1)
    found = find(str(tmp_path / "p.parquet"))
    people = gather(found.parts)
    assert (found.kind, people.splits) == ("pack", ("train",) * 3 + ("val",) * 2)
    assert all(isinstance(photo.source, bytes) for photo in people.photos)


def test_rendered_people_need_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hourglass.doctor.sources.RENDERED", 2)
    found = find("", "synthetic")
    people = gather(found.parts)
    assert people.splits == ("train", "train", "val", "val")
    assert len({photo.source for photo in people.photos}) == len(people)


def test_what_a_reader_refuses_is_told_from_what_is_no_file_of_the_kind(tmp_path: Path) -> None:
    broken = coco({"a.jpg": [1]})
    broken["annotations"][0]["keypoints"][0] = float("nan")
    (tmp_path / "nan.json").write_text(json.dumps(broken))
    with pytest.raises(RefusedAnnotations, match="annotation 1: left_end is not a finite number"):
        find(str(tmp_path), annotations=str(tmp_path / "nan.json"))
    (tmp_path / "cut.json").write_text(json.dumps(broken)[:40])
    with pytest.raises(ValueError, match="is not a whole JSON file") as caught:
        find(str(tmp_path), annotations=str(tmp_path / "cut.json"))
    assert not isinstance(caught.value, RefusedAnnotations)
    (tmp_path / "sub").mkdir()
    array = joints((14, 3, 3))
    array[2, 0, 1] = np.inf
    savemat(tmp_path / "sub" / "joints.mat", {"joints": array})
    with pytest.raises(RefusedAnnotations, match=r"im00002\.jpg"):
        find(str(tmp_path / "sub"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "mpi"}, "--data 'mpi' is not one of lspet"),
        ({}, "say where the data lies"),
        ({"root": "nowhere"}, "there is no folder nowhere"),
        ({"root": "nowhere", "annotations": "no.json"}, "there is no file no.json"),
    ],
)
def test_requests_that_cannot_be_met(arguments: dict[str, str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        find(**{"root": "", **arguments})
    assert not isinstance(caught.value, RefusedAnnotations)


def test_an_unknown_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no annotations that are known by name"):
        find(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no flic annotations"):
        find(str(tmp_path), "flic")


def test_boxes_and_areas_are_those_of_the_file(tmp_path: Path) -> None:
    content = coco({"a.jpg": [1, 2, 3], "b.jpg": [4]})
    first, second, third, fourth = content["annotations"]
    first |= {"area": 900.0}
    second |= {"bbox": [5, 5, 30, 0], "area": 12.0}
    third |= {"area": 0, "iscrowd": 1}
    fourth |= {"area": 0}
    (tmp_path / "one.json").write_text(json.dumps(content))
    people = gather(find(str(tmp_path), annotations=str(tmp_path / "one.json")).parts)
    np.testing.assert_array_equal(people.box, [[30, 30], [30, 0], [30, 30]])
    np.testing.assert_array_equal(people.area, [900, 12, 0])
    assert [suspect.what for suspect in areas(people).suspects] == ["a box of 30 x 0", "an area of 0"]
    del first["area"], second["area"], third["area"], fourth["area"]
    (tmp_path / "two.json").write_text(json.dumps(content))
    people = gather(find(str(tmp_path), annotations=str(tmp_path / "two.json")).parts)
    assert np.isnan(people.area).all()
