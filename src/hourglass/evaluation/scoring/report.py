"""One prediction file under one protocol or all: a report for JSON, with intervals and comparisons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hourglass.core.skeleton import Skeleton
from hourglass.drawing.plots import pck_curves
from hourglass.evaluation.metrics.oks import SUMMARY
from hourglass.evaluation.metrics.pck import MERGED, group_curves
from hourglass.evaluation.metrics.protocols import LENGTHS, PROTOCOLS, Protocol, ScoreTable, protocol
from hourglass.evaluation.metrics.scores import (
    Entry,
    Interval,
    NotApplicable,
    Only,
    Score,
    compare_people,
    evaluate_protocol,
    intervals,
)
from hourglass.evaluation.scoring.predictions import Aligned
from hourglass.evaluation.scoring.truth import Truth


@dataclass(frozen=True)
class ScoreRequest:
    """What to score, and how.

    Args:
        protocols: name of one, or `all`.
        only: all joints, or the `visible` or the `hidden` ones.
        length: measure by another length than the protocol does, a key of `LENGTHS`; empty for its own.
        thresholds: instead of the protocol's tables of hits; empty for its own.
        draws: of the bootstrap; 0 for none.
        seed: of the bootstrap.
        curves: whether the report holds the curves.

    Raises ValueError naming the option when one is not possible.
    """

    protocols: str = "all"
    only: Only = "all"
    length: str = ""
    thresholds: tuple[float, ...] = ()
    draws: int = 0
    seed: int = 0
    curves: bool = False

    def __post_init__(self) -> None:
        changed = [name for name, value in (("--by", self.length), ("--threshold", self.thresholds)) if value]
        if self.protocols != "all":
            protocol(self.protocols)
        elif changed:
            raise ValueError(f"{' and '.join(changed)}: only for one protocol; name it with --protocol")
        if self.only not in ("all", "visible", "hidden"):
            raise ValueError(f"--only {self.only!r} is not one of all, visible, hidden")
        if self.length and self.length not in LENGTHS:
            raise ValueError(f"--by {self.length!r} is not one of {', '.join(LENGTHS)}")
        if changed and self.protocols == "coco":
            raise ValueError(f"{' and '.join(changed)}: nothing that the protocol 'coco' knows")
        for threshold in self.thresholds:
            if not 0 < threshold < float("inf"):
                raise ValueError(f"--threshold {threshold:g} must be a positive number")
        if self.draws == 1 or self.draws < 0:
            raise ValueError(f"--bootstrap {self.draws} must be 0 or at least 2")


def chosen_protocols(request: ScoreRequest) -> tuple[Protocol, ...]:
    """The protocols to evaluate, changed as asked."""
    if request.protocols == "all":
        return PROTOCOLS
    rules = protocol(request.protocols)
    if request.length:
        rules = replace(rules, length=request.length)  # type: ignore[arg-type] # checked against LENGTHS
    if request.thresholds:
        first = rules.tables[0]
        stem = first.name.split("@")[0]
        tables = [
            ScoreTable(f"{stem}@{threshold:g}", "hits", threshold, first.lines)
            for threshold in request.thresholds
        ]
        rules = replace(rules, tables=tuple(tables))
    return (rules,)


@dataclass(frozen=True, eq=False)
class Scored:
    """One protocol's scores: of the predictions, of those they are held against, and how sure they are."""

    score: Score
    visible: Score | None
    hidden: Score | None
    other: Score | None
    bounds: Sequence[Interval]


def score_all(
    request: ScoreRequest, truth: Truth, predictions: Aligned, against: Aligned | None = None
) -> tuple[list[Scored], dict[str, str]]:
    """Scores of every protocol that this truth and these predictions allow, and why the others don't.

    With `against`, bounds are those of the other predictions, of these, and of the difference these - other.

    Raises NotApplicable when none that was asked for is possible.
    """
    if request.only != "all" and not truth.people.tells_hidden:
        raise NotApplicable(
            f"--only {request.only}: {truth.path} doesn't tell hidden joints from visible ones; take the "
            "flags from another file of the same people with --visibility"
        )
    scored: list[Scored] = []
    left_out: dict[str, str] = {}
    for rules in chosen_protocols(request):
        try:
            scored.append(_score(request, rules, truth, predictions, against))
        except NotApplicable as error:
            left_out[rules.name] = str(error)
    if not scored:
        if len(left_out) == 1:
            name, reason = next(iter(left_out.items()))
            raise NotApplicable(f"the protocol {name!r} can't score {predictions.path}: {reason}")
        reasons = "; ".join(f"{names}: {reason}" for names, reason in by_reason(left_out))
        raise NotApplicable(f"no protocol can score {predictions.path}: {reasons}")
    return scored, left_out


