"""Writes a set of shards: several packs and their index."""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hourglass.core.files import write_text_atomically
from hourglass.core.structs import PersonRecord
from hourglass.data.packs.open_pack import index_name, index_text, shard_name
from hourglass.data.packs.pack_file import PackFacts
from hourglass.data.packs.shards import Shard
from hourglass.data.packs.write_pack import (
    Failure,
    PackJob,
    PackReport,
    PeopleBySplit,
    Progress,
    check_job,
    fingerprint,
    nobody,
    pack_file,
    row_of,
)

MOST = 99_999
"""Shards of a set: their names have five digits."""

_SAMPLED = 24
"""People who are encoded to tell how large a shard will be."""


def write_shards(
    records_by_split: PeopleBySplit,
    out: Path,
    shards: int = 0,
    shard_mb: float = 0.0,
    crop_px: int = 256,
    quality: int = 0,
    margin: float = 1.5,
    workers: int = 2,
    progress: Progress | None = None,
    source: str = "",
    codec: str = "jpeg",
) -> PackReport:
    """Deal every split's people to shards, one by one, and write a pack for each, and at the end the index.

    For `people.parquet` the shards are `people-00000-of-00008.parquet` and so on, beside `people.index.json`.
    After a kill the same call goes on: whole shards are kept, and the one in work resumes as a pack does.

    Args:
        shards: how many; or
        shard_mb: about how many million bytes each should have.
        others: as of `write_pack.write_pack`.

    Raises as `write_pack.write_pack`, and ValueError for a number of shards that is none.
    """
    started = time.monotonic()
    job = check_job(records_by_split, crop_px, quality, margin, workers, codec)
    if (shards > 0) == (shard_mb > 0):
        raise ValueError("give either the number of shards or the size of one in MB")
    everyone = [record for records in records_by_split.values() for record in records]
    total = shards or _shards_of(everyone, job, shard_mb)
    if total > min(MOST, len(everyone)):
        raise ValueError(f"{total} shards are too many for {len(everyone)} people")
    people = [(split, record) for split, records in records_by_split.items() for record in records]
    name = fingerprint(people, job, f"{total} {source}")
    notes, index = out.with_name(f".{out.name}.shards"), out.with_name(index_name(out))
    # One of before would tell of shards that are being replaced.
    index.unlink(missing_ok=True)
    written: list[Shard] = []
    failed: list[Failure] = []
    resumed = done = 0
    for number in range(total):
        dealt = {split: records[number::total] for split, records in records_by_split.items()}
        dealt = {split: records for split, records in dealt.items() if records}
        path, note = out.with_name(shard_name(out, number, total)), notes / f"{number:05d}.json"
        count = sum(map(len, dealt.values()))
        if (report := _kept(note, path, name)) is not None:
            resumed += count
        else:
            shifted = _shifted(progress, done, len(everyone))
            report = pack_file(dealt, path, job, workers, shifted, source, may_be_empty=True)
            resumed += report.resumed
            _keep(note, report, name, out)
        done += count
        if progress is not None:
            progress(done, len(everyone))
        written.append(Shard(str(path), report.people, report.bytes))
        failed += report.failed
    packed = Counter[str]()
    for shard in written:
        packed.update(shard.people)
    if not packed.total():
        for shard in written:
            Path(shard.address).unlink()
        shutil.rmtree(notes, ignore_errors=True)
        raise ValueError(nobody(failed))
    splits = {split: packed[split] for split in records_by_split}
    facts = PackFacts(everyone[0].skeleton, crop_px, margin, job.quality, source, splits, codec)
    write_text_atomically(index, index_text(facts, written), name=out)
    shutil.rmtree(notes, ignore_errors=True)
    size = sum(shard.bytes for shard in written)
    return PackReport(splits, failed, resumed, size, time.monotonic() - started)


def _shards_of(people: Sequence[PersonRecord], job: PackJob, shard_mb: float) -> int:
    """How many shards of this size there will be, told by people from all over."""
    sizes = []
    for record in people[:: max(1, len(people) // _SAMPLED)]:
        row = row_of(("", record), job)
        if not isinstance(row, Failure):
            # A person's numbers come to about so much.
            sizes.append(len(row["image"]["bytes"]) + 300)
    mean = sum(sizes) / len(sizes) if sizes else 1.0
    return max(1, math.ceil(mean * len(people) / (shard_mb * 1e6)))


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _keep(note: Path, report: PackReport, name: str, out: Path) -> None:
    """Note that a shard is whole, and of which job."""
    note.parent.mkdir(exist_ok=True)
    write_text_atomically(note, json.dumps({"fingerprint": name, **asdict(report)}), name=out)


def _kept(note: Path, path: Path, name: str) -> PackReport | None:
    """The report of a shard that an earlier run of this job has finished."""
    try:
        raw = json.loads(note.read_text(encoding="utf-8"))
        if raw.pop("fingerprint") != name or path.stat().st_size != raw["bytes"]:
            return None
        return PackReport(**{**raw, "failed": [Failure(**failure) for failure in raw["failed"]]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
