"""Scores for people to read: every protocol side by side, and what makes them differ."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from hourglass.evaluation.metrics.bootstrap import compare_people
from hourglass.evaluation.metrics.oks import SUMMARY
from hourglass.evaluation.metrics.pcp import MERGED
from hourglass.evaluation.metrics.scores import Entry
from hourglass.evaluation.scoring.report import Scored, ScoreRequest, by_reason, describe
from hourglass.evaluation.scoring.truth import Truth

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
