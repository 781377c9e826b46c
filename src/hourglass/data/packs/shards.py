"""A set of packs that belong together, and how people are read out of it: shards, here or at an address.

`name-00000-of-00008.parquet` to `name-00007-of-00008.parquet`, each a pack of its own, and `name.index.json`,
which says how many people of each split every shard has. `open_pack.py` finds them, `stream.py` trains
from them. Addresses (`https://`, `s3://`, `hf://` and whatever else fsspec knows) are read group by group.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hourglass.core.files import reason
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.packs.pack_file import (
    PackError,
    PackFacts,
    facts_of,
    open_parquet,
    parquet,
    records_of_group,
    rows_by_group,
)
from hourglass.recipe.recipe import AugmentRecipe

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


_READERS = 4
"""Groups that are read at the same time: over a network each of them waits."""


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of a split in one group of one shard; the first is the split's row `index`."""

    shard: int
    group: int
    start: int
    stop: int
    index: int

    def __len__(self) -> int:
        return self.stop - self.start


class StreamedCrops:
    """Augmented crops out of shards, for `loader.training_batches` in place of `TrainingCrops`.

    A person's index is its row among those of the split, shard after shard, as `open_pack.load_records` has
    them, so that a crop is the same to the bit whether it is streamed or not.

    Args:
        shards: what `open_pack.open_set` found.
        split: which people.
        input_px: side of a crop.
        seed: of order and views.
        buffer: people who are mixed at a time; twice as many encoded crops are held in memory.

    Raises ValueError for a split that is not there or a buffer below 1.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: str,
        input_px: int,
        augment: AugmentRecipe,
        seed: int,
        buffer: int = 4096,
    ) -> None:
        if buffer < 1:
            raise ValueError(f"the buffer must hold at least one person, not {buffer}")
        self.shards, self.split, self.seed, self.buffer = shards, split, seed, buffer
        self.input_px, self.augment = input_px, augment
        self.count = shards.count(split)

    def __len__(self) -> int:
        return self.count

    @property
    def skeleton(self) -> Skeleton:
        return self.shards.facts.skeleton

    def walk(
        self, batch_size: int, start_step: int, rank: int = 0, ranks: int = 1, accumulate: int = 1
    ) -> Generator[tuple[TrainingCrops, list[tuple[int, int]]], None, None]:
        """Endless batches from `start_step` on: for each its keys (epoch, index), and crops that know them.

        An epoch is `count // batch_size` steps on every rank; the people left over change from epoch to
        epoch. With `accumulate` a step's share comes as so many micro-batches.

        Raises ValueError when shards or people are too few or the batch can't be shared evenly, and while
        reading what `shards.read_group` raises.
        """
        self.check(batch_size, ranks)
        share, per_epoch = batch_size // ranks, self.count // batch_size
        skip = start_step % per_epoch * share
        epoch, length = start_step // per_epoch, per_epoch * share
        with closing(self.people(epoch, skip, length, rank, ranks)) as people:
            while True:
                step = [next(people) for _ in range(share)]
                for part in range(accumulate):
                    keys = [(epoch, index) for epoch, index, _ in step[part::accumulate]]
                    records = {index: record for _, index, record in step[part::accumulate]}
                    yield TrainingCrops(records, self.input_px, self.augment, self.seed), keys

    def check(self, batch_size: int, ranks: int) -> None:
        """Raise ValueError, with what to do, when this many ranks can't share these shards."""
        files = sum(1 for shard in self.shards.shards if shard.people.get(self.split))
        for ok, problem in (
            (
                files >= ranks,
                f"has {files} shards with {self.split!r} people for {ranks} processes; pack it "
                f"with --shards {ranks} or more, or train on fewer",
            ),
            (
                batch_size % ranks == 0,
                f"is shared by {ranks} processes, which a batch of {batch_size} can't be",
            ),
            (
                self.count >= batch_size,
                f"has {self.count} {self.split!r} people, fewer than one batch of {batch_size}",
            ),
        ):
            if not ok:
                raise ShardError(f"{self.shards.where} {problem}")

    def pieces(self, rank: int, ranks: int) -> list[Piece]:
        """What one rank reads in every epoch. Opens its own shards only; raises as `shards.open_shard`."""
        low, high = (self.count * r // ranks for r in (rank, rank + 1))
        pieces, first = [], 0
        for number, shard in enumerate(self.shards.shards):
            people = shard.people.get(self.split, 0)
            if people and first < high and first + people > low:
                row = first
                for group, rows in enumerate(open_shard(self.shards, number, self.split)):
                    start, stop = max(low - row, 0), min(high - row, rows)
                    if start < stop:
                        pieces.append(Piece(number, group, start, stop, row + start))
                    row += rows
            first += people
        return pieces

    def blocks(self, pieces: Sequence[Piece], epoch: int, rank: int) -> list[list[Piece]]:
        """The pieces in the order of an epoch, as many together as fill the buffer."""
        blocks: list[list[Piece]] = []
        people = sum(map(len, pieces))
        # Of one size, so that no small rest is left to be mixed with itself alone.
        limit = math.ceil(people / math.ceil(people / self.buffer))
        filled = limit
        for number in _order(self.seed, epoch, rank, 0, len(pieces)):
            if filled >= limit:
                blocks.append([])
                filled = 0
            blocks[-1].append(pieces[number])
            filled += len(pieces[number])
        return blocks

    def people(
        self, epoch: int, skip: int, length: int, rank: int, ranks: int
    ) -> Generator[tuple[int, int, PersonRecord], None, None]:
        """Epoch, index and record of a rank's people, `length` an epoch, the first without `skip` of them."""
        pieces = self.pieces(rank, ranks)
        plans = self._plans(pieces, epoch, skip, length, rank)
        with (
            ThreadPoolExecutor(1, "hourglass-block") as ahead,
            ThreadPoolExecutor(_READERS, "hourglass-shards") as readers,
        ):

            def load(plan: tuple[int, list[Piece], int, int, int]) -> list[tuple[int, int, PersonRecord]]:
                epoch, block, number, skip, stop = plan
                groups = readers.map(self._read, block)
                people = [(epoch, *person) for group in groups for person in group]
                order = _order(self.seed, epoch, rank, 1 + number, len(people))
                return [people[i] for i in order[skip:stop]]

            coming = ahead.submit(load, next(plans))
            while True:
                people = coming.result()
                coming = ahead.submit(load, next(plans))
                # Taken out one by one: who was given away is not held here.
                people.reverse()
                while people:
                    yield people.pop()

    def _plans(
        self, pieces: Sequence[Piece], epoch: int, skip: int, length: int, rank: int
    ) -> Iterator[tuple[int, list[Piece], int, int, int]]:
        """Endless blocks that hold anyone who is still to come: epoch, block, its number, first and end."""
        while True:
            first = 0
            for number, block in enumerate(self.blocks(pieces, epoch, rank)):
                people = sum(map(len, block))
                if first + people > skip and first < length:
                    yield epoch, block, number, max(0, skip - first), min(people, length - first)
                first += people
            epoch, skip = epoch + 1, 0

    def _read(self, piece: Piece) -> list[tuple[int, PersonRecord]]:
        records = read_group(self.shards, piece.shard, piece.group, self.split)[piece.start : piece.stop]
        return list(enumerate(records, piece.index))


def _order(seed: int, epoch: int, rank: int, block: int, count: int) -> list[int]:
    order = np.random.Generator(np.random.PCG64([seed, epoch, rank, block, 1])).permutation(count)
    return [int(number) for number in order]