def _score(
    request: ScoreRequest, rules: Protocol, truth: Truth, predictions: Aligned, against: Aligned | None
) -> Scored:
    def run(of: Aligned, only: Only) -> Score:
        return evaluate_protocol(rules, truth.people, of.keypoints, of.detections, only)

    score = run(predictions, request.only)
    apart = truth.people.tells_hidden and request.only == "all"
    other = None if against is None else run(against, request.only)
    statistics = [s.resample for s in (other, score) if s is not None]
    bounds = intervals(statistics, score.units, request.draws, request.seed) if request.draws else []
    return Scored(
        score=score,
        visible=run(predictions, "visible") if apart else None,
        hidden=run(predictions, "hidden") if apart else None,
        other=other,
        bounds=bounds,
    )


def draw_curves(scored: Scored, skeleton: Skeleton, names: tuple[str, str], path: Path) -> None:
    """PCK over the threshold for each group of joints, up to the protocol's main threshold, as a picture.

    Args:
        names: of the predictions and of those they are held against.

    Raises NotApplicable for OKS, whose scores are no shares of joints, OSError when `path` can't be written.
    """
    rules, table = scored.score.protocol, scored.score.protocol.main
    if table is None:
        raise NotApplicable(f"--figure: the protocol {rules.name!r} has no curves of joints")
    thresholds = np.linspace(0, table.threshold, 101)
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for name, score in zip(names, (scored.score, scored.other), strict=True):
        if score is None or score.distance is None:
            continue
        distance = score.distance
        counted, strict = ~np.isnan(distance), rules.inequality == "<"
        curves = group_curves(distance, counted, skeleton, thresholds, strict)
        # A joint outside the protocol's mean has its panel, but no part in the mean.
        mine = np.isin(skeleton.joints, rules.joints_of(skeleton))
        curves["mean"] = group_curves(distance, counted & mine, skeleton, thresholds, strict)["mean"]
        for group, shares in curves.items():
            panels.setdefault(group, {})[name] = shares.tolist()
    label = f"distance / {LENGTHS[rules.length]}" if rules.length else "distance"
    title = f"{table.name.split('@')[0]} by {rules.name}"
    pck_curves(thresholds.tolist(), panels, path, label, title)


def by_reason(left_out: dict[str, str]) -> list[tuple[str, str]]:
    """The protocols that were left out, those of one reason together: their names and the reason."""
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [(", ".join(together), reason) for reason, together in names.items()]


def describe(rules: Protocol) -> dict[str, Any]:
    """What makes a protocol differ, in words."""
    if not rules.tables:
        what = {
            "joints": "all of the skeleton",
            "mean": "AP over OKS 0.50:0.05:0.95",
            "length": "person's area",
        }
    else:
        count = f"{len(rules.joints)}" if rules.joints else f"first {rules.rows}" if rules.rows else "all"
        means = {"pooled": "pooled", "joints": "mean of joints", "batches": "mean of joints of each batch"}
        mean = means[rules.mean]
        what = {"joints": count, "mean": mean, "length": LENGTHS[rules.length]}
    return {
        "inequality": rules.inequality,
        **what,
        "counts": rules.labelled,
        "code": rules.code,
        "truth_of_the_code": rules.truth,
        "remark": rules.remark,
    }


def as_report(
    scored: Sequence[Scored],
    left_out: dict[str, str],
    truth: Truth,
    predictions: Aligned,
    against: Aligned | None,
    request: ScoreRequest,
) -> dict[str, Any]:
    """Everything for `--json`; percent with three decimals, None where nothing was counted."""
    return {
        "predictions": str(predictions.path),
        "against": None if against is None else str(against.path),
        "truth": str(truth.path),
        "truth_kind": truth.kind,
        "skeleton": truth.people.skeleton.name,
        "people": len(truth),
        "only": request.only,
        "bootstrap": request.draws,
        "seed": request.seed,
        "protocols": {one.score.protocol.name: _one(one, request) for one in scored},
        "left_out": left_out,
    }


