"""The diagnosis as JSON and as a table."""

from typing import TYPE_CHECKING, Any

from hourglass.doctor.examine import Diagnosis
from hourglass.doctor.findings import LEVELS, Finding, Suspect
from hourglass.doctor.people import DataSet

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}

EXAMPLES = 3
"""Suspects that the table names for each check."""


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Plain values under the keys of docs/doctor.md."""
    people = diagnosis.people
    return {
        "can_start": diagnosis.can_start,
        "sentence": diagnosis.sentence,
        "skeleton": None if people is None else people.skeleton.name,
        "files": [] if people is None else [str(file) for file in people.files],
        "counts": diagnosis.counts,
        "checks": [_check(finding, people) for finding in diagnosis.findings],
    }


def _check(finding: Finding, people: DataSet | None) -> dict[str, Any]:
    share = finding.share
    return {
        "check": finding.check,
        "level": finding.level,
        "count": finding.count,
        "of": finding.of,
        "unit": finding.unit,
        "share": None if share is None else round(share, 6),
        "sentence": finding.sentence,
        "numbers": dict(finding.numbers),
        "suspects": [] if people is None else [_suspect(s, people) for s in finding.suspects],
    }


def _suspect(suspect: Suspect, people: DataSet) -> dict[str, Any]:
    photo = people.photos[suspect.photo]
    row = suspect.row
    return {
        "person_id": None if row is None else int(people.ids[row]),
        "picture": photo.name,
        "split": photo.split if row is None else people.splits[row],
        "where": None if row is None else people.where[row],
        "number": suspect.number,
        "what": suspect.what,
    }


def table(diagnosis: Diagnosis, title: str) -> "Table":
    """One row for each check."""
    from rich import box
    from rich.table import Table

    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("check", "verdict"):
        out.add_column(name, no_wrap=True)
    for name in ("found", "share"):
        out.add_column(name, justify="right", no_wrap=True)
    out.add_column("what", overflow="fold")
    for finding in diagnosis.findings:
        hits = f"{finding.count} {finding.unit}" if finding.count else "-"
        share = "" if finding.share is None or not finding.count else _percent(finding.share)
        style = STYLES[finding.level]
        what = finding.brief or ", ".join(_examples(finding, diagnosis.people))
        out.add_row(finding.check, f"[{style}]{finding.level}[/]", hits, share, _escaped(what))
    return out


def stories(diagnosis: Diagnosis) -> list[str]:
    """A sentence on everything that is not in order, the worst first, with its worst suspect."""
    lines = []
    for level in reversed(LEVELS[1:]):
        for finding in diagnosis.of(level):
            worst = ""
            if diagnosis.people is not None and finding.suspects:
                first = finding.suspects[0]
                worst = f"; first {caption(first, diagnosis.people)}: {first.what}"
            lines.append(f"{level}, {finding.check}: {finding.sentence}{worst}")
    return lines


def summary(diagnosis: Diagnosis) -> str:
    """How much there is, in one line."""
    counts = diagnosis.counts
    if not counts:
        return ""
    hidden = counts["hidden_share"]
    told = "hidden joints are not told" if hidden is None else f"{hidden:.1%} of these hidden"
    most = counts["most_people_in_a_picture"]
    return (
        f"{counts['people']} people in {counts['pictures']} pictures (at most {most} in one), "
        f"{counts['labelled_joints']} labelled joints ({counts['labelled_share']:.1%}), {told}"
    )


def _examples(finding: Finding, people: DataSet | None) -> list[str]:
    return [] if people is None else [caption(suspect, people) for suspect in finding.suspects[:EXAMPLES]]


def caption(suspect: Suspect, people: DataSet) -> str:
    """Picture and, where there are several people in it, who."""
    name = people.photos[suspect.photo].name
    alone = suspect.row is None or len(people) == len(people.photos)
    return name if alone else f"{name} #{people.ids[suspect.row]}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0995 else f"{share:.2%}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
