import json
from pathlib import Path
from typing import Any

import pytest

from hourglass.inference.sinks import output_folder, output_names
from hourglass.inference.sources import expand, parse_box, read_boxes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deeper/c.jpg", "odd[1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folders_globs_and_files_become_sorted_pictures(photos: Path) -> None:
    assert expand([photos]) == [photos / "a.PNG", photos / "b.jpg", photos / "odd[1].jpg"]
    assert expand([photos / "*"]) == expand([photos])
    assert expand([photos / "*.jpg"]) == [photos / "b.jpg", photos / "odd[1].jpg"]
    assert expand([photos / "**" / "c.*"]) == [photos / "deeper" / "c.jpg"]
    # A file named in full counts whatever its ending, and once.
    assert expand([photos / "notes.txt", photos / "b.jpg", photos / "b.*"]) == [
        photos / "notes.txt",
        photos / "b.jpg",
    ]
    assert expand([photos / "odd[1].jpg"]) == [photos / "odd[1].jpg"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jpg", r"no file or folder .*none\.jpg"),
        ("*.gif", r"no picture matches .*\*\.gif"),
        ("empty", "empty holds no pictures"),
    ],
)
def test_what_is_not_there_is_named(photos: Path, name: str, message: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=message):
        expand([photos / name])


def test_a_box_is_four_numbers() -> None:
    assert parse_box("1, 2.5,30,40") == (1.0, 2.5, 30.0, 40.0)
    for text in ("1,2,3", "1,2,3,x", "1,2,0,4", "1,2,3,nan", ""):
        with pytest.raises(ValueError, match="the box"):
            parse_box(text)


def boxes(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_rows_are_matched_by_name_stem_or_number(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "score": 0.9},
        {"file_name": "a.jpg", "bbox": [5, 6, 7, 8]},
        {"image_id": "b", "bbox": [1, 1, 2, 2]},
        {"image_id": 139, "category_id": 1, "bbox": [9, 9, 9, 9]},
        {"image_id": 139, "category_id": 18, "bbox": [8, 8, 8, 8]},
        {"file_name": "val/deep/c.jpg", "bbox": [4, 4, 4, 4]},
    ]
    found = read_boxes(boxes(tmp_path, rows))
    assert found.of(Path("x/a.jpg")) == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert found.of(Path("b.png")) == ((1, 1, 2, 2),)
    assert found.of(Path("000000000139.jpg")) == ((9, 9, 9, 9),)
    assert found.image_id(Path("000000000139.jpg")) == 139
    assert found.of(Path("photos/deep/c.jpg")) == ()
    assert found.of(Path("deep/c.jpg")) == found.of(Path("c.jpg")) == ((4, 4, 4, 4),)
    assert found.of(Path("unknown.jpg")) == ()
    assert found.image_id(Path("unknown.jpg")) is None


def test_an_annotation_file_names_its_pictures_by_id(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 5, "file_name": "five.jpg"}],
        "categories": [{"id": 3, "name": "person"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4]},
            {"image_id": 5, "category_id": 1, "bbox": [9, 9, 9, 9]},
        ],
    }
    found = read_boxes(boxes(tmp_path, content))
    assert found.of(Path("five.jpg")) == ((1, 2, 3, 4),)
    assert found.image_id(Path("five.jpg")) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"boxes\.json is not JSON"),
        ({"rows": []}, "neither a list of rows"),
        ([], "no boxes of people"),
        ([3], "row 0: not an object"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 1}], "row 1: 'bbox' is missing"),
        ([{"image_id": 1, "bbox": [1, 2, 3]}], "row 0: 'bbox' must be four numbers"),
        ([{"image_id": 1, "bbox": [1, 2, 3, "4"]}], "row 0: 'bbox' must be four numbers"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 0]}], "row 0: 'bbox' is 3 wide and 0 high"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, Infinity]}]', "row 0: 'bbox' holds a number that is not finite"),
        ([{"bbox": [1, 2, 3, 4]}], "row 0: 'image_id' or 'file_name' must name"),
        ([{"image_id": True, "bbox": [1, 2, 3, 4]}], "row 0: 'image_id' or 'file_name' must name"),
        ([{"file_name": 3, "bbox": [1, 2, 3, 4]}], "row 0: 'file_name' is 3"),
        ({"annotations": [], "images": [{"id": [1], "file_name": "a"}]}, "images, row 0: 'id'"),
    ],
)
def test_a_bad_box_file_is_refused_by_row_and_field(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_boxes(boxes(tmp_path, content))
    with pytest.raises(FileNotFoundError, match="no box file"):
        read_boxes(tmp_path / "none.json")


def test_result_names_never_clash() -> None:
    files = [Path(p) for p in ("x/a.jpg", "y/a.jpg", "b.jpg", "/q/x/a.png", "c/B.png", "y_a.jpg")]
    names = output_names(files)
    assert len({name.lower() for name in names}) == len(files)
    assert names[:2] == ["x_a", "y_a"]
    assert output_names([Path("p/one.jpg"), Path("p/two.jpg")]) == ["one", "two"]


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match=r"cannot write into .*taken"):
        output_folder(tmp_path / "taken")
    output_folder(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