def _one(scored: Scored, request: ScoreRequest) -> dict[str, Any]:
    score, other = scored.score, scored.other
    report = {
        **describe(score.protocol),
        "people_counted": score.people,
        "scores": _nested(score, score.values, columns=True),
        "counted": _nested(score, np.array([float(e.counted) for e in score.entries]), True, whole=True),
        "each": _nested(score, score.values, columns=False),
    }
    for name, part in (("visible", scored.visible), ("hidden", scored.hidden)):
        report[name] = None if part is None else _nested(part, part.values, columns=True)
    if scored.bounds:
        mine = scored.bounds[0 if other is None else 1]
        report["interval"] = _ranges(score, mine)
    if other is not None:
        paired = compare_people(other.person, score.person)
        report["against"] = {
            "scores": _nested(other, other.values, columns=True),
            "difference": _nested(score, score.values - other.values, columns=True),
            "difference_interval": _ranges(score, scored.bounds[2]) if scored.bounds else None,
            "people": paired.people,
            "better": _rounded(100 * paired.better),
            "worse": _rounded(100 * paired.worse),
            "same": _rounded(100 * paired.same),
        }
    if request.curves and score.curve is not None:
        thresholds, shares = score.curve
        report["curve"] = {
            "threshold": [round(t, 4) for t in thresholds.tolist()],
            "share": [_rounded(100 * s) for s in shares.tolist()],
        }
    return report


def _nested(score: Score, values: Any, columns: bool, whole: bool = False) -> dict[str, Any]:
    """Values by table and line; only the tables' columns, or only the single joints."""
    found: dict[str, Any] = {}
    for entry, value in zip(score.entries, np.asarray(values).tolist(), strict=True):
        if entry.column == columns:
            found.setdefault(entry.table, {})[entry.line] = int(value) if whole else _rounded(value)
    return found


def _ranges(score: Score, bounds: Interval) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry, low, high in zip(score.entries, bounds.low.tolist(), bounds.high.tolist(), strict=True):
        if entry.column:
            found.setdefault(entry.table, {})[entry.line] = [_rounded(low), _rounded(high)]
    return found


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


_JOINTS = ("Head", "Neck", "Thor", "Sho", "Elb", "Wri", "Pelv", "Hip", "Knee", "Ank", "UBody")
_STICKS = tuple(name for name, _ in MERGED)
WIDE = 170
"""Columns where the output is no terminal, so that nothing wraps in a file."""


def print_scores(
    scored: Sequence[Scored],
    left_out: dict[str, str],
    truth: Truth,
    request: ScoreRequest,
    names: tuple[str, str],
) -> None:
    """Print everything on standard output.

    Args:
        names: of the predictions and of those they are held against, the second empty without any.
    """
    console = Console(highlight=False)
    if not console.is_terminal and console.width < WIDE:
        console.width = WIDE
    console.print(_title(truth, request, names[0]), markup=False, soft_wrap=True)
    for columns, title in ((_JOINTS, "joints"), (_STICKS, "sticks"), (SUMMARY, "OKS")):
        table = _table(scored, columns, title)
        if table is not None:
            console.print(table)
    if len(scored) == 1 and len(scored[0].score.protocol.tables) and not _has_columns(scored[0]):
        console.print(_each_joint(scored[0]))
    if names[1]:
        console.print(_comparison(scored))
        console.print(f"these: {names[0]}; the others: {names[1]}", markup=False, soft_wrap=True)
        for line in _people_lines(scored):
            console.print(line, markup=False, soft_wrap=True)
    console.print(_differences(scored))
    for one in scored:
        console.print(f"{one.score.protocol.name}: {_remark(one)}", markup=False, soft_wrap=True)
    for together, reason in by_reason(left_out):
        console.print(f"not {together}: {reason}", markup=False, soft_wrap=True)


def _title(truth: Truth, request: ScoreRequest, name: str) -> str:
    which = "" if request.only == "all" else f", {request.only} joints only"
    draws = f", 95 % intervals from {request.draws} draws" if request.draws else ""
    return f"{name} on {truth.path} ({truth.kind}): {len(truth)} people{which}{draws}"


def _groups(one: Scored) -> dict[str, list[tuple[int, Entry]]]:
    """Columns by table, with their places among the values."""
    found: dict[str, list[tuple[int, Entry]]] = {}
    for place, entry in enumerate(one.score.entries):
        if entry.column:
            found.setdefault(entry.table, []).append((place, entry))
    return found


