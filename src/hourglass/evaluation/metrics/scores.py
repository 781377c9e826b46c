"""From a protocol, people and predictions to numbers, and to the same numbers over resampled people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hourglass.core.arrays import BoolArray, Float64Array, FloatArray
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations
from hourglass.evaluation.metrics import oks
from hourglass.evaluation.metrics.pck import (
    TEN_STICKS,
    area_thresholds,
    areas,
    box_length,
    curve,
    hits,
    pair_length,
    pcp,
    relative_distance,
    torso_length,
)
from hourglass.evaluation.metrics.protocols import BATCH, LENGTHS, Line, Protocol

Only = Literal["all", "visible", "hidden"]


class NotApplicable(ValueError):
    """The protocol needs something that this truth or these predictions don't hold; the message says what."""


def only_joints(people: Annotations, which: Only) -> Annotations:
    """The same people with only visible or only hidden joints labelled."""
    if which == "all":
        return people
    if not people.tells_hidden:
        raise NotApplicable("the truth doesn't tell hidden joints from visible ones")
    kept = people.visibility == (VISIBLE if which == "visible" else OCCLUDED)
    return replace(people, visibility=np.where(kept, people.visibility, 0).astype(np.uint8))


@dataclass(frozen=True)
class Entry:
    """What one value is.

    Args:
        table, line: its table and its name there.
        counted: how many joints, sticks or people it is over.
        column: whether it is a column of the table, else one joint or stick by itself.
    """

    table: str
    line: str
    counted: int
    column: bool


@dataclass(frozen=True, eq=False)
class Score:
    """What a protocol says of predictions.

    Args:
        protocol: whose.
        entries: K descriptions.
        values: (K,) percent, NaN where nothing was counted.
        units: how many people (for OKS pictures) a bootstrap draws from.
        people: how many people counted.
        person: (N,) share of each person's joints that are right, or their OKS; NaN for who doesn't count.
        resample: values (B, K) for weightings (B, units).
        curve: thresholds (T,) and the share of all counted joints (T,); None for OKS.
        distance: (N, J) relative distances, NaN where a joint doesn't count; None for OKS.
    """

    protocol: Protocol
    entries: tuple[Entry, ...]
    values: Float64Array
    units: int
    people: int
    person: Float64Array
    resample: Callable[[FloatArray], Float64Array]
    curve: tuple[Float64Array, Float64Array] | None = None
    distance: Float64Array | None = None

    def __getitem__(self, key: tuple[str, str]) -> float:
        """The value in percent of (table, line); raises KeyError."""
        for entry, value in zip(self.entries, self.values.tolist(), strict=True):
            if (entry.table, entry.line) == key:
                return float(value)
        raise KeyError(key)


def reference(people: Annotations, length: str) -> Float64Array:
    """(N,) pixels that distances are divided by; NaN where a person has none. See `protocols.LENGTHS`.

    Raises NotApplicable when the truth can't give it.
    """
    skeleton, points, labelled = people.skeleton, people.keypoints, people.visibility > 0
    if length in ("head", "file-torso", "crop"):
        if length not in people.lengths:
            raise NotApplicable(f"the truth holds no {LENGTHS[length]}")
        return people.lengths[length]
    if length == "box":
        return box_length(points, labelled)
    if length == "any-torso":
        return torso_length(skeleton, points, labelled) if skeleton.torso else box_length(points, labelled)
    if length == "head-stick":
        if skeleton.head is None:
            raise NotApplicable(f"skeleton {skeleton.name!r} has no head")
        ends = skeleton.head
    else:
        sides = ("left", "right") if length == "torso" else ("right", "left")
        ends = (f"{sides[0]}_shoulder", f"{sides[1]}_hip")
        if not set(ends) <= set(skeleton.joints):
            raise NotApplicable(f"skeleton {skeleton.name!r} has no {ends[0]} and {ends[1]}")
    return pair_length(points, labelled, skeleton.index(ends[0]), skeleton.index(ends[1]))


