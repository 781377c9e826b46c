"""From a recorded network to one that a reader takes in: the same flow with fewer boxes."""

from dataclasses import dataclass, replace

from hourglass.drawing.diagram.record import Edge, Step

SHRINKABLE = ("residual", "inception A", "inception B", "convolution")
"""Boxes that may stand for several equal ones in a row."""
MIN_PERIOD = 4
MIN_REPEATS = 3


@dataclass(frozen=True)
class Repeat:
    """Steps `first` to `last`, both drawn, stand for `count` rounds of them, each fed by the one before."""

    first: int
    last: int
    count: int


def simplify(steps: list[Step]) -> list[Step]:
    """Sums of sums become one sum, a change of size becomes part of an arrow, equal neighbours one box."""
    return _join_chains(_absorb_sizes(_join_sums(steps)))


def fold(steps: list[Step]) -> tuple[list[Step], Repeat | None]:
    """Draw the longest exact repetition once.

    Rounds are equal when their steps agree in everything but the names of modules, and when each round
    takes nothing from outside but the very last result of the round before. At least `MIN_REPEATS`.
    """
    marks = [
        (s.kind, s.cells, s.features, s.count, s.supervised, tuple((i - e.source, e.via) for e in s.inputs))
        for i, s in enumerate(steps)
    ]
    best: tuple[int, int, int] | None = None
    for period in range(MIN_PERIOD, len(steps) // MIN_REPEATS + 1):
        start = 1
        while start + period < len(steps):
            same = 0
            while start + period + same < len(steps) and marks[start + same] == marks[start + period + same]:
                same += 1
            count = same // period + 1
            for first in range(start, start + same % period + 1 if count >= MIN_REPEATS else start):
                saved = (count - 1) * period
                if _closed(steps, first, period, count) and (best is None or saved > (best[2] - 1) * best[1]):
                    best = (first, period, count)
            start += same + 1
    if best is None:
        return steps, None
    first, period, count = best
    dropped = (count - 1) * period
    end = first + period * count

    def move(index: int) -> int:
        return index - dropped if index >= end - period else index

    kept = [
        replace(s, inputs=tuple(Edge(move(e.source), e.via) for e in s.inputs))
        for i, s in enumerate(steps)
        if not first + period <= i < end
    ]
    return kept, Repeat(first, first + period - 1, count)


def _closed(steps: list[Step], first: int, period: int, count: int) -> bool:
    """Does each round, and all that follows, take from the rounds before nothing but their last step?"""
    last = first + period * count - 1
    for i in range(first, len(steps)):
        begin = first + period * ((i - first) // period) if i <= last else last + 1
        for edge in steps[i].inputs:
            inside = edge.source >= begin
            outside = edge.source < first and i > last
            if not inside and not outside and edge.source != begin - 1:
                return False
    return True


def consumers(steps: list[Step]) -> list[list[int]]:
    """For each step, who takes its result."""
    users: list[list[int]] = [[] for _ in steps]
    for i, step in enumerate(steps):
        for edge in step.inputs:
            users[edge.source].append(i)
    return users


def _without(steps: list[Step], instead: dict[int, tuple[Edge, ...]]) -> list[Step]:
    """Take steps out; whoever took their result takes the given edges, whose changes of size come first."""
    place: dict[int, int] = {}
    kept: list[Step] = []

    def resolve(edge: Edge) -> list[Edge]:
        if edge.source not in instead:
            return [Edge(place[edge.source], edge.via)]
        return [Edge(e.source, edge.via or e.via) for below in instead[edge.source] for e in resolve(below)]

    for i, step in enumerate(steps):
        if i in instead:
            continue
        edges = dict.fromkeys(e for edge in step.inputs for e in resolve(edge))
        place[i] = len(kept)
        kept.append(replace(step, inputs=tuple(edges)))
    return kept


def _join_sums(steps: list[Step]) -> list[Step]:
    """`a + b + c` becomes one sum, and so does a product that is only added, as `centre + side * answer`."""
    users = consumers(steps)
    gone = {
        i: step.inputs
        for i, step in enumerate(steps)
        if step.kind in ("add", "other")
        and not step.supervised
        and len(users[i]) == 1
        and steps[users[i][0]].kind == "add"
        and steps[users[i][0]].block == step.block
    }
    return _without(steps, gone)


def _absorb_sizes(steps: list[Step]) -> list[Step]:
    users = consumers(steps)
    gone = {
        i: tuple(Edge(edge.source, step.kind) for edge in step.inputs)
        for i, step in enumerate(steps)
        if step.kind in ("pool", "resize") and len(users[i]) == 1 and not step.supervised
    }
    return _without(steps, gone)


def _join_chains(steps: list[Step]) -> list[Step]:
    users = consumers(steps)
    counts: dict[int, int] = {}
    gone: dict[int, tuple[Edge, ...]] = {}
    for i, step in enumerate(steps):
        if step.kind not in SHRINKABLE or len(step.inputs) != 1:
            continue
        before = step.inputs[0].source
        other = steps[before]
        equal = (other.kind, other.cells, other.features) == (step.kind, step.cells, step.features)
        same_chain = (
            step.chain != "" and other.chain == step.chain and not step.inputs[0].via and users[before] == [i]
        )
        if equal and same_chain and not other.supervised:
            counts[i] = counts.pop(before, 1) + 1
            gone[before] = other.inputs
    counted = [replace(s, count=counts.get(i, 1)) for i, s in enumerate(steps)]
    return _without(counted, gone)
