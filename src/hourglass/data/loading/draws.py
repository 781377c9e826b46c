"""Who is drawn how often, where people of several sources are trained on together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Mix:
    """Which people of several sources, one after the other, an epoch draws.

    Args:
        sizes: people in each source.
        shares: of each source in the draws; they add up to 1.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    @cached_property
    def quotas(self) -> tuple[int, ...]:
        """Draws of each source in an epoch, which has as many as there are people."""
        return whole_parts(self.shares, sum(self.sizes))

    def epoch(self, seed: int, epoch: int) -> list[tuple[int, int]]:
        """The draws of an epoch in their order: pass through the source, and index among all people.

        A source is gone through again and again in an order that is new each time, across the borders of
        epochs, so nobody is drawn again before everybody of the source has had a turn. The pass keys the
        view: whoever is drawn twice in an epoch is seen in two ways.
        """
        draws: list[tuple[int, int]] = []
        offset = 0
        for number, (size, quota) in enumerate(zip(self.sizes, self.quotas, strict=True)):
            at, end = epoch * quota, (epoch + 1) * quota
            while at < end:
                again, start = divmod(at, size)
                stop = min(size, start + end - at)
                order = np.random.Generator(np.random.PCG64([seed, again, number, 2])).permutation(size)
                draws += [(again, offset + int(row)) for row in order[start:stop]]
                at += stop - start
            offset += size
        mixed = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(draws))
        return [draws[n] for n in mixed.tolist()]


def whole_parts(shares: Sequence[float], total: int) -> tuple[int, ...]:
    """`total` in whole parts that follow the shares: the largest remainders are rounded up."""
    exact = [share * total for share in shares]
    parts = [int(value) for value in exact]
    for n in sorted(range(len(exact)), key=lambda n: parts[n] - exact[n])[: total - sum(parts)]:
        parts[n] += 1
    return tuple(parts)