def evaluate_protocol(
    rules: Protocol,
    people: Annotations,
    predicted: FloatArray | None = None,
    detections: oks.Detections | None = None,
    only: Only = "all",
) -> Score:
    """Score predictions as a protocol does.

    Args:
        rules: from `protocols.PROTOCOLS`, or a changed copy of one.
        predicted: (N, J, 2), one for each of the people, counted as the truth counts; for all but OKS.
        detections: of any people in the truth's pictures; for OKS.
        only: score all joints, the visible or the hidden ones. Lengths are always measured on all joints.

    Raises NotApplicable when the truth or the predictions lack what the protocol needs.
    """
    if not rules.tables:
        return _evaluate_oks(rules, only_joints(people, only), detections)
    if predicted is None:
        raise NotApplicable("it needs one prediction for each annotated person, and these are detections")
    known = set(people.skeleton.joints)
    missing = sorted(set(rules.joints) - known)
    if missing:
        raise NotApplicable(f"skeleton {people.skeleton.name!r} has no {', '.join(missing)}")
    asked = only_joints(people, only).visibility > 0
    if people.crowd is not None:
        asked = asked & ~people.crowd[:, None]
    if rules.labelled == "beyond 1":
        asked = asked & (people.keypoints > 1).all(-1)
    distance, counted = relative_distance(predicted, people.keypoints, asked, reference(people, rules.length))
    blocks = [_joint_block(rules, people.skeleton, distance, counted)]
    sticks = [table for table in rules.tables if table.kind in ("strict", "loose")]
    blocks += [_stick_block(rules, table.name, people, predicted, asked) for table in sticks]
    entries = tuple(entry for block in blocks for entry in block.entries)
    mine = [people.skeleton.index(j) for j in rules.joints_of(people.skeleton)]
    strict = rules.inequality == "<"
    right = hits(distance[:, mine], rules.tables[0].threshold, strict).sum(1)
    each = counted[:, mine].sum(1)
    person = np.divide(right, each, out=np.full(len(people), np.nan), where=each > 0)

    def resample(weights: FloatArray) -> Float64Array:
        return np.concatenate([block.values(np.asarray(weights, np.float64)) for block in blocks], 1)

    return Score(
        protocol=rules,
        entries=entries,
        values=resample(np.ones((1, len(people))))[0],
        units=len(people),
        people=int((each > 0).sum()),
        person=person,
        resample=resample,
        curve=_pooled_curve(distance[:, mine], counted[:, mine], strict),
        distance=distance,
    )


def _pooled_curve(
    distance: Float64Array, counted: BoolArray, strict: bool
) -> tuple[Float64Array, Float64Array]:
    thresholds = area_thresholds()
    everything = curve(distance.reshape(-1, 1), counted.reshape(-1, 1), thresholds, strict)
    return thresholds, everything[:, 0]


@dataclass(frozen=True, eq=False)
class _Counted:
    """Tables made from the same counted parts.

    Args:
        credit: for each table (N, P), 0..1.
        counted: (N, P) 0 or 1.
        lines: for each table, its lines as rows of parts and a kind of mean.
    """

    entries: tuple[Entry, ...]
    credit: tuple[Float64Array, ...]
    counted: Float64Array
    lines: tuple[tuple[tuple[list[int], str], ...], ...]

    def values(self, weights: Float64Array) -> Float64Array:
        """(B, K) percent for weightings (B, N)."""
        counts = weights @ self.counted
        columns = []
        for credit, lines in zip(self.credit, self.lines, strict=True):
            sums = weights @ credit
            shares = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
            for parts, mean in lines:
                if mean == "batches":
                    columns.append(_mean_of_batches(weights, credit[:, parts], self.counted[:, parts]))
                elif mean == "joints":
                    columns.append(_mean(shares[:, parts]))
                else:
                    columns.append(_ratio(sums[:, parts].sum(1), counts[:, parts].sum(1)))
        return np.asarray(100 * np.stack(columns, 1))


