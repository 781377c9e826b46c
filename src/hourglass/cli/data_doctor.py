"""`hourglass data doctor`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.doctor.examine import Diagnosis, Stages

DEFAULT_SHEET = Path("out/doctor.jpg")
ENDINGS = (".jpg", ".jpeg", ".png")
WIDE = 100
"""Columns where the output is no terminal, so that few names of pictures are broken."""


def doctor(
    root: Annotated[
        str,
        typer.Argument(
            metavar="ROOT",
            help="Folder of the data set, or a pack; of COCO data, the photos; or a labelling tool's file.",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            help="lspet, lsp, mpii, flic, coco, file, pack, synthetic; without it, told from what lies there."
        ),
    ] = "",
    annotations: Annotated[
        str,
        typer.Option(help="A file of any known form; {split} in it (and in ROOT) stands for every split."),
    ] = "",
    category: Annotated[str, typer.Option(help="coco: which category, where several have keypoints.")] = "",
    split: Annotated[str, typer.Option(help="Look at one split alone; leaks then can't show.")] = "",
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Contact sheet of the suspects, .jpg or .png; beside --json FILE, or out/doctor.jpg.",
        ),
    ] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the report as JSON; - prints it.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Open no picture but those of the contact sheet.")
    ] = False,
    most: Annotated[int, typer.Option(min=0, help="Suspects of each check on the sheet; 0: no sheet.")] = 12,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that open pictures; 0: one for each core.")
    ] = 0,
) -> None:
    """Look at a data set before training, and say whether it should start.

    Checks annotations and pictures: missing and damaged files, pictures in two splits, joints outside,
    left and right exchanged, limbs that can't be, people annotated twice, and more (docs/doctor.md).
    Suspects are drawn on a contact sheet, the worst first.

    Exit code 0: training can start, perhaps with warnings; 1: it should not; 2: the request can't be met.

    Example, without any data: hourglass data doctor --data synthetic

    On real photos: hourglass data doctor data/lspet --json doctor.json

    Own data: hourglass data doctor photos/{split} --annotations people_{split}.json
    """
    if json not in ("", "-") and Path(json).is_dir():
        raise ValueError(f"--json {json} is a folder, not a file")
    if sheet is not None and sheet.suffix.lower() not in ENDINGS:
        raise ValueError(f"--sheet {sheet}: the file's name must end in {', '.join(ENDINGS)}")

    from hourglass.doctor.examine import examine, refused
    from hourglass.doctor.sources import Refused, find

    began = time.perf_counter()
    facts: dict[str, Any] = {"root": root, "data": data or None, "split": split or None, "quick": quick}
    try:
        found = find(root, data, annotations, category or None, split)
    except Refused as error:
        diagnosis = refused(error)
    else:
        facts["data"] = found.kind
        with _progress() as stages:
            diagnosis = examine(found, split, quick, workers, stages)
    facts["sheet"] = _draw(diagnosis, most, sheet or _beside(json))
    facts["seconds"] = round(time.perf_counter() - began, 2)
    _tell(diagnosis, facts, json)
    if not diagnosis.can_start:
        raise typer.Exit(1)


def _beside(json: str) -> Path:
    return DEFAULT_SHEET if json in ("", "-") else Path(json).with_suffix(".jpg")


def _draw(diagnosis: "Diagnosis", most: int, path: Path) -> str | None:
    """Write the contact sheet; its path, or None when there was nobody to show."""
    if not most:
        return None
    from hourglass.doctor.sheet import save, sheet

    picture = sheet(diagnosis, most)
    if picture is None:
        return None
    save(path, picture)
    return str(path)


@contextmanager
def _progress() -> "Iterator[Stages]":
    """A bar with the time left on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def stages(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield stages


def _tell(diagnosis: "Diagnosis", facts: dict[str, Any], json: str) -> None:
    """The table on standard output, unless JSON goes there; JSON into its file."""
    from json import dumps

    from hourglass.doctor.report import as_json

    text = dumps({**as_json(diagnosis), **facts}, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    from rich.console import Console

    from hourglass.doctor.report import stories, summary, table

    console = Console(highlight=False)
    if not console.is_terminal and console.width < WIDE:
        console.width = WIDE
    console.print(table(diagnosis, f"{facts['data'] or 'data'} {facts['root']}".strip()))
    sheet = f"suspects: {facts['sheet']}" if facts["sheet"] else ""
    for line in (summary(diagnosis), *stories(diagnosis), sheet, diagnosis.sentence):
        if line:
            console.print(line, soft_wrap=True, markup=False)
