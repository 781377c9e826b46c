"""Sets of shards with something wrong: one clear sentence, naming the file."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import COCO17
from hourglass.data.packs.open_pack import load_records, open_set
from hourglass.data.packs.shards import ShardError
from hourglass.data.packs.write_pack import write_pack
from shard_cases import numbered, sharded


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    sharded(folder, 12, 3, 3)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "set")
    return tmp_path / "set"


SECOND = "people-00001-of-00003.parquet"


@pytest.mark.parametrize("index", [True, False])
def test_a_shard_is_missing(folder: Path, index: bool) -> None:
    (folder / SECOND).unlink()
    if not index:
        (folder / "people.index.json").unlink()
    for way in (folder, folder / "*.parquet") if not index else (folder,):
        with pytest.raises(ShardError, match=rf"the shard .*{SECOND} is missing; fetch it, or pack again"):
            load_records(way)


def test_only_one_of_three_is_there(folder: Path) -> None:
    for number in (0, 2):
        (folder / f"people-0000{number}-of-00003.parquet").unlink()
    (folder / "people.index.json").unlink()
    with pytest.raises(ShardError, match=r"people-00000-of-00003.parquet is missing"):
        load_records(folder)
    # But one alone is a pack, for who asks for it by its name.
    assert len(load_records(folder / SECOND)) == 4


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_shard_is_cut_off(folder: Path, share: float) -> None:
    whole = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ShardError, match=rf"the shard .*{SECOND} is cut off: \d+ bytes, not {len(whole)}"):
        load_records(folder)
    (folder / "people.index.json").unlink()
    with pytest.raises(ValueError, match=rf"{SECOND} is (cut off or damaged|no Parquet file)"):
        load_records(folder)


def test_a_shard_of_another_packing(folder: Path, tmp_path: Path) -> None:
    sharded(tmp_path / "other", 30, 3, 3)
    shutil.copy(tmp_path / "other" / SECOND, folder / SECOND)
    with pytest.raises(ShardError, match=rf"{SECOND} is another file than the index says"):
        load_records(folder)


def swapped(folder: Path, path: Path) -> None:
    """Put another file in the second shard's place, of a size that the index knows."""
    shutil.copy(path, folder / SECOND)
    index = json.loads((folder / "people.index.json").read_text())
    index["shards"][1]["bytes"] = path.stat().st_size
    (folder / "people.index.json").write_text(json.dumps(index))


def test_a_foreign_shard(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "theirs.parquet")
    swapped(folder, tmp_path / "theirs.parquet")
    with pytest.raises(ValueError, match=rf"{SECOND} is a Parquet file, but no pack"):
        load_records(folder)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_px": 40}, "was packed with crop_px 40 and .* with 256; pack them together"),
        ({"margin": 1.2}, "was packed with margin 1.2 and .* with 1.5; pack them together"),
        ({"skeleton": COCO17}, "was packed with skeleton coco17 and .* with lsp14; pack them together"),
    ],
)
def test_mixed_formats(
    folder: Path, tmp_path: Path, options: dict[str, Any], message: str, index: bool
) -> None:
    skeleton = {"skeleton": options["skeleton"]} if "skeleton" in options else {}
    settings = {name: value for name, value in options.items() if name != "skeleton"}
    write_pack({"train": numbered(4, **skeleton)}, tmp_path / "one.parquet", **settings)
    swapped(folder, tmp_path / "one.parquet")
    if not index:
        (folder / "people.index.json").unlink()
    with pytest.raises(ShardError, match=f"{SECOND} {message}"):
        load_records(folder)


def test_a_shard_with_other_people_than_the_index_says(folder: Path, tmp_path: Path) -> None:
    write_pack({"train": numbered(3)}, tmp_path / "one.parquet")
    swapped(folder, tmp_path / "one.parquet")
    with pytest.raises(ShardError, match=rf"{SECOND} holds 3 people of the split 'train' but announces 4"):
        load_records(folder)


