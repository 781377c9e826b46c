"""`hourglass data where`, `hourglass data check` and `hourglass data get`."""

import json as jsonlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.data.download.checkup import Progress, Report
    from hourglass.data.download.sources import DataSource, RemoteFile

_MARKS = {"missing": "-"}
_JSON_HELP = "Write the result as JSON; - prints it."


def where(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="mpii, lsp, lspet, flic, coco or ap10k; all without it.")
    ] = "",
    json: Annotated[str, typer.Option(metavar="FILE", help=_JSON_HELP)] = "",
) -> None:
    """Say where data sets are to be had, under which terms, and how they must lie on disk.

    Opens no connection.

    Example: hourglass data where

    In detail: hourglass data where mpii
    """
    from hourglass.data.download.sources import SEEN, SOURCES, find

    found = (find(name),) if name else SOURCES
    if json:
        _write_json(json, {"seen": SEEN, "datasets": [asdict(source) for source in found]})
    if json == "-":
        return
    lines = _details(found[0]) if name else _overview(found)
    typer.echo("\n".join([*lines, "", SEEN]))
    if not name:
        typer.echo("More on one of them: hourglass data where NAME")


def check(
    name: Annotated[str, typer.Argument(help="mpii, lsp, lspet, flic, coco or ap10k.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that holds the data set.")],
    checksums: Annotated[bool, typer.Option(help="Read whole files to compare checksums.")] = True,
    json: Annotated[str, typer.Option(metavar="FILE", help=_JSON_HELP)] = "",
) -> None:
    """Check a data set on disk: files, sizes, checksums, people and pictures of each split.

    Pictures are looked for, not opened. Exit code 0: all as expected; 1: something is missing or different;
    2: it couldn't be checked. Opens no connection.

    Example: hourglass data check lspet data/lspet

    Quicker on large archives: hourglass data check coco data/coco --no-checksums
    """
    from hourglass.data.download.checkup import check as check_folder

    with byte_bars() as progress:
        report = check_folder(name, root, progress, checksums)
    if json:
        _write_json(json, _report_json(report))
    if json != "-":
        typer.echo("\n".join(_report_lines(report)))
    if not report.whole:
        raise typer.Exit(1)


def get(
    name: Annotated[str, typer.Argument(help="mpii, lsp, lspet, flic, coco or ap10k.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder to put it in; made if need be.")],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="I have read the terms and accept them: fetch it.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Only this file; may be repeated.")
    ] = None,
) -> None:
    """Fetch a data set and unpack it to where the readers look.

    Without --accept-terms it only says what it would fetch, how large that is and under which terms, and
    opens no connection. A download that breaks is taken up where it was by the same command. Sizes and
    checksums are verified where they are known. A file that you put into ROOT yourself is checked and
    unpacked without fetching it. Exit code 0: all there; 1: some file failed; 2: nothing was done.

    What it would do: hourglass data get coco data/coco

    One file of it: hourglass data get coco data/coco --only val2017.zip --accept-terms
    """
    from hourglass.data.download.fetch import chosen, fetch
    from hourglass.data.download.sources import find

    source = find(name)
    files = chosen(source, only or ())
    if not accept_terms:
        typer.echo("\n".join(_plan(source, files, root)))
        typer.echo("hourglass: nothing was fetched; add --accept-terms if you accept the terms", err=True)
        raise typer.Exit(2)
    with byte_bars() as progress:
        outcomes = fetch(source, root, accept_terms, only or (), progress)
    for outcome in outcomes:
        if outcome.failed:
            typer.echo(f"hourglass: {outcome.failed}", err=True)
        else:
            typer.echo(f"{outcome.name}: {outcome.done}", err=True)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _overview(sources: "Sequence[DataSource]") -> list[str]:
    rows = [("name", "people", "joints", "year", "terms", "what")]
    for source in sources:
        people = f"{sum(part.people for part in source.parts):,}"
        rows.append((source.name, people, str(source.joints), str(source.year), source.licence, source.title))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _details(source: "DataSource") -> list[str]:
    reads = f"data.name={source.kind}"
    lines = [
        f"{source.title} ({source.name}): {source.about}",
        f"paper: {source.paper}",
        f"page:  {source.home}",
        f"terms: {source.terms}",
        f"read by {reads} in recipes, --data {source.kind} in commands",
        "",
        "files",
    ]
    for file in source.files:
        extra = ", only if asked for with --only" if file.extra else ""
        lines += [f"  {file.name} ({file.how_large}{extra}): {file.holds}", f"    {file.address}"]
        sums = [f"{kind} {its}" for kind, its in (("sha256", file.sha256), ("md5", file.md5)) if its]
        lines += [f"    {each}" for each in sums or ["no checksum is known"]]
        lines += [f"    {file.proof}"] if file.proof else []
        lines += [f"    address: {file.seen}"]
        lines += [f"    by hand: {file.by_hand}"] if file.by_hand else []
    lines += ["", "on disk", *(f"  {row}" for row in _table(source.layout)), "", "splits"]
    lines += [f"  {p.split}: {p.people:,} people, {p.pictures:,} pictures" for p in source.parts]
    lines += ["", *source.notes] if source.notes else []
    return lines


