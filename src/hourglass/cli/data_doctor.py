"""`hourglass data doctor`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
    recipe: Annotated[
        str,
        typer.Option(help="Look at each of this recipe's data.sources; their folders start from ROOT."),
    ] = "",
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

    All that a recipe trains on: hourglass data doctor data --recipe people_hg2
    """
    if json not in ("", "-") and Path(json).is_dir():
        raise ValueError(f"--json {json} is a folder, not a file")
    if sheet is not None and sheet.suffix.lower() not in ENDINGS:
        raise ValueError(f"--sheet {sheet}: the file's name must end in {', '.join(ENDINGS)}")

    if recipe:
        if data or annotations or category:
            raise ValueError("--recipe says what each source is: leave --data, --annotations, --category out")
        options = _sources(recipe, root)
    else:
        options = {"": _Options(root, data, annotations, category)}
    reports = {}
    for title, chosen in options.items():
        place = sheet or _beside(json)
        if title:
            place = place.with_stem(f"{place.stem}_{title}")
        reports[title] = _examine(title, chosen, split, quick, workers, most, place)
    if json:
        from hourglass.doctor.report import as_json

        found = {title: {**as_json(diagnosis), **facts} for title, (diagnosis, facts) in reports.items()}
        _write({"recipe": recipe, "sources": found} if recipe else found[""], json)
    if json != "-":
        for title, (diagnosis, facts) in reports.items():
            _show(diagnosis, facts, title)
    if not all(diagnosis.can_start for diagnosis, _ in reports.values()):
        raise typer.Exit(1)


class _Options(NamedTuple):
    """What says where a data set lies."""

    root: str
    data: str
    annotations: str
    category: str


def _sources(recipe: str, root: str) -> dict[str, _Options]:
    """The sources of a recipe by title; those that share their files are looked at once."""
    from hourglass.recipe.recipe import find_recipe, load_recipe

    data = load_recipe(find_recipe(recipe), [f"data.root={root}"] if root else []).data
    if not data.sources:
        raise ValueError(f"the recipe {recipe} has no data.sources; name the data with ROOT and --data")
    found: dict[str, _Options] = {}
    for source in data.sources:
        one = data.of_source(source)
        options = _Options(one.root, one.name, one.annotations, one.category)
        if options not in found.values():
            found[source.title] = options
    return found


def _examine(
    title: str, options: _Options, split: str, quick: bool, workers: int, most: int, place: Path
) -> "tuple[Diagnosis, dict[str, Any]]":
    """What there is to say of one data set, its contact sheet drawn."""
    from hourglass.doctor.examine import examine, refused
    from hourglass.doctor.sources import RefusedAnnotations, find

    root, data, annotations, category = options
    began = time.perf_counter()
    facts: dict[str, Any] = {"root": root, "data": data or None, "split": split or None, "quick": quick}
    try:
        found = find(root, data, annotations, category or None, split)
    except RefusedAnnotations as error:
        diagnosis = refused(error)
    else:
        facts["data"] = found.kind
        with _progress(title) as stages:
            diagnosis = examine(found, split, quick, workers, stages)
    facts["sheet"] = _draw(diagnosis, most, place)
    facts["seconds"] = round(time.perf_counter() - began, 2)
    return diagnosis, facts


def _beside(json: str) -> Path:
    return DEFAULT_SHEET if json in ("", "-") else Path(json).with_suffix(".jpg")


def _draw(diagnosis: "Diagnosis", most: int, path: Path) -> str | None:
    """Write the contact sheet; its path, or None when there was nobody to show."""
    if not most:
        return None
    from hourglass.doctor.report import save, sheet

    picture = sheet(diagnosis, most)
    if picture is None:
        return None
    save(path, picture)
    return str(path)


@contextmanager
def _progress(title: str) -> "Iterator[Stages]":
    """A bar with the time left on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def stages(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(f"{title} {name}".strip(), total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield stages


def _write(report: dict[str, Any], json: str) -> None:
    from json import dumps

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    from hourglass.core.files import write_text_atomically

    write_text_atomically(Path(json), text)


def _show(diagnosis: "Diagnosis", facts: dict[str, Any], title: str) -> None:
    """The table, and what there is to say of it, on standard output."""
    from rich.console import Console

    from hourglass.doctor.report import stories, summary, table

    console = Console(highlight=False)
    if not console.is_terminal and console.width < WIDE:
        console.width = WIDE
    console.print(table(diagnosis, title or f"{facts['data'] or 'data'} {facts['root']}".strip()))
    sheet = f"suspects: {facts['sheet']}" if facts["sheet"] else ""
    for line in (summary(diagnosis), *stories(diagnosis), sheet, diagnosis.sentence):
        if line:
            console.print(line, soft_wrap=True, markup=False)
