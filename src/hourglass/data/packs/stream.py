"""Training crops that are read from shards as they are needed, one set of rows for each rank.

Nobody is seen twice in an epoch and nobody by two ranks: the people of a split, shard after shard, are cut
into as many runs as there are ranks. A rank reads its run group by group, in an order of its own that
changes with the epoch, gathers groups until they fill the buffer, and draws from it without returning.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.packs.shards import ShardError, ShardSet, open_shard, read_group
from hourglass.recipe.recipe import AugmentRecipe

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
