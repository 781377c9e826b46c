"""`hourglass data pack`."""

import json as jsonlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hourglass.data.packs.write_pack import PackReport

KINDS = ("lspet", "lsp", "lsp_lspet", "mpii", "flic", "coco", "file", "synthetic")

_SPLITS = {"lsp": ["train", "test"], "lsp_lspet": ["train", "test"]}
"""What is packed where no split is given; of other kinds train and val."""

TELL_EVERY_S = 20.0
"""Between lines about how far packing is, where there is no terminal."""

RATE_OVER_S = 20.0
"""How long a time the shown rate is of."""


def pack(
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")],
    data: Annotated[str, typer.Option(help=f"Kind of data: {', '.join(KINDS)}.")] = "lspet",
    root: Annotated[
        str, typer.Option(help="The data set's folder, or that of the photos of coco and file.")
    ] = "",
    annotations: Annotated[
        str, typer.Option(help="coco, file: the file of annotations; {split} in it is replaced by the split.")
    ] = "",
    category: Annotated[str, typer.Option(help="coco, file: which category, where several differ.")] = "",
    crop: Annotated[
        str, typer.Option(help="box, or limbs: its side is told by limbs (lspet, lsp, lsp_lspet, coco).")
    ] = "box",
    sides: Annotated[
        str, typer.Option(help="Left and right: the file's, observer for the picture's, or person (flic).")
    ] = "",
    count: Annotated[int, typer.Option("--people", help="synthetic: how many to render for a split.")] = 64,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Which part; may be repeated (where not given: train and val; of lsp and lsp_lspet "
            "train and test; of one COCO file train)."
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Largest side of a crop in pixels.")] = 256,
    codec: Annotated[
        str,
        typer.Option(
            help="webp (small) or jpeg (1.6 times the size, a third of the time to decode); where not given "
            "webp in one file and jpeg in shards."
        ),
    ] = "",
    quality: Annotated[
        int, typer.Option(help="Of the pictures, 1 to 100; 0: 70 for webp and 75 for jpeg, which look alike.")
    ] = 0,
    shards: Annotated[
        int,
        typer.Option(help="Write so many files and an index, to be read as they are needed; 0: one file."),
    ] = 0,
    shard_mb: Annotated[float, typer.Option(help="Instead of --shards: about so many MB in each.")] = 0.0,
    margin: Annotated[float, typer.Option(help="Side of what is kept over that of the person's crop.")] = 1.5,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
    workers: Annotated[int, typer.Option(help="Threads; 0: one for each core.")] = 0,
) -> None:
    """Cut every annotated person out once and keep the crops in one small Parquet file.

    Train from it with data.name=pack data.root=OUT.parquet. A run that was killed goes on where it was
    when the same command is given again. A photo that can't be read is named and left out.

    Example, without any data: hourglass data pack --data synthetic --people 64 rendered.parquet

    On real photos: hourglass data pack --data lspet --root data/lspet lspet.parquet

    Own data: hourglass data pack --data coco --annotations people.json --root photos people.parquet

    For several machines: hourglass data pack --data lspet --root data/lspet --shards 8 lspet.parquet
    """
    if json not in ("", "-") and Path(json).is_dir():
        raise ValueError(f"--json {json} is a folder, not a file")
    for option, value in (("--shards", shards), ("--shard-mb", shard_mb)):
        if not value >= 0:
            raise ValueError(f"{option} can't be negative or no number: {value}")
    names = _splits(data, annotations, split)

    from hourglass.data.loading.records import load_records
    from hourglass.data.packs.write_pack import write_pack, write_shards
    from hourglass.recipe.data import DataRecipe

    rendered = count if data == "synthetic" else 0
    recipe = DataRecipe(data, root, annotations, category, crop=crop, sides=sides, people=rendered)
    people = {name: load_records(recipe, name) for name in names}

    chosen = (data, root, "" if crop == "box" else f"crop={crop}", f"sides={sides}" if sides else "")
    source = " ".join(word for word in chosen if word)
    threads = workers or os.cpu_count() or 1
    with _progress() as progress:
        if shards or shard_mb:
            how = (size, quality, margin, threads, progress, source, codec or "jpeg")
            report = write_shards(people, out, shards, shard_mb, *how)
        else:
            how = (size, quality, margin, threads, progress, source, codec or "webp")
            report = write_pack(people, out, *how)
    _tell(report, out, json)
    if report.failed:
        raise typer.Exit(1)


def _splits(data: str, annotations: str, given: list[str] | None) -> list[str]:
    if data not in KINDS:
        raise ValueError(f"--data {data!r} is not one of {', '.join(KINDS)}")
    one_file = data in ("coco", "file") and "{split}" not in annotations
    names = given or (["train"] if one_file else _SPLITS.get(data, ["train", "val"]))
    if len(set(names)) < len(names):
        raise ValueError(f"--split names one split twice: {', '.join(names)}")
    if one_file and len(names) > 1:
        raise ValueError(
            f"several splits of {data} data need {{split}} in --annotations, or all would be the same"
        )
    return names


@contextmanager
def _progress() -> "Iterator[Callable[[int, int], None]]":
    """People done, people a second and the time left: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    # Of the last while only: what an earlier run had packed comes in leaps and says nothing about this one.
    marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
    told = time.monotonic()

    def rate(done: int) -> float:
        marks.append((time.monotonic(), done))
        while marks[-1][0] - marks[1][0] > RATE_OVER_S:
            marks.popleft()
        return (done - marks[0][1]) / max(marks[-1][0] - marks[0][0], 1e-9)

    if console.is_terminal:
        columns = (
            TextColumn("packing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("packing", total=None, rate="")
            yield lambda done, total: bar.update(
                task, completed=done, total=total, rate=f"{rate(done):.0f} people/s"
            )
        return

    def tell(done: int, total: int) -> None:
        nonlocal told
        speed = rate(done)
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            left = (total - done) / max(speed, 1e-9)
            typer.echo(f"packed {done} of {total} people, {speed:.0f}/s, {left:.0f} s left", err=True)

    yield tell


def _tell(report: "PackReport", out: Path, json: str) -> None:
    for failure in report.failed:
        typer.echo(f"hourglass: left out person {failure.person_id}: {failure.reason}", err=True)
    people = ", ".join(f"{count} {split}" for split, count in report.people.items())
    resumed = f" ({report.resumed} of them before)" if report.resumed else ""
    typer.echo(
        f"{out}: {people} people{resumed}, {report.bytes / 1e6:.1f} MB, {report.seconds:.0f} s", err=True
    )
    text = jsonlib.dumps({"out": str(out), **asdict(report)}, indent=2)
    if json == "-":
        typer.echo(text)
    elif json:
        Path(json).parent.mkdir(parents=True, exist_ok=True)
        Path(json).write_text(text + "\n", encoding="utf-8")