def _has_columns(one: Scored) -> bool:
    return any(entry.column and entry.line != "Mean" for entry in one.score.entries)


def _kind(one: Scored, table: str) -> str:
    if table == "OKS":
        return "OKS"
    kinds = {t.name: t.kind for t in one.score.protocol.tables}
    return "sticks" if kinds[table] in ("strict", "loose") else "joints"


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _headed() -> Table:
    table = Table()
    for column in ("protocol", "what"):
        table.add_column(column, no_wrap=True)
    return table


def _table(scored: Sequence[Scored], columns: tuple[str, ...], kind: str) -> Table | None:
    """One row for each table of this kind; the last number is the one people quote."""
    rows = [(one, name, group) for one in scored for name, group in _groups(one).items()]
    rows = [row for row in rows if _kind(row[0], row[1]) == kind]
    if not rows:
        return None
    used = [c for c in columns if any(entry.line == c for _, _, group in rows for _, entry in group)]
    total = [] if kind == "OKS" else ["Mean"]
    apart = any(one.visible is not None for one, _, _ in rows)
    ranged = any(one.bounds for one, _, _ in rows)
    table = _headed()
    extra = ["95 %"] if ranged else []
    for column in [*used, *total, *extra, *(("visible", "hidden") if apart else ())]:
        table.add_column(column, justify="right", no_wrap=True)
    before = None
    for one, name, group in rows:
        places = {entry.line: place for place, entry in group}
        last = places.get("Mean", places.get("AP", 0))
        cells = [_number(one.score.values[places[c]]) if c in places else "" for c in used]
        cells += [_number(one.score.values[places[c]], digits=3) for c in total]
        if ranged:
            bounds = one.bounds[0 if one.other is None else 1]
            cells.append(f"{bounds.low[last]:.2f}-{bounds.high[last]:.2f}")
        if apart:
            cells += ["" if p is None else _number(p.values[last]) for p in (one.visible, one.hidden)]
        rules = one.score.protocol.name
        table.add_row("" if rules == before else rules, name, *cells)
        before = rules
    return table


def _each_joint(one: Scored) -> Table:
    """Joints by themselves, for protocols that have no columns."""
    names = [t.name for t in one.score.protocol.tables]
    table = Table("joint")
    table.add_column("counted", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    values = {(e.table, e.line): v for e, v in zip(one.score.entries, one.score.values, strict=True)}
    for entry in one.score.entries:
        if entry.table == names[0] and not entry.column:
            cells = [_number(values[name, entry.line]) for name in names]
            table.add_row(entry.line.replace("_", " "), str(entry.counted), *cells)
    return table


def _comparison(scored: Sequence[Scored]) -> Table:
    """The quoted number of both, and the difference."""
    table = _headed()
    for column in ("these", "the others", "difference", "95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in scored:
        if one.other is None:
            continue
        for name, group in _groups(one).items():
            place = next((p for p, e in group if e.line in ("Mean", "AP")), group[-1][0])
            mine, theirs = one.score.values[place], one.other.values[place]
            bounds = ""
            if one.bounds:
                bounds = f"{one.bounds[2].low[place]:+.2f} to {one.bounds[2].high[place]:+.2f}"
            table.add_row(
                one.score.protocol.name,
                name,
                _number(mine, 3),
                _number(theirs, 3),
                f"{mine - theirs:+.3f}",
                bounds,
            )
    return table


def _people_lines(scored: Sequence[Scored]) -> Iterator[str]:
    for one in scored:
        if one.other is not None:
            paired = compare_people(one.other.person, one.score.person)
            shares = (100 * paired.better, 100 * paired.worse, 100 * paired.same)
            name = one.score.protocol.name
            yield (
                f"{name}: of {paired.people} people {shares[0]:.1f} % score better than in the others, "
                f"{shares[1]:.1f} % worse, {shares[2]:.1f} % the same"
            )


def _differences(scored: Sequence[Scored]) -> Table:
    table = Table("protocol", "correct if", "divided by", "joints", "mean", "counts", "people")
    for one in scored:
        rules = describe(one.score.protocol)
        table.add_row(
            one.score.protocol.name,
            f"{rules['inequality']} threshold",
            rules["length"],
            rules["joints"],
            rules["mean"],
            rules["counts"],
            str(one.score.people),
        )
    return table


def _remark(one: Scored) -> str:
    rules = one.score.protocol
    return f"{rules.code}; reads {rules.truth}; {rules.remark}"
