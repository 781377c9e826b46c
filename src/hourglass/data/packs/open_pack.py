"""People out of packs: one file, or a set of shards told by its folder, a glob, its index or an address."""

import glob
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hourglass.core.files import reason
from hourglass.core.structs import PersonRecord
from hourglass.data.packs.pack_file import FORMAT, METADATA_KEY, PackFacts, facts_from, schema
from hourglass.data.packs.shards import (
    Shard,
    ShardError,
    ShardSet,
    attempts,
    check_kin,
    look,
    open_address,
    open_shard,
    read_group,
    remote,
)

__all__ = ["FORMAT", "METADATA_KEY", "PackFacts", "load_records", "read_facts", "schema"]


def read_facts(path: Path | str) -> PackFacts:
    """What a pack, or a set of shards, says about itself, without reading crops. Raises as `load_records`."""
    return open_set(path).facts


def load_records(path: Path | str, split: str = "train") -> list[PersonRecord]:
    """The people of one split, shard after shard. Pictures are the crops' WebP or JPEG bytes and coordinates
    the crops' pixels.

    Args:
        path: a pack; or shards: their folder, a glob, their index; or the address of one of these.

    Raises ValueError or FileNotFoundError, naming the file, when it is missing, cut off, damaged, no
    pack, or has no such split; for one damaged row also naming the row and the photo.
    """
    found = open_set(path)
    found.count(split)
    records: list[PersonRecord] = []
    for number, shard in enumerate(found.shards):
        if shard.people.get(split):
            for group, people in enumerate(open_shard(found, number, split)):
                if people:
                    records += read_group(found, number, group, split)
    return records


INDEX_FORMAT = "hourglass-shards-1"
INDEX_END = ".index.json"

_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.parquet")


def index_name(out: Path) -> str:
    """`people.index.json` for a set that was asked for as `people.parquet`."""
    return f"{out.name.removesuffix('.parquet')}{INDEX_END}"


def shard_name(out: Path, number: int, total: int) -> str:
    """`people-00003-of-00008.parquet`."""
    return f"{out.name.removesuffix('.parquet')}-{number:05d}-of-{total:05d}.parquet"


def index_text(facts: PackFacts, shards: Sequence[Shard]) -> str:
    """The index of shards that lie beside it."""
    files = [{"file": Path(s.address).name, "bytes": s.bytes, "people": s.people} for s in shards]
    return json.dumps(
        {"format": INDEX_FORMAT, "facts": json.loads(facts.to_json()), "shards": files}, indent=1
    )


def open_set(where: Path | str) -> ShardSet:
    """A pack file, a folder or glob of shards, an index, or the address of a pack, an index or a glob.

    Raises ValueError or FileNotFoundError, naming the file, when a shard is missing, cut off, of another
    kind than the rest, or when the index is damaged or belongs to other shards.
    """
    text = str(where).removeprefix("file://")
    if remote(text):
        return _open_remote(text)
    path = Path(text)
    if path.is_dir():
        indices = sorted(path.glob(f"*{INDEX_END}"))
        if len(indices) > 1:
            names = ", ".join(index.name for index in indices)
            raise ShardError(f"{path} holds several sets of shards; give one index: {names}")
        if indices:
            return _from_index(str(indices[0]), text)
        files = sorted(path.glob("*.parquet"))
        if not files:
            raise ShardError(f"{path} is a folder without packs; give a pack file, or a folder of shards")
        return _from_files([str(file) for file in files], text)
    if path.suffix == ".json":
        return _from_index(text, text)
    if not path.exists() and any(letter in text for letter in "*?["):
        found = sorted(glob.glob(text))
        if not found:
            raise FileNotFoundError(f"there is no pack that matches {text}")
        return _from_files(found, text)
    return _from_files([text], text)


def _open_remote(where: str) -> ShardSet:
    if where.endswith(".json"):
        return _from_index(where, where)
    if any(letter in where for letter in "*["):
        import fsspec

        def matches() -> list[str]:
            system, path = fsspec.core.url_to_fs(where)
            return sorted(str(system.unstrip_protocol(name)) for name in system.glob(path))

        found = attempts(matches, where)
        if not found:
            raise ShardError(f"there is no pack that matches {where}")
        return _from_files(found, where)
    if not where.endswith(".parquet"):
        raise ShardError(
            f"{where} is no .parquet file; a folder at an address is read by its index, NAME{INDEX_END}"
        )
    return _from_files([where], where)


