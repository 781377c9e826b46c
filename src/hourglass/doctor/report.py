"""The diagnosis as JSON and as a table."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hourglass.core.arrays import RGB
from hourglass.core.geometry import apply, crop_matrix, warp
from hourglass.data.loading.images import ImageError, read_image
from hourglass.doctor.examine import Diagnosis
from hourglass.doctor.people import LEVELS, DataSet, Finding, Suspect
from hourglass.drawing.draw import contact_sheet, draw_pose

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


COLUMNS, CELL_PX, STRIP_PX, GAP_PX = 6, 240, 26, 8

AROUND = 1.35
"""Side of a cell over that of the box around the person's joints."""

NOT_SHOWN = ("missing", "unreadable", "empty-pictures", "few-joints")
"""Checks whose suspects show nothing to judge."""


def chosen(diagnosis: Diagnosis, most: int) -> list[tuple[str, Suspect]]:
    """Checks and suspects to show: errors before warnings before notes, the worst first, nobody twice.

    Args:
        most: for each check.
    """
    ranked = sorted(diagnosis.findings, key=lambda finding: -LEVELS.index(finding.level))
    picked: list[tuple[str, Suspect]] = []
    seen: set[tuple[int | None, int]] = set()
    for finding in ranked:
        if finding.check in NOT_SHOWN:
            continue
        fresh = [s for s in finding.suspects if (s.row, s.photo) not in seen][:most]
        seen |= {(s.row, s.photo) for s in fresh}
        picked += [(finding.check, suspect) for suspect in fresh]
    return picked


def sheet(diagnosis: Diagnosis, most: int = 12, workers: int = 2) -> RGB | None:
    """(H, W, 3) uint8 RGB, or None when there is nobody to show.

    Args:
        most: suspects of each check.
        workers: threads that read pictures.
    """
    people = diagnosis.people
    picked = chosen(diagnosis, most) if most > 0 else []
    if people is None or not picked:
        return None
    with ThreadPoolExecutor(workers) as pool:
        tiles = list(pool.map(lambda entry: _tile(entry[1], people), picked))
    titles = [_title(check, suspect, people) for check, suspect in picked]
    return contact_sheet(tiles, COLUMNS, titles, CELL_PX, GAP_PX, STRIP_PX)


def save(path: Path, picture: RGB) -> None:
    """Write a sheet, as JPEG or PNG by the file's ending; raises OSError when it can't be written."""
    from PIL import Image

    from hourglass.core.files import write_atomically

    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    options = {} if kind == "PNG" else {"quality": 88}
    write_atomically(path, lambda part: Image.fromarray(picture).save(part, format=kind, **options))


def _title(check: str, suspect: Suspect, people: DataSet) -> str:
    name = Path(people.photos[suspect.photo].name).name.partition("#")[0]
    person = "" if suspect.row is None else f"{people.ids[suspect.row]} "
    return f"{person}{name} {check} {suspect.number:.3g}"


def _tile(suspect: Suspect, people: DataSet) -> RGB:
    picture = _picture(people.photos[suspect.photo].source)
    row = suspect.row
    if row is None:
        return _blank() if picture is None else picture
    points = people.keypoints[row]
    known = np.isfinite(points).all(axis=1)
    low, high = points[known].min(axis=0), points[known].max(axis=0)
    side_px = max(float((high - low).max()) * AROUND, 16.0)
    matrix = crop_matrix((low + high) / 2, side_px, CELL_PX)
    crop = _blank() if picture is None else warp(picture, matrix, CELL_PX)
    return draw_pose(crop, apply(matrix, points), None, people.skeleton)


def _picture(source: Path | bytes | None) -> RGB | None:
    """None when there is none to read: the joints alone say something too."""
    if source is None:
        return None
    try:
        return read_image(source)
    except ImageError:
        return None


def _blank() -> RGB:
    return np.full((CELL_PX, CELL_PX, 3), 90, np.uint8)