def _ratio(above: Float64Array, below: Float64Array) -> Float64Array:
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _mean(shares: Float64Array) -> Float64Array:
    """Mean of each row, leaving NaN out; NaN where nothing is left."""
    known = np.isfinite(shares)
    return _ratio(np.where(known, shares, 0.0).sum(1), known.sum(1).astype(np.float64))


def _mean_of_batches(weights: Float64Array, credit: Float64Array, counted: Float64Array) -> Float64Array:
    """Mean of the batches' means of joints, each weighed by how many kinds of joints occur in it.

    Args:
        weights: (B, N).
        credit, counted: (N, P).
    """
    total, kinds = np.zeros(len(weights)), np.zeros(len(weights))
    for start in range(0, len(credit), BATCH):
        rows = slice(start, start + BATCH)
        sums, counts = weights[:, rows] @ credit[rows], weights[:, rows] @ counted[rows]
        total += np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0).sum(1)
        kinds += (counts > 0).sum(1)
    return _ratio(total, kinds)


def _block(
    names: tuple[str, ...],
    tables: list[tuple[str, tuple[Line, ...], Float64Array]],
    counted: BoolArray,
    every: tuple[str, ...] = (),
) -> _Counted:
    """Lines of the tables, and each of the parts by itself under its own name.

    Args:
        every: the parts of a line that names none; all of them without it.
    """
    counts = counted.sum(0)
    entries: list[Entry] = []
    lines = []
    for table, columns, _ in tables:
        rows = [([names.index(p) for p in line.parts or every or names], line.mean) for line in columns]
        entries += [
            Entry(table, line.name, int(counts[parts].sum()), True)
            for line, (parts, _) in zip(columns, rows, strict=True)
        ]
        single: list[tuple[list[int], str]] = [([part], "joints") for part in range(len(names))]
        entries += [Entry(table, name, int(counts[part]), False) for part, name in enumerate(names)]
        lines.append((*rows, *single))
    credit = tuple(np.asarray(credit, np.float64) for _, _, credit in tables)
    return _Counted(tuple(entries), credit, counted.astype(np.float64), tuple(lines))


def _joint_block(rules: Protocol, skeleton: Skeleton, distance: Float64Array, counted: BoolArray) -> _Counted:
    strict = rules.inequality == "<"
    tables: list[tuple[str, tuple[Line, ...], Float64Array]] = []
    for table in rules.tables:
        if table.kind == "hits":
            credit = hits(distance, table.threshold, strict).astype(np.float64)
        elif table.kind == "area":
            credit = areas(distance, area_thresholds(table.threshold), strict)
        else:
            continue
        tables.append((table.name, table.lines, credit))
    return _block(skeleton.joints, tables, counted, rules.joints_of(skeleton))


def _stick_block(
    rules: Protocol, name: str, people: Annotations, predicted: FloatArray, labelled: BoolArray
) -> _Counted:
    (table,) = (t for t in rules.tables if t.name == name)
    right, counted = pcp(
        predicted,
        people.keypoints,
        labelled,
        people.skeleton,
        loose=table.kind == "loose",
        share=table.threshold,
        sticks=TEN_STICKS,
    )
    names = tuple(stick.name for stick in TEN_STICKS)
    return _block(names, [(table.name, table.lines, right.astype(np.float64))], counted)