def _from_files(files: list[str], where: str) -> ShardSet:
    """A set without an index: every footer is read."""
    _check_names(files, where)
    shards: list[Shard] = []
    footers: dict[int, Any] = {}
    people: Counter[str] = Counter()
    first: PackFacts | None = None
    for number, file in enumerate(files):
        facts, footers[number] = look(file)
        if first is None:
            first = facts
        check_kin(first, files[0], facts, file)
        shards.append(Shard(file, facts.people))
        people.update(facts.people)
    assert first is not None
    return ShardSet(where, replace(first, people=dict(people)), tuple(shards), footers)


def _check_names(files: Sequence[str], where: str) -> None:
    """Raise ShardError naming the first shard that is missing; one alone may be asked for."""
    if list(files) == [where]:
        return
    totals: dict[str, set[int]] = {}
    names = {_base(file) for file in files}
    for file in files:
        if match := _NUMBERED.fullmatch(_base(file)):
            totals.setdefault(match["stem"], set()).add(int(match["total"]))
    for stem, found in totals.items():
        if len(found) > 1:
            counts = " and ".join(str(total) for total in sorted(found))
            raise ShardError(f"{_folder(files[0])} holds {stem} in {counts} shards; keep one of the sets")
    for stem, (total,) in totals.items():
        for number in range(total):
            if (name := f"{stem}-{number:05d}-of-{total:05d}.parquet") not in names:
                raise ShardError(f"the shard {_folder(files[0])}{name} is missing; fetch it, or pack again")


def _from_index(index: str, where: str) -> ShardSet:
    text = _read_text(index)
    try:
        raw = json.loads(text)
        if raw["format"] != INDEX_FORMAT:
            raise ValueError(f"its format is {raw['format']!r}, this version reads {INDEX_FORMAT!r}")
        told = dict(raw["facts"])
        told.pop("format")
        facts = facts_from(told)
        shards = tuple(_shard(entry, _folder(index)) for entry in raw["shards"])
        total: Counter[str] = Counter()
        for shard in shards:
            total.update(shard.people)
        if not shards or +total != +Counter(facts.people):
            raise ValueError("the shards' people don't add up to those of the set")
        if len({shard.address for shard in shards}) < len(shards):
            raise ValueError("it names a shard twice")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "its values are of other kinds"
        if isinstance(error, KeyError | ValueError):
            what = f"no {error}" if isinstance(error, KeyError) else reason(error, first_line=True)
        raise ShardError(f"{index} is damaged, or no index of shards ({what}); pack again") from error
    for shard in shards:
        _check_here(shard, index)
    return ShardSet(where, facts, shards)


def _shard(entry: dict[str, Any], folder: str) -> Shard:
    name, size, people = entry["file"], entry["bytes"], entry["people"]
    if not isinstance(name, str) or not name.endswith(".parquet") or {"/", "\\", "\0"} & set(name):
        raise ValueError(f"{name!r} is no name of a shard")
    counts = (size, *people.values())
    if not all(isinstance(number, int) and number >= 0 for number in counts):
        raise ValueError(f"sizes and numbers of people of {name} must be whole numbers")
    return Shard(folder + name, people, size)


def _check_here(shard: Shard, index: str) -> None:
    """Missing and cut shards are told at the start and not after hours; at an address when they are read."""
    if remote(shard.address):
        return
    path = Path(shard.address)
    if not path.is_file():
        raise ShardError(
            f"the shard {path} is missing; fetch it, or pack again ({Path(index).name} names it)"
        )
    size = path.stat().st_size
    if size != shard.bytes:
        what = "is cut off" if size < shard.bytes else "is another file than the index says"
        raise ShardError(f"the shard {path} {what}: {size} bytes, not {shard.bytes}; fetch it, or pack again")


def _read_text(index: str) -> str:
    try:
        if remote(index):

            def fetch() -> bytes:
                with open_address(index) as stream:
                    return bytes(stream.read())

            return attempts(fetch, index).decode()
        return Path(index).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ShardError(f"{index} is damaged, or no index of shards (it is no text); pack again") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no index {index}; `hourglass data pack --shards` writes one"
        ) from error


def _base(address: str) -> str:
    return address.rsplit("/", 1)[-1] if remote(address) else Path(address).name


def _folder(address: str) -> str:
    """What comes before the file's name, its slash included; empty for a file of the working folder."""
    return address[: len(address) - len(_base(address))]
