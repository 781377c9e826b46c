import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.samples import boxes_json, encoded, make_photos, make_shard
from hourglass.batch.items import PictureSource, find, inspect_tables, open_units, read_units, shard_units


def items_of(source: PictureSource, units: Any, done: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    return [item for table in read_units(units, source, done) for item in table.to_pylist()]


def ids_of(table: str, *rows: int) -> list[str]:
    return [f"{table}.parquet#{row}" for row in rows]


def test_a_folder_is_searched_at_all_depths_without_hidden_files(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / ".cache").mkdir()
    (tmp_path / "photos" / ".cache" / "x.png").touch()
    (tmp_path / "photos" / "notes.txt").touch()
    source = find(str(tmp_path / "photos"))
    assert (source.kind, source.base) == ("pictures", str(tmp_path / "photos"))
    assert source.names == ("001.png", "002.png", "more/000.png", "more/003.png")
    assert find(f"file://{tmp_path}/photos").names == source.names
    one = find(str(tmp_path / "photos" / "more" / "003.png"))
    assert (one.base, one.names) == (str(tmp_path / "photos" / "more"), ("003.png",))


def test_globs_of_paths_and_of_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(tmp_path / "photos", 7)
    source = find(str(tmp_path / "photos" / "00[1-4].png"))
    assert (source.base, source.names) == (str(tmp_path / "photos"), ("001.png", "002.png", "004.png"))
    every = find(f"{tmp_path}/photos/**/*.png")
    assert every.names == find(str(tmp_path / "photos")).names
    url = find(f"file://{tmp_path}/photos/more/*.png")
    assert (url.base, url.names) == (f"file://{tmp_path}/photos/more", ("000.png", "003.png", "006.png"))
    # A name that exists is no pattern.
    (tmp_path / "[a]").mkdir()
    (tmp_path / "[a]" / "x.png").touch()
    assert find(str(tmp_path / "[a]")).names == ("x.png",)
    monkeypatch.chdir(tmp_path)
    assert find("photos/00*.png").base == str(tmp_path / "photos")


def test_what_a_batch_wrote_is_no_input(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"]})
    (tmp_path / "out").mkdir()
    for name in ("a.parquet", "part-1.parquet", "out/part-2.parquet"):
        pq.write_table(table, tmp_path / name)
    assert find(str(tmp_path), str(tmp_path / "out")).names == ("a.parquet", "part-1.parquet")
    assert find(str(tmp_path), str(tmp_path)).names == ("a.parquet", "out/part-2.parquet")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nowhere", FileNotFoundError, "there is no file or folder .*nowhere"),
        ("empty", FileNotFoundError, "empty holds no pictures, Parquet tables"),
        ("*.gif", FileNotFoundError, "holds no pictures"),
        ("mixed", ValueError, "mixed holds parquet and pictures: choose one kind with a glob"),
        ("notes.txt", FileNotFoundError, r"notes\.txt holds no pictures"),
    ],
)
def test_an_input_that_is_none(name: str, kind: type[Exception], message: str, tmp_path: Path) -> None:
    for folder in ("empty", "mixed"):
        (tmp_path / folder).mkdir()
    for file in ("mixed/a.png", "mixed/b.parquet", "notes.txt"):
        (tmp_path / file).touch()
    with pytest.raises(kind, match=message):
        find(str(tmp_path / name))


def test_an_url_that_nothing_opens() -> None:
    with pytest.raises(ValueError, match="frob://bucket/photos can't be opened"):
        find("frob://bucket/photos")


def test_rows_of_tables_are_called_by_file_and_number(tmp_path: Path) -> None:
    for name, first in (("a.parquet", 0), ("b.parquet", 5)):
        table = pa.table({"photo": [encoded(first + i) for i in range(5)], "label": list("vwxyz")})
        pq.write_table(table, tmp_path / name, row_group_size=2)
    source, units = inspect_tables(find(str(tmp_path)), "", "")
    assert (source.column, len(units)) == ("photo", 6)
    items = items_of(source, units)
    assert [item["image_id"] for item in items] == ids_of("a", *range(5)) + ids_of("b", *range(5))
    assert [item["data"] for item in items] == [encoded(i) for i in range(10)]
    assert all(item["boxes"] is None and item["error"] is None for item in items)
    # Of a.parquet the first row is left, of b.parquet all but the last; c.parquet is gone.
    done = frozenset(ids_of("a", 1, 2, 3, 4) + ids_of("b", 4) + ids_of("c", 0))
    some, count = open_units(source, units, done)
    assert (len(some), count) == (3, 5)
    assert [i["image_id"] for i in items_of(source, some, done)] == ["a.parquet#0", *ids_of("b", 0, 1, 2, 3)]
    assert open_units(source, units, frozenset())[1] == 10


