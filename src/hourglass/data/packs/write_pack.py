"""Writes the store of crops that `open_pack.py` reads."""

import hashlib
import io
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hourglass.core import geometry
from hourglass.core.files import reason, write_atomically, write_text_atomically
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.images import ImageError, read_image
from hourglass.data.packs.open_pack import index_name, index_text, shard_name
from hourglass.data.packs.pack_file import CODECS, FORMAT, METADATA_KEY, PackFacts, schema
from hourglass.data.packs.shards import Shard

CHUNK = 256
"""People in one group of rows, and lost at most when packing is killed."""

QUALITY = {"webp": 70, "jpeg": 75}
"""What comes to 35 dB on LSPET's crops: JPEG takes 1.6 times the space, and a third of the time to decode."""

# WebP's own 0 to 6: the most takes twice the default's time, once, and saves 6 % of the file for good.
_OPTIONS: dict[str, dict[str, Any]] = {"webp": {"method": 6}, "jpeg": {"optimize": True}}

PeopleBySplit = dict[str, list[PersonRecord]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Failure:
    """A person whose photo could not be read, and why."""

    split: str
    image_id: str
    person_id: int
    reason: str


@dataclass(frozen=True)
class PackReport:
    """What `write_pack` did.

    Args:
        people: packed, by split.
        failed: left out because their photo can't be read.
        resumed: how many of the people a killed run had packed already.
        bytes: size of the file.
        seconds: wall time.
    """

    people: dict[str, int]
    failed: list[Failure]
    resumed: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class PackJob:
    """How people are packed: the settings of `write_pack`, checked."""

    crop_px: int
    quality: int
    margin: float
    codec: str


def write_pack(
    records_by_split: PeopleBySplit,
    out: Path,
    crop_px: int = 256,
    quality: int = 0,
    margin: float = 1.5,
    workers: int = 2,
    progress: Progress | None = None,
    source: str = "",
    codec: str = "webp",
) -> PackReport:
    """Cut out every person and write one Parquet file, in place only when it is whole.

    Finished chunks wait in a hidden folder beside `out`; after a kill the same call goes on from there.

    Args:
        crop_px: largest side of a crop.
        quality: of the pictures, 1 to 100; 0 is the codec's own in `QUALITY`.
        margin: side of the crop over the person's `side_px`.
        workers: threads; reading, warping and encoding release the interpreter lock.
        progress: called with (people done, people in all).
        source: what is packed, in words, for the file's metadata.
        codec: `webp` (small) or `jpeg` (quick to decode).

    Raises ValueError for settings that make no pack, or when no photo at all can be read; OSError, naming
    `out`, when it can't be written.
    """
    job = check_job(records_by_split, crop_px, quality, margin, workers, codec)
    return pack_file(records_by_split, out, job, workers, progress, source)


def pack_file(
    records_by_split: PeopleBySplit,
    out: Path,
    job: PackJob,
    workers: int,
    progress: Progress | None,
    source: str,
    may_be_empty: bool = False,
) -> PackReport:
    """As `write_pack`, of settings that are checked; where it `may_be_empty`, a file without anyone too."""
    started = time.monotonic()
    if out.exists() and not out.is_file():
        raise ValueError(f"cannot write {out}: it is a folder or no regular file")
    people = [(split, record) for split, records in records_by_split.items() for record in records]
    try:
        parts = _parts_folder(out, fingerprint(people, job, source))
    except OSError as error:
        raise OSError(f"cannot write {out}: {reason(error)}") from error
    failed: list[Failure] = []
    files: list[Path] = []
    resumed = 0
    with ThreadPoolExecutor(workers) as pool:
        for start, stop in _chunks(people):
            chunk = people[start:stop]
            files.append(parts / f"{start:08d}.parquet")
            if _rows(files[-1]) == len(chunk):
                resumed += len(chunk)
            else:
                rows = []
                for done, row in enumerate(pool.map(lambda person: row_of(person, job), chunk), start + 1):
                    if isinstance(row, Failure):
                        failed.append(row)
                    else:
                        rows.append(row)
                    if progress is not None:
                        progress(done, len(people))
                _write(files[-1], out, rows)
            if progress is not None:
                progress(stop, len(people))
    lost = Counter(failure.split for failure in failed)
    packed = {split: len(records) - lost[split] for split, records in records_by_split.items()}
    if not sum(packed.values()) and not may_be_empty:
        shutil.rmtree(parts, ignore_errors=True)
        raise ValueError(nobody(failed))
    skeleton = people[0][1].skeleton
    facts = PackFacts(skeleton, job.crop_px, job.margin, job.quality, source, packed, job.codec)
    _merge(files, out, facts)
    shutil.rmtree(parts, ignore_errors=True)
    return PackReport(packed, failed, resumed, out.stat().st_size, time.monotonic() - started)


def nobody(failed: list[Failure]) -> str:
    """What to say when no photo could be read."""
    return f"none of the {len(failed)} people could be packed; the first: {failed[0].reason}"


def _chunks(people: list[tuple[str, PersonRecord]]) -> Iterator[tuple[int, int]]:
    """Runs of up to `CHUNK` people of one split: a group of rows is of one split, so that others skip it."""
    start = 0
    for stop in range(1, len(people) + 1):
        if stop == len(people) or stop - start == CHUNK or people[stop][0] != people[start][0]:
            yield start, stop
            start = stop


def cut_out(
    image: npt.NDArray[np.uint8], record: PersonRecord, crop_px: int, margin: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """A person's crop (S, S, 3), S at most `crop_px`, and the (3, 3) matrix from the photo to it.

    A person who fits in fewer pixels (80 % of LSPET) is moved by whole pixels and keeps the photo's own:
    enlarging would cost space and sharpness.
    """
    side = record.side_px * margin
    if math.ceil(side) > crop_px:
        matrix = geometry.crop_matrix(record.center, side, crop_px)
        return geometry.warp(image, matrix, crop_px), matrix
    own_px = math.ceil(side)
    half = (own_px - 1) / 2
    matrix = geometry.crop_matrix(np.round(record.center - half) + half, own_px, own_px)
    return geometry.warp(image, matrix, own_px), matrix


def check_job(
    people: PeopleBySplit, crop_px: int, quality: int, margin: float, workers: int, codec: str
) -> PackJob:
    """The settings of a pack. Raises ValueError naming the one, or the split, that makes none."""
    for ok, problem in (
        (8 <= crop_px <= 4096, f"the crop's side must be 8 to 4096 pixels, not {crop_px}"),
        (0 <= quality <= 100, f"the quality must be 1 to 100, not {quality} (0 is the codec's own)"),
        (1 <= margin <= 4, f"the margin must be 1 to 4, not {margin}"),
        (workers >= 1, f"there must be at least one worker, not {workers}"),
        (codec in CODECS, f"the codec {codec!r} is not one of {', '.join(CODECS)}"),
    ):
        if not ok:
            raise ValueError(problem)
    for split, records in people.items():
        if not records:
            raise ValueError(f"there is nobody to pack in the split {split!r}")
    skeletons = {record.skeleton for records in people.values() for record in records}
    if len(skeletons) != 1:
        names = ", ".join(sorted(s.name for s in skeletons)) or "none"
        raise ValueError(f"a pack has one skeleton; these people have {names}")
    return PackJob(crop_px, quality or QUALITY[codec], margin, codec)


def row_of(person: tuple[str, PersonRecord], job: PackJob) -> dict[str, Any] | Failure:
    """A person as a row of `schema`, or why there is none."""
    split, record = person
    name = str(record.image) if isinstance(record.image, Path) else record.image_id
    try:
        image = read_image(record.image, name)
    except ImageError as error:
        return Failure(split, record.image_id, record.person_id, str(error))
    crop, matrix = cut_out(image, record, job.crop_px, job.margin)
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, job.codec.upper(), quality=job.quality, **_OPTIONS[job.codec])
    # Where nothing is labelled the coordinates mean nothing, in the crop as in the photo.
    keypoints = np.where(record.labelled[:, None], geometry.apply(matrix, record.keypoints), 0)
    return {
        "image": {"bytes": buffer.getvalue(), "path": f"{record.image_id}.{record.person_id}.{job.codec}"},
        "image_id": record.image_id,
        "person_id": record.person_id,
        "split": split,
        "keypoints": keypoints.tolist(),
        "visibility": record.visibility.tolist(),
        "center": geometry.apply(matrix, record.center).tolist(),
        "side_px": record.side_px * float(matrix[0, 0]),
        "crop_to_orig": np.linalg.inv(matrix)[:2].ravel().tolist(),
        "weight": None if record.weight is None else record.weight.tolist(),
    }


def fingerprint(people: list[tuple[str, PersonRecord]], job: PackJob, source: str) -> str:
    """Tells whether the chunks of a killed run belong to this one."""
    digest = hashlib.sha256(repr((FORMAT, CHUNK, job, source)).encode())
    for split, r in people:
        image = r.image if isinstance(r.image, bytes) else str(r.image.absolute()).encode()
        facts = (split, r.image_id, r.person_id, r.side_px, r.skeleton.to_dict())
        weight = b"" if r.weight is None else r.weight
        for piece in (repr(facts).encode(), image, r.keypoints, r.visibility, r.center, weight):
            digest.update(piece if isinstance(piece, bytes) else np.ascontiguousarray(piece).tobytes())
    return digest.hexdigest()


def _parts_folder(out: Path, fingerprint: str) -> Path:
    """The folder of finished chunks, emptied if they belong to another job."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = out.with_name(f".{out.name}.parts")
    job = parts / "job.json"
    try:
        same = json.loads(job.read_text())["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        job.write_text(json.dumps({"fingerprint": fingerprint}))
    return parts


def _rows(part: Path) -> int:
    """Rows of a finished chunk; -1 where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(part).num_rows)
    except (OSError, pa.ArrowException):
        return -1


def _write(part: Path, out: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(rows, schema=schema())
    _parquet(part, out, schema(), iter([table]))


def _merge(files: list[Path], out: Path, facts: PackFacts) -> None:
    import pyarrow.parquet as pq

    with_facts = schema().with_metadata({METADATA_KEY: facts.to_json().encode()})
    _parquet(out, out, with_facts, (pq.read_table(file) for file in files))


def _parquet(path: Path, out: Path, columns: Any, tables: Iterator[Any]) -> None:
    """Write tables, each a group of rows, beside `path`, then put the file in place in one step."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(part: Path) -> None:
        # A dictionary of pictures would only cost memory.
        with pq.ParquetWriter(
            part, columns, compression="zstd", use_dictionary=["split"], write_page_checksum=True
        ) as writer:
            for table in tables:
                if table.num_rows:
                    writer.write_table(table.cast(columns))

    write_atomically(path, write, (pa.ArrowException,), out)


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
