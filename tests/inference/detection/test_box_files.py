import json
from pathlib import Path
from typing import Any

import pytest

from hourglass.inference.detection.box_files import parse_box, read_boxes


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
    ("categories", "kept"),
    [
        # Without people those with keypoints count, without such everybody.
        ([{"id": 7, "name": "axolotl", "keypoints": ["nose"]}, {"id": 8, "name": "tank"}], [7]),
        ([{"id": 7, "name": "axolotl"}, {"id": 8, "name": "newt"}], [7, 8]),
        ([{"id": 7, "name": "axolotl", "keypoints": ["nose"]}, {"id": 8, "name": "person"}], [8]),
        ([], []),
    ],
)
def test_an_annotation_file_of_animals(tmp_path: Path, categories: list[Any], kept: list[int]) -> None:
    rows = [{"file_name": f"{n}.jpg", "category_id": n, "bbox": [n, 2, 3, 4]} for n in (7, 8)]
    path = boxes(tmp_path, {"images": [], "categories": categories, "annotations": rows})
    if not kept:
        with pytest.raises(ValueError, match=r"boxes\.json holds no boxes of people"):
            read_boxes(path)
        return
    found = read_boxes(path)
    assert [n for n in (7, 8) if found.of(Path(f"{n}.jpg"))] == kept


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


def table(tmp_path: Path, text: str, name: str = "boxes.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "file,x,y,w,h,score\na.jpg,1,2,3.5,4,0.9\nb.jpg,5,6,7,8,0.25\na.jpg,1,1,2,2,0.5\n",
        "score;height;width;y;x;who;image\r\n0.9;4;3.5;2;1;me;a.jpg\r\n.25;8;7;6;5;;b.jpg\r\n"
        '0.5;2;2;1;1;"you; me";a.jpg\r\n',
        "\ufeffFile_Name\tX\tY\tW\tH\tScore\n a.jpg\t1\t2\t3.5\t4\t0.9\n\nb.jpg\t5\t6\t7\t8\t0.25\n"
        "a.jpg\t1\t1\t2\t2\t5e-1",
    ],
)
def test_a_table_says_the_same_in_any_order_and_division(tmp_path: Path, text: str) -> None:
    found = read_boxes(table(tmp_path, text))
    assert found.of(Path("photos/a.jpg")) == ((1, 2, 3.5, 4), (1, 1, 2, 2))
    assert found.scores_of(Path("a.jpg")) == (0.9, 0.5)
    assert found.scores_of(Path("b.jpg")) == (0.25,)
    assert found.image_id(Path("a.jpg")) is None


def test_a_tables_numbers_of_pictures_are_cocos(tmp_path: Path) -> None:
    found = read_boxes(table(tmp_path, "image_id,x,y,w,h\n139,1,2,3,4\n000000000785,1,2,3,4\n"))
    assert found.of(Path("000000000139.jpg")) == ((1, 2, 3, 4),)
    assert found.image_id(Path("000000000139.jpg")) == 139
    assert found.image_id(Path("000000000785.jpg")) == 785
    assert found.scores_of(Path("000000000139.jpg")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line must name the columns file, x, y, w, h"),
        ("file,x,y,w,h\n", "holds no boxes of people"),
        ("a.jpg,1,2,3,4\n", "line 1: there is no column file; the header must name file, x, y, w, h"),
        ("file,x,y,w\na.jpg,1,2,3\n", "line 1: there is no column h"),
        ("file,x,y,w,h,width\n", "line 1: w and width both mean w"),
        ("file,x,y,w,h\na.jpg,1,2,3,4\na.jpg,1,two,3,4\n", "line 3, column y: 'two' is no number"),
        ("file,x,y,width,h\na.jpg,1,2,nan,4\n", "line 2, column width: 'nan' is no number"),
        ("file,x,y,w,h\na.jpg,1,2,,4\n", "line 2, column w: '' is no number"),
        ("file,x,y,w,h\na.jpg,1,2,0,4\n", "line 2: the box is 0 wide and 4 high"),
        ("file,x,y,w,h\na.jpg,1,2,3\n", "line 2 has 4 cells; the header has 5"),
        ("file,x,y,w,h\n,1,2,3,4\n", "line 2, column file: it must name the picture"),
        ("file,x,y,w,h,score\na.jpg,1,2,3,4,high\n", "line 2, column score: 'high' is no number"),
        ('file,x,y,w,h\n"a.jpg,1,2,3,4\n', "line 2: unexpected end of data"),
    ],
)
def test_a_bad_table_is_refused_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"boxes\.csv,? {message}"):
        read_boxes(table(tmp_path, text))


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(ValueError, match=r"boxes\.csv is no table in UTF-8"):
        read_boxes(tmp_path / "boxes.csv")


def test_boxes_that_score_too_little_are_left_out_and_their_picture_stays_known(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 1, 1], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [2, 2, 2, 2], "score": 0.3},
        {"image_id": 2, "category_id": 1, "bbox": [3, 3, 3, 3], "score": 0.1},
    ]
    path = boxes(tmp_path, rows)
    assert read_boxes(path).scores_of(Path("1.jpg")) == (0.9, 0.3)
    found = read_boxes(path, 0.3)
    assert found.of(Path("1.jpg")) == ((1, 1, 1, 1), (2, 2, 2, 2))
    found = read_boxes(path, 0.5)
    assert (found.of(Path("1.jpg")), found.scores_of(Path("1.jpg"))) == (((1, 1, 1, 1),), (0.9,))
    assert (found.of(Path("2.jpg")), found.names(Path("2.jpg"))) == ((), True)
    assert (found.of(Path("3.jpg")), found.names(Path("3.jpg"))) == ((), False)


def test_scores_that_are_missing_or_malformed_are_named(tmp_path: Path) -> None:
    row = {"image_id": 1, "bbox": [1, 1, 1, 1]}
    path = boxes(tmp_path, [{**row, "score": 0.5}, row])
    assert read_boxes(path).scores_of(Path("1.jpg")) is None
    with pytest.raises(
        ValueError, match=r"boxes\.json, row 1: 'score' is missing, and the lowest .* is 0\.4"
    ):
        read_boxes(path, 0.4)
    with pytest.raises(ValueError, match=r"row 0: 'score' is 'high', not a number"):
        read_boxes(boxes(tmp_path, [{**row, "score": "high"}]))
    with pytest.raises(ValueError, match=r"row 0: 'bbox' holds a number that is not finite"):
        read_boxes(boxes(tmp_path, [{"image_id": 1, "bbox": [1, 1, 1, 10**400]}]))
