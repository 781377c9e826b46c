"""Several data sets in one training: their joints under one skeleton, and streams of them together."""

import re
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property

import numpy as np

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord
from hourglass.data.formats.skeleton_map import DERIVED, describe_map
from hourglass.data.loading.augment import whole_parts
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.packs.shards import ShardError, StreamedCrops

_CYCLE = 1000
"""Draws after which the order of streamed sources begins anew; shares are kept to a part in this many."""


class MixedCrops:
    """Augmented crops of several sources of which any is read from shards, for `loader.training_batches`.

    Each rank draws from its own part of each source, in the order of the shares, and goes through a source
    again when it has seen everybody of its part.

    Args:
        sources: crops that know all their people, or that read them from shards.
        shares: of each in the draws; None: people count alike.
        skeleton: the common one, which the others are mapped to.
        weights: how much the labels of each source count.
    """

    def __init__(
        self,
        sources: Sequence[TrainingCrops | StreamedCrops],
        shares: Sequence[float] | None,
        skeleton: Skeleton,
        weights: Sequence[float],
    ) -> None:
        self.sources, self.skeleton, self.weights = list(sources), skeleton, list(weights)
        people = [len(source) for source in sources]
        self.shares = list(shares) if shares is not None else [count / sum(people) for count in people]
        first = sources[0]
        self.input_px, self.seed, self.augment = first.input_px, first.seed, first.augment

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    @cached_property
    def _cycle(self) -> list[int]:
        """Number of the source of each draw of a cycle, evenly spread."""
        quotas = [max(1, quota) for quota in whole_parts(self.shares, _CYCLE)]
        total = sum(quotas)
        when = [((k + 0.5) * total / quota, n) for n, quota in enumerate(quotas) for k in range(quota)]
        return [n for _, n in sorted(when)]

    def taken(self, draws: int) -> list[int]:
        """How many of a rank's first `draws` come from each source."""
        cycles, rest = divmod(draws, len(self._cycle))
        begun = self._cycle[:rest]
        return [cycles * self._cycle.count(n) + begun.count(n) for n in range(len(self.sources))]

    def check(self, batch_size: int, ranks: int) -> None:
        """Raise ValueError, with what to do, when this many ranks can't share these sources."""
        if batch_size % ranks:
            raise ShardError(f"a batch of {batch_size} can't be shared by {ranks} processes")
        for source in self.sources:
            if isinstance(source, StreamedCrops):
                source.check(ranks, ranks)
            elif len(source) < ranks:
                raise ShardError(f"a source with {len(source)} people can't be shared by {ranks} processes")

    def walk(
        self, batch_size: int, start_step: int, rank: int = 0, ranks: int = 1, accumulate: int = 1
    ) -> Generator[tuple[TrainingCrops, list[tuple[int, int]]], None, None]:
        """Endless batches from `start_step` on, as `stream.StreamedCrops.walk` gives them."""
        self.check(batch_size, ranks)
        share = batch_size // ranks
        draw = start_step * share
        taken = self.taken(draw)
        with ExitStack() as stack:
            people = [
                stack.enter_context(closing(self._people(n, count, rank, ranks)))
                for n, count in enumerate(taken)
            ]
            while True:
                step = []
                for _ in range(share):
                    step.append(next(people[self._cycle[draw % len(self._cycle)]]))
                    draw += 1
                for part in range(accumulate):
                    rows = step[part::accumulate]
                    records = {index: record for _, index, record in rows}
                    crops = TrainingCrops(records, self.input_px, self.augment, self.seed)
                    yield crops, [(again, index) for again, index, _ in rows]

    def _people(
        self, number: int, taken: int, rank: int, ranks: int
    ) -> Generator[tuple[int, int, PersonRecord], None, None]:
        """Pass, index and record of one source's people for one rank, after `taken` of them."""
        source, offset = self.sources[number], sum(len(s) for s in self.sources[:number])
        length = len(source) // ranks
        again, skip = divmod(taken, length)
        if isinstance(source, StreamedCrops):
            with closing(source.people(again, skip, length, rank, ranks)) as people:
                for key, index, record in people:
                    yield key, offset + index, in_skeleton(record, self.skeleton, self.weights[number])
            return
        while True:
            generator = np.random.Generator(np.random.PCG64([self.seed, again, number, 2]))
            order = generator.permutation(len(source))[rank::ranks][skip:length]
            for index in order.tolist():
                yield again, offset + index, source.records[index]
            again, skip = again + 1, 0


def in_skeleton(record: PersonRecord, skeleton: Skeleton, weight: float = 1.0) -> PersonRecord:
    """One person with the joints of another skeleton, by name; one that can't be had is not labelled.

    Args:
        weight: factor on how much the labels count.

    Raises ValueError when the skeletons have fewer than two joints in common.
    """
    have = record.skeleton
    own = (
        record.weight
        if weight == 1
        else (np.ones(len(have)) if record.weight is None else record.weight) * weight
    )
    if have.joints == skeleton.joints:
        return replace(record, skeleton=skeleton, weight=None if own is None else own.astype(np.float32))
    kept, derived = describe_map(have, skeleton).kept, describe_map(have, skeleton).derived
    keypoints = np.zeros((len(skeleton), 2), np.float32)
    visibility = np.full(len(skeleton), NOT_LABELLED, np.uint8)
    weights = None if own is None else np.ones(len(skeleton), np.float32)
    for joint in kept:
        row, from_row = skeleton.index(joint), have.index(joint)
        keypoints[row], visibility[row] = record.keypoints[from_row], record.visibility[from_row]
        if weights is not None and own is not None:
            weights[row] = own[from_row]
    for joint, ends in derived.items():
        row, rows = skeleton.index(joint), [have.index(end) for end in ends]
        seen = record.visibility[rows]
        if (seen > NOT_LABELLED).all():
            keypoints[row] = record.keypoints[rows].mean(axis=0)
            visibility[row] = OCCLUDED if (seen == OCCLUDED).any() else VISIBLE
            if weights is not None and own is not None:
                weights[row] = own[rows].min()
    return replace(record, skeleton=skeleton, keypoints=keypoints, visibility=visibility, weight=weights)


def check_names(have: Skeleton, to: Skeleton, what: str) -> None:
    """Raise ValueError when a source has too little in common with the skeleton, or spells a joint otherwise.

    Args:
        what: the source in words.
    """
    if have.joints == to.joints:
        return
    try:
        plan = describe_map(have, to)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    absent = {_plain(joint): joint for joint in plan.absent}
    for joint in plan.dropped:
        if (other := absent.get(_plain(joint))) is not None and joint not in sum(DERIVED.values(), ()):
            raise ValueError(
                f"{what} calls a joint {joint!r} that {to.name} calls {other!r}; joints are matched by name, "
                "so rename it in the file"
            )


def _plain(joint: str) -> str:
    """A joint's name without what people spell differently: case, signs, order, left as l."""
    words = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", joint).lower())
    sides = {"l": "left", "r": "right"}
    return " ".join(sorted(sides.get(word, word) for word in words))