def test_a_changed_bit_is_noticed(folder: Path) -> None:
    column = pq.ParquetFile(folder / SECOND).metadata.row_group(0).column(0)
    damaged = bytearray((folder / SECOND).read_bytes())
    damaged[column.data_page_offset + column.total_compressed_size - 9] ^= 16
    (folder / SECOND).write_bytes(damaged)
    with pytest.raises(ShardError, match=rf"{SECOND} is damaged near row 0; pack it again"):
        load_records(folder)


def test_folders_without_a_set_or_with_several(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match="empty is a folder without packs"):
        open_set(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"there is no pack that matches .*none\*\.parquet"):
        open_set(tmp_path / "none*.parquet")
    with pytest.raises(FileNotFoundError, match=r"there is no index .*none\.index\.json; `hourglass "):
        open_set(tmp_path / "none.index.json")
    shutil.copy(folder / "people.index.json", folder / "second.index.json")
    with pytest.raises(ShardError, match=r"several sets of shards; give one index: people.index.json, s"):
        open_set(folder)
    for index in folder.glob("*.json"):
        index.unlink()
    shutil.copy(folder / SECOND, folder / "people-00001-of-00004.parquet")
    with pytest.raises(ShardError, match="holds people in 3 and 4 shards; keep one of the sets"):
        open_set(folder)


def test_an_unknown_split_names_those_inside(folder: Path) -> None:
    with pytest.raises(ValueError, match="set has no split 'test'; it has train, val"):
        load_records(folder, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hourglass-shards-9"}, "its format is 'hourglass-shards-9', this version reads"),
        ({"shards": []}, "people don't add up"),
        ({"shards": None}, "its values are of other kinds"),
        ({"facts": {}}, "no 'format'"),
        ({"shards": [{"file": "../people.parquet", "bytes": 1, "people": {}}]}, "is no name of a shard"),
        ({"shards": [{"file": "/etc/passwd", "bytes": 1, "people": {}}]}, "is no name of a shard"),
        ({"shards": [{"file": "a.parquet", "bytes": -1, "people": {}}]}, "must be whole numbers"),
        ({"shards": [{"file": "a.parquet", "bytes": 1, "people": {"train": 1.5}}]}, "must be whole numbers"),
    ],
)
def test_a_damaged_index(folder: Path, change: dict[str, Any], message: str) -> None:
    index = folder / "people.index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(ShardError, match=rf"people.index.json is damaged, or no index of shards .*{message}"):
        open_set(folder)


def test_a_shard_named_twice_is_refused(folder: Path) -> None:
    index = folder / "people.index.json"
    raw = json.loads(index.read_text())
    raw["shards"][1] = raw["shards"][0]
    index.write_text(json.dumps(raw))
    with pytest.raises(ShardError, match="it names a shard twice"):
        open_set(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000])
def test_an_index_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "people.index.json").write_bytes(content)
    with pytest.raises(ShardError, match=r"people.index.json is damaged, or no index of shards"):
        open_set(folder)


def complaint_about(index: Path) -> bool | None:
    """Whether the sentence is one line that names the place; None where everybody can be read."""
    try:
        found = open_set(index)
        people = sum(len(load_records(index, split)) for split in found.facts.people)
    except (ValueError, FileNotFoundError) as error:
        return "\n" not in str(error) and str(index.parent) in str(error)
    return None if people == 15 else False


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ANYTHING, seed=st.integers(0, 10_000))
def test_any_value_anywhere_in_the_index_is_a_sentence_or_harmless(
    made: Path, tmp_path_factory: pytest.TempPathFactory, value: Any, seed: int
) -> None:
    raw = json.loads((made / "people.index.json").read_text())
    rng = random.Random(seed)
    place, key = raw, rng.choice(list(raw))
    while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    place[key] = value
    index = made / "fuzzed.json"
    index.write_text(json.dumps(raw))
    assert complaint_about(index) in (None, True)
    index.unlink()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_any_byte_of_the_index_changed_is_a_sentence_or_harmless(made: Path, place: float, byte: int) -> None:
    content = bytearray((made / "people.index.json").read_bytes())
    content[int(place * len(content))] = byte
    index = made / "fuzzed.json"
    index.write_bytes(content)
    assert complaint_about(index) in (None, True)
    index.unlink()