def _evaluate_oks(rules: Protocol, people: Annotations, detections: oks.Detections | None) -> Score:
    if people.area is None or people.box is None or people.crowd is None or people.image is None:
        raise NotApplicable("the truth holds no areas of people, as COCO's files do")
    if people.skeleton.oks_sigmas is None:
        raise NotApplicable(f"skeleton {people.skeleton.name!r} has no OKS sigmas")
    if detections is None:
        raise NotApplicable("it needs predictions with scores, and these have none")
    crowded = oks.Crowded(
        keypoints=people.keypoints,
        visibility=people.visibility,
        area=people.area,
        box=people.box,
        crowd=people.crowd,
        image=people.image,
        images=people.images,
        sigmas=np.array(people.skeleton.oks_sigmas),
    )
    matches = oks.match(crowded, detections)

    def resample(weights: FloatArray) -> Float64Array:
        return 100 * oks.summarise(matches, weights)

    sizes = {"M": 1, "L": 2}
    counts = matches.wanted.sum(1)
    entries = tuple(Entry("OKS", name, int(counts[sizes.get(name[-1], 0)]), True) for name in oks.SUMMARY)
    return Score(
        protocol=rules,
        entries=entries,
        values=resample(np.ones((1, people.images)))[0],
        units=people.images,
        people=int(counts[0]),
        person=np.where(crowded.ignored, np.nan, matches.best),
        resample=resample,
    )


Statistic = Callable[[Float64Array], Float64Array]
"""Values (B, K) for B weightings (B, N) of the people."""

LEVEL = 0.95
_CELLS = 4_000_000
"""Draws x people held at once, so that memory stays below a hundred megabytes."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds `low` and `high` (K,) of K values, NaN where a value could not be measured in any draw."""

    low: Float64Array
    high: Float64Array


def intervals(
    statistics: Sequence[Statistic], people: int, draws: int, seed: int = 0, level: float = LEVEL
) -> list[Interval]:
    """Intervals of each statistic, all from the same draws, and then of their differences to the first.

    With one statistic: `[its interval]`. With two, A and B, measured on the same people: `[A, B, B - A]`.

    Args:
        statistics: functions of (B, N) weights, how often each of the people was drawn.
        people: N.
        draws: how many samples of N people are drawn with replacement.
        level: share of draws inside the bounds.

    Raises ValueError when there is nobody, or fewer than 2 draws.
    """
    if people < 1:
        raise ValueError("there is nobody to draw for a bootstrap")
    if draws < 2:
        raise ValueError(f"a bootstrap needs at least 2 draws, not {draws}")
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS // people)
    values: list[list[Float64Array]] = [[] for _ in statistics]
    for start in range(0, draws, at_once):
        weights = draw_weights(rng, people, min(at_once, draws - start))
        for found, statistic in zip(values, statistics, strict=True):
            found.append(statistic(weights))
    tables = [np.concatenate(found) for found in values]
    differences = [table - tables[0] for table in tables[1:]]
    return [_bounds(table, level) for table in tables + differences]


def draw_weights(rng: np.random.Generator, people: int, draws: int) -> Float64Array:
    """(draws, people) how often each was drawn; each row sums to `people`."""
    chosen = rng.integers(0, people, (draws, people))
    chosen += people * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * people).reshape(draws, people).astype(np.float64)


def _bounds(table: Float64Array, level: float) -> Interval:
    """Percentiles of each column over the draws in which it could be measured."""
    tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.full((2, table.shape[1]), np.nan)
    for column in range(table.shape[1]):
        known = table[np.isfinite(table[:, column]), column]
        if len(known):
            low[column], high[column] = np.percentile(known, tails)
    return Interval(low, high)


@dataclass(frozen=True)
class Paired:
    """Shares of people, 0..1, for whom B scores better than A, worse, and the same; of `people` in all."""

    better: float
    worse: float
    same: float
    people: int


def compare_people(first: FloatArray, second: FloatArray) -> Paired:
    """Compare scores (N,) of the same people, higher is better; who has a NaN in either is left out."""
    known = np.isfinite(first) & np.isfinite(second)
    count = int(known.sum())
    if not count:
        return Paired(float("nan"), float("nan"), float("nan"), 0)
    gain = second[known] - first[known]
    better, worse = float((gain > 0).mean()), float((gain < 0).mean())
    return Paired(better, worse, float((gain == 0).mean()), count)