def test_tables_in_the_form_of_hugging_face_with_ids_and_boxes(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b"}],
            "mask": [b"m", b"n"],
            "id": [17, 18],
            "boxes": [[[1.0, 2.0, 3.0, 4.0]], []],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"several columns of bytes \(image, mask\): name the one"):
        inspect_tables(find(str(tmp_path)), "", "")
    source, units = inspect_tables(find(str(tmp_path)), "image", "id")
    assert open_units(source, units, frozenset())[1] == 2
    assert open_units(source, units, frozenset({"17"})) == (units, None)
    assert items_of(source, units) == [
        {"image_id": "17", "data": b"1", "boxes": [[1, 2, 3, 4]], "error": None},
        {"image_id": "18", "data": None, "boxes": [], "error": "18 has no bytes"},
    ]


@pytest.mark.parametrize(
    ("column", "id_column", "message"),
    [
        ("picture", "", r"t\.parquet has no column 'picture'; it has image, label"),
        ("label", "", r"'label' holds string, not bytes"),
        ("", "key", "no column 'key'"),
    ],
)
def test_columns_that_are_not_there(column: str, id_column: str, message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "label": ["y"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=message):
        inspect_tables(find(str(tmp_path)), column, id_column)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"t\.parquet can't be read as Parquet"):
        inspect_tables(find(str(tmp_path)), "", "")


def test_samples_of_shards(tmp_path: Path) -> None:
    samples = [
        ("d/1", {"jpg": b"one", "json": boxes_json([1, 2, 3, 4], [5, 6, 7, 8])}),
        ("d/2", {"json": b'{"caption": "no boxes"}', "seg.PNG": b"two"}),
        ("d/3", {"json": b"{", "jpg": b"three"}),
        ("d/4", {"txt": b"words"}),
        ("e/1", {"json": boxes_json(), "webp": b"five"}),
    ]
    make_shard(tmp_path / "s-0.tar", samples)
    source = find(str(tmp_path))
    assert source.kind == "webdataset"
    items = {item["image_id"]: item for item in items_of(source, shard_units(source))}
    assert list(items) == [f"s-0.tar/{key}" for key, _ in samples]
    assert [item["data"] for item in items.values()] == [b"one", b"two", None, None, b"five"]
    assert items["s-0.tar/d/1"]["boxes"] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert items["s-0.tar/d/2"]["boxes"] is None
    assert items["s-0.tar/e/1"]["boxes"] == []
    assert "its json gives no boxes" in items["s-0.tar/d/3"]["error"]
    assert items["s-0.tar/d/4"]["error"] == "s-0.tar/d/4 holds no picture, only txt"
    left = items_of(source, shard_units(source), frozenset(items) - {"s-0.tar/d/2"})
    assert [item["image_id"] for item in left] == ["s-0.tar/d/2"]


def test_the_extension_chooses_among_the_pictures_of_a_sample(tmp_path: Path) -> None:
    make_shard(tmp_path / "s.tar", [("1", {"left.jpg": b"l", "right.jpg": b"r"})])
    source = PictureSource("webdataset", str(tmp_path), ("s.tar",), "right.jpg")
    assert [item["data"] for item in items_of(source, shard_units(source))] == [b"r"]


def test_a_compressed_shard_and_one_that_is_none(tmp_path: Path) -> None:
    make_shard(tmp_path / "plain", [("1", {"png": encoded(1)})])
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as shard, tarfile.open(tmp_path / "plain") as plain:
        for member in plain:
            shard.addfile(member, plain.extractfile(member))
    (tmp_path / "t.tar").write_bytes(b"no shard at all, but long enough to be looked at " * 20)
    source = find(str(tmp_path))
    good, bad = items_of(source, shard_units(source))
    assert (good["image_id"], good["data"]) == ("s.tar.gz/1", encoded(1))
    assert (bad["image_id"], bad["data"]) == ("t.tar", None)
    assert "t.tar is cut off or damaged" in bad["error"]
    assert items_of(source, shard_units(source), frozenset({"t.tar", "s.tar.gz/1"})) == []


def test_items_come_in_small_tables(tmp_path: Path) -> None:
    table = pa.table({"image": [bytes(1 << 20) for _ in range(40)]})
    pq.write_table(table, tmp_path / "t.parquet")
    source, units = inspect_tables(find(str(tmp_path)), "", "")
    sizes = [len(items) for items in read_units(units, source, frozenset())]
    assert sum(sizes) == 40
    assert max(sizes) <= 16