def _plan(source: "DataSource", files: "Sequence[RemoteFile]", root: Path) -> list[str]:
    from hourglass.data.download.sources import readable

    lines = [f"{source.title} into {root}", f"terms: {source.terms}", f"page:  {source.home}", ""]
    here = [file for file in files if any((root / name).is_file() for name in (file.name, *file.also))]
    to_come = [file for file in files if not file.by_hand and file not in here]
    for file in files:
        if file in here:
            lines.append(
                f"{file.name} is there and would be checked{' and unpacked' if file.unpacks else ''}"
            )
        elif file.by_hand:
            lines.append(f"would not fetch {file.name} ({file.how_large}), since {file.by_hand}")
            lines.append(f"  it was at {file.address}; put it into {root} yourself")
        else:
            lines.append(f"would fetch {file.name} ({file.how_large}) from {file.address}")
    if not to_come:
        return [*lines, "", "in all: nothing to fetch"]
    known = sum(file.size or 0 for file in to_come)
    unknown = [file.size_said or "a file of unknown size" for file in to_come if file.size is None]
    total = " and ".join(([readable(known)] if known else []) + unknown)
    return [*lines, "", f"in all: {total}, and about as much again once archives are unpacked"]


def _report_lines(report: "Report") -> list[str]:
    lines = [f"{report.dataset} in {report.root}", ""]
    lines += [
        f"  {row}" for row in _table([(_MARKS.get(f.state, f.state), f.name, f.told) for f in report.files])
    ]
    rows = [("split", "people", "pictures annotated", "pictures here", "annotations")]
    for s in report.splits:
        people = f"{s.people:,} of {s.people_expected:,}"
        pictures = f"{s.pictures:,} of {s.pictures_expected:,}"
        rows.append((s.split, people, pictures, f"{s.present:,} of {s.pictures_expected:,}", s.annotations))
    lines += ["", *(f"  {row}" for row in _table(rows)), ""]
    lines += [f"  {s.split}: {s.problem}" for s in report.splits if s.problem]
    people, pictures = ("{:,} of {:,}".format(*pair) for pair in (report.people, report.pictures))
    state = "all as expected" if report.whole else "something is missing or different"
    return [*lines, f"{people} people, {pictures} pictures: {state}"]


def _report_json(report: "Report") -> dict[str, Any]:
    content = asdict(report)
    for split, state in zip(content["splits"], report.splits, strict=True):
        split["whole"] = state.whole
    return {"whole": report.whole, **content}


def _write_json(target: str, content: dict[str, Any]) -> None:
    text = jsonlib.dumps(content, indent=2)
    if target == "-":
        typer.echo(text)
        return
    path = Path(target)
    if path.is_dir():
        raise ValueError(f"--json {target} is a folder, not a file")
    from hourglass.core.files import write_text_atomically

    write_text_atomically(path, text + "\n")


@contextmanager
def byte_bars() -> "Iterator[Progress]":
    """Bars with bytes, speed and the time left, on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    shown = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = shown.add_task(what, total=total, completed=done)
        shown.update(tasks[what], completed=done, total=total)

    with shown:
        yield tell
