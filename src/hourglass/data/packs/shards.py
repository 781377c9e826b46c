"""A set of packs that belong together, and how people are read out of it: shards, here or at an address.

`name-00000-of-00008.parquet` to `name-00007-of-00008.parquet`, each a pack of its own, and `name.index.json`,
which says how many people of each split every shard has. `open_pack.py` finds them, `stream.py` trains
from them. Addresses (`https://`, `s3://`, `hf://` and whatever else fsspec knows) are read group by group.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hourglass.core.files import reason
from hourglass.core.structs import PersonRecord
from hourglass.data.packs.pack_file import (
    PackError,
    PackFacts,
    facts_of,
    open_parquet,
    parquet,
    records_of_group,
    rows_by_group,
)

WAITS_S = (0.5, 2.0, 8.0)
"""Between attempts to read from an address; then it is an error."""

Value = TypeVar("Value")


class ShardError(PackError):
    """A shard that is missing, damaged, foreign or out of reach; the message names it."""


@dataclass(frozen=True)
class Shard:
    """One file of a set.

    Args:
        address: a path here, or an address with `://`.
        people: how many, by split.
        bytes: its size by the index; 0 where there is none.
    """

    address: str
    people: dict[str, int]
    bytes: int = 0


@dataclass(frozen=True)
class ShardSet:
    """Shards of one kind. `where` is what the user gave; `facts.people` are those of all shards."""

    where: str
    facts: PackFacts
    shards: tuple[Shard, ...]
    # Footers that were read, by the number of the shard: opening again costs nothing.
    footers: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def count(self, split: str) -> int:
        """People of a split in all shards. Raises ValueError naming the splits when there is no such one."""
        if split not in self.facts.people:
            raise ValueError(f"{self.where} has no split {split!r}; it has {', '.join(self.facts.people)}")
        return self.facts.people[split]


def remote(address: str) -> bool:
    """Whether an address is of a network, and no path."""
    return "://" in address


def look(address: str) -> tuple[PackFacts, Any]:
    """Facts and footer of one file. Raises as `open_shard`."""
    return _with_file(address, None, lambda f: (facts_of(f.schema_arrow, address), f.metadata), "at its end")


def check_kin(facts: PackFacts, where: str, found: PackFacts, address: str) -> None:
    """Raise ShardError naming both when a shard was not packed as the rest."""
    for what in ("skeleton", "crop_px", "margin"):
        want, got = getattr(facts, what), getattr(found, what)
        if want != got:
            if what == "skeleton":
                want, got = want.name, got.name
            raise ShardError(
                f"{address} was packed with {what} {got} and {where} with {want}; pack them together"
            )


def open_shard(found: ShardSet, number: int, split: str) -> list[int]:
    """How many people of a split each group of rows of one shard has.

    Raises ShardError or FileNotFoundError, naming the shard, when it can't be read or is not what the set
    says.
    """
    shard = found.shards[number]
    if number not in found.footers:
        facts, footer = look(shard.address)
        check_kin(found.facts, found.where, facts, shard.address)
        found.footers[number] = footer
    counts = _with_file(
        shard.address, found.footers[number], lambda file: rows_by_group(file, split), "at its splits"
    )
    if sum(counts) != shard.people.get(split, 0):
        raise ShardError(
            f"{shard.address} holds {sum(counts)} people of the split {split!r} but announces "
            f"{shard.people.get(split, 0)}; pack it again"
        )
    return counts


def read_group(found: ShardSet, number: int, group: int, split: str) -> list[PersonRecord]:
    """The people of a split in one group of rows of a shard that `open_shard` has opened.

    Raises ShardError naming the shard, and ValueError for a damaged person naming also the row and the photo.
    """
    address, footer = found.shards[number].address, found.footers[number]
    first = sum(footer.row_group(i).num_rows for i in range(group))
    skeleton = found.facts.skeleton
    return _with_file(
        address,
        footer,
        lambda file: records_of_group(file, address, group, first, skeleton, split),
        f"near row {first}",
    )


def _with_file(address: str, footer: Any, use: Callable[[Any], Value], place: str) -> Value:
    """`use` an open file; one at an address several times, where its network or its bytes fail."""
    import pyarrow as pa

    if remote(address):

        def attempt() -> Value:
            with open_address(address) as stream, parquet(stream, footer) as file:
                return use(file)

        return attempts(attempt, f"{address} {place}")
    try:
        with open_parquet(Path(address), footer) as file:
            return use(file)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ShardError(
            f"{address} is damaged {place}; pack it again ({reason(error, first_line=True)})"
        ) from error


def open_address(address: str) -> Any:
    """A file of fsspec that fetches just the ranges that are asked for."""
    import fsspec

    options: dict[str, Any] = {}
    if address.startswith(("http://", "https://")):
        import aiohttp

        # Only silence counts: a large group on a slow line is no error.
        wait = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)
        options = {"client_kwargs": {"timeout": wait}, "cache_type": "none"}
    stream = fsspec.open(address, "rb", **options).open()
    # What fsspec can only read from its beginning to its end has no size.
    if getattr(stream, "size", None) is None:
        stream.close()
        raise ShardError(f"the server of {address} can't send parts of a file; fetch it and give its path")
    return stream


def attempts(act: Callable[[], Value], what: str) -> Value:
    """`act()`, again after each wait of `WAITS_S` when it fails; then ShardError saying `what` failed."""
    for wait in (*WAITS_S, None):
        try:
            return act()
        except PackError:
            # What a file says is no matter of luck; what arrives of it is.
            raise
        except ImportError as error:
            raise ShardError(f"cannot read {what}: {reason(error, first_line=True)}") from error
        except Exception as error:  # whatever a network, a server and fsspec's many clients raise
            behind: Exception = error
            if isinstance(error, FileNotFoundError):
                # fsspec says so too when a server can't be reached or has a bad moment.
                cause = error.__cause__
                if not isinstance(cause, Exception) or _gone(cause):
                    raise ShardError(f"cannot read {what}: there is no such file") from error
                behind = cause
            if wait is None:
                tries = len(WAITS_S) + 1
                told = reason(behind, first_line=True)
                raise ShardError(f"cannot read {what} after {tries} attempts ({told})") from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _gone(cause: Exception) -> bool:
    return isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410)
