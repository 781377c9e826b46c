import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hourglass.data.packs.open_pack import load_records, open_set, read_facts
from hourglass.data.packs.shards import open_shard
from hourglass.data.packs.write_pack import write_shards
from shard_cases import numbered, sharded, small_groups


def test_everyone_is_in_one_shard_and_the_splits_are_spread(tmp_path: Path) -> None:
    report = sharded(tmp_path)
    assert report.people == {"train": 43, "val": 9}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *(f"people-{n:05d}-of-00005.parquet" for n in range(5)),
        "people.index.json",
    ]
    for split, first, count in (("train", 0, 43), ("val", 1000, 9)):
        whole = load_records(tmp_path, split)
        assert sorted(r.person_id for r in whole) == list(range(first, first + count))
        alone = [load_records(tmp_path / f"people-{n:05d}-of-00005.parquet", split) for n in range(5)]
        assert [r.person_id for records in alone for r in records] == [r.person_id for r in whole]
        sizes = [len(records) for records in alone]
        assert max(sizes) - min(sizes) <= 1
    assert report.bytes == sum(p.stat().st_size for p in tmp_path.glob("*.parquet"))


def test_folder_glob_index_and_address_are_the_same_set(tmp_path: Path) -> None:
    sharded(tmp_path)
    ways = (str(tmp_path / "people-*.parquet"), tmp_path / "people.index.json", f"file://{tmp_path}")
    want = [(r.person_id, r.image) for r in load_records(tmp_path)]
    for way in ways:
        assert [(r.person_id, r.image) for r in load_records(way)] == want
        assert read_facts(way) == read_facts(tmp_path)
    (tmp_path / "people.index.json").unlink()
    assert [(r.person_id, r.image) for r in load_records(tmp_path)] == want


def test_what_a_set_says_about_itself(tmp_path: Path) -> None:
    sharded(tmp_path, crop_px=40, margin=1.25, source="drawn", codec="webp")
    facts = read_facts(tmp_path)
    assert (facts.crop_px, facts.margin, facts.quality, facts.codec) == (40, 1.25, 70, "webp")
    assert (facts.source, facts.people) == ("drawn", {"train": 43, "val": 9})


def test_shards_hold_jpeg_unless_told_otherwise(tmp_path: Path) -> None:
    sharded(tmp_path)
    assert (read_facts(tmp_path).codec, read_facts(tmp_path).quality) == ("jpeg", 75)
    pictures = [record.image for record in load_records(tmp_path)]
    assert all(isinstance(picture, bytes) and picture[:2] == b"\xff\xd8" for picture in pictures)


def test_groups_of_rows_are_of_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that training never fetches a validation picture."""
    small_groups(monkeypatch)
    sharded(tmp_path)
    found = open_set(tmp_path)
    for number in range(5):
        train, val = (open_shard(found, number, split) for split in ("train", "val"))
        assert all((a == 0) != (b == 0) for a, b in zip(train, val, strict=True))
        assert max(train) <= 4


def test_the_number_of_shards_by_their_size(tmp_path: Path) -> None:
    write_shards({"train": numbered(60)}, tmp_path / "one.parquet", shard_mb=1)
    assert len(list(tmp_path.glob("one-*"))) == 1
    write_shards({"train": numbered(60)}, tmp_path / "more.parquet", shard_mb=0.02)
    sizes = [p.stat().st_size for p in tmp_path.glob("more-*")]
    # Of pictures this small the file's own footer is the larger part.
    assert 3 <= len(sizes) <= 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either the number of shards or the size of one in MB"),
        ({"shards": 2, "shard_mb": 1.0}, "give either the number of shards or the size of one in MB"),
        ({"shards": -1}, "give either the number of shards"),
        ({"shards": 4}, "4 shards are too many for 3 people"),
        ({"shard_mb": 1e-9}, "shards are too many for 3 people"),
        ({"shards": 2, "codec": "gif"}, "codec 'gif' is not one of webp, jpeg"),
    ],
)
def test_numbers_of_shards_that_are_none(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_shards({"train": numbered(3)}, tmp_path / "people.parquet", **options)
    assert not list(tmp_path.iterdir())


def test_progress_counts_everyone_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    sharded(tmp_path, 11, 3, 3, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert (calls[0], calls[-1]) == ((1, 14), (14, 14))


def test_damaged_photos_are_named_and_a_shard_may_stay_empty(tmp_path: Path) -> None:
    people = numbered(6)
    for number in (1, 4):
        object.__setattr__(people[number], "image", b"junk")
    report = write_shards({"train": people}, tmp_path / "people.parquet", 3)
    assert report.people == {"train": 4}
    assert [f.image_id for f in report.failed] == ["photo1.png", "photo4.png"]
    assert [r.person_id for r in load_records(tmp_path)] == [0, 3, 2, 5]
    for person in people:
        object.__setattr__(person, "image", b"junk")
    with pytest.raises(ValueError, match="none of the 6 people could be packed; the first: photo0"):
        write_shards({"train": people}, tmp_path / "none" / "people.parquet", 3)
    assert not list((tmp_path / "none").iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from hourglass.data.packs import write_pack as packing
from shard_cases import sharded
packing.CHUNK = 4
def stop(done, total):
    if done == {done}:
        os.kill(os.getpid(), signal.SIGKILL)
sharded(Path({folder!r}), progress=stop)
"""


@pytest.mark.parametrize(
    ("done", "kept"),
    [pytest.param(3, 0, marks=pytest.mark.slow), (17, 15), pytest.param(38, 37, marks=pytest.mark.slow)],
)
def test_a_killed_run_goes_on_shard_by_shard(
    done: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """52 people in shards of 11, 11, 11, 10 and 9, in groups of 4 of one split."""
    script = KILLED.format(tests=str(Path(__file__).parents[2]), folder=str(tmp_path / "set"), done=done)
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "set" / "people.index.json").exists()
    small_groups(monkeypatch)
    assert sharded(tmp_path / "set").resumed == kept
    sharded(tmp_path / "whole")
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == names
    for name in names:
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_shards_of_another_job_are_packed_again(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    for options in ({"quality": 40}, {"crop_px": 32}, {"source": "other"}):
        with pytest.raises(KeyboardInterrupt):
            sharded(tmp_path, progress=stop)
        assert sharded(tmp_path, **options).resumed == 0
    with pytest.raises(KeyboardInterrupt):
        sharded(tmp_path, progress=stop)
    (tmp_path / "people-00001-of-00005.parquet").write_bytes(b"PAR1")
    assert sharded(tmp_path).resumed == 11


def test_an_index_of_before_is_gone_while_shards_are_replaced(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    sharded(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sharded(tmp_path, train=40, progress=stop)
    assert not (tmp_path / "people.index.json").exists()
    sharded(tmp_path, train=40)
    assert len(load_records(tmp_path)) == 40


def test_a_full_disk_leaves_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"cannot write .*people.*: No space left on device"):
        sharded(tmp_path, 6, 0, 2)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.glob("*.json"))


def test_each_shard_is_a_plain_parquet_file(tmp_path: Path) -> None:
    sharded(tmp_path)
    table = pq.read_table(tmp_path / "people-00002-of-00005.parquet")
    assert table.num_rows == 11
    assert {"image", "keypoints", "split"} <= set(table.column_names)
