import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.samples import rows_of
from hourglass.batch.store import ROWS, SETTINGS, Store, agree, settle, to_bytes

SETTING = {"weights": {"name": "tiny", "sha256": "abcdef123456"}, "flip_test": True, "input": "/photos"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def put(store: Store, name: str, *rows: tuple[str, int, str | None]) -> None:
    table = pa.Table.from_pylist([{"image_id": i, "person": p, "error": e} for i, p, e in rows], ROWS)
    store.write(f"part-{name}.parquet", to_bytes(table.replace_schema_metadata({"hourglass": "x"})))


def keys(folder: Path) -> list[tuple[Any, ...]]:
    return [(row["image_id"], row["person"], row["error"]) for row in rows_of(folder)]


def test_a_picture_that_two_files_hold_keeps_the_rows_of_one(store: Store, tmp_path: Path) -> None:
    put(store, "1", ("a", 0, None), ("a", 1, None), ("b", -1, "cut off"))
    put(store, "2", ("a", 0, None), ("a", 1, None), ("c", -1, None))
    put(store, "3", ("c", -1, None))
    assert settle(store) == {"a", "b", "c"}
    assert store.parts() == ["part-1.parquet", "part-2.parquet"]
    assert keys(tmp_path) == [("a", 0, None), ("a", 1, None), ("b", -1, "cut off"), ("c", -1, None)]
    assert settle(store) == {"a", "b", "c"}


def test_failed_pictures_are_open_again(store: Store, tmp_path: Path) -> None:
    put(store, "1", ("a", 0, None), ("b", -1, "cut off"))
    put(store, "2", ("c", -1, "cut off"))
    assert settle(store, retry_failed=True) == {"a"}
    assert keys(tmp_path) == [("a", 0, None)]
    # What a file says of itself survives.
    from pyarrow.parquet import read_schema

    assert read_schema(tmp_path / "part-1.parquet").metadata[b"hourglass"] == b"x"


def test_a_damaged_file_is_named(store: Store) -> None:
    put(store, "1", ("a", 0, None))
    store.write("part-2.parquet", b"PAR1")
    with pytest.raises(ValueError, match=r"part-2\.parquet is damaged .*: delete it"):
        settle(store)


def test_settings_must_agree_once_there_are_answers(store: Store) -> None:
    agree(store, {**SETTING, "flip_test": False})
    agree(store, SETTING)
    put(store, "1", ("a", 0, None))
    agree(store, SETTING)
    with pytest.raises(ValueError, match=r"other settings \(flip_test: True, now False\): choose another"):
        agree(store, {**SETTING, "flip_test": False})
    other = {**SETTING, "weights": {"name": "tiny", "sha256": "0123456789ab"}}
    with pytest.raises(ValueError, match=r"weights: tiny abcdef12, now tiny 01234567"):
        agree(store, other)
    assert json.loads(store.read(SETTINGS) or b"") == SETTING


def test_answers_of_nobody_knows_what_are_refused(store: Store) -> None:
    put(store, "00000", ("a", 0, None))
    with pytest.raises(ValueError, match=r"holds answers, but no _hourglass\.json"):
        agree(store, SETTING)


def test_a_file_that_cannot_be_written_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "part-1.parquet").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*part-1\.parquet"):
        put(store, "1", ("a", 0, None))
    assert [path.name for path in tmp_path.iterdir()] == ["part-1.parquet"]


def test_a_store_behind_an_url() -> None:
    store = Store("memory://hourglass-test/out")
    assert not store.local
    agree(store, SETTING)
    put(store, "1", ("a", 0, None), ("b", -1, "cut off"))
    store.write("_attempts/x.json", b"{}")
    assert store.parts() == ["part-1.parquet"]
    assert store.exists("_attempts/x.json")
    assert settle(store, retry_failed=True) == {"a"}
    store.clear_attempts()
    store.clear_attempts()
    assert not store.exists("_attempts/x.json")
    assert store.read("nothing") is None
    store.delete("nothing")
