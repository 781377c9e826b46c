"""`hourglass ablate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.bench.ablation.sets import AblationSet, Design


def ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SET", help="designs, capacity, mssh, systems, flic_designs ..., or a YAML file."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="For every design, such as train.length.steps=300."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the runs; runs/ablate/SET unless given.", show_default=False),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Train only this design; may be repeated. The report has all.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Instead of the set's seeds; may be repeated.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    report: Annotated[bool, typer.Option(help="Write the report when done.")] = True,
) -> None:
    """Train a set of designs under one budget and compare them.

    Each design and seed gets a folder as of `hourglass train`, then result.json. What is finished is
    skipped, what was stopped goes on, so the same command can be given again. At the end report.md, curves
    and pictures are written beside the runs.

    Example: hourglass ablate designs data.root=data/lspet

    A first try without data: hourglass ablate designs data.name=synthetic data.people=64
    train.length.steps=20
    """
    from dataclasses import replace

    from hourglass.bench.ablation.sets import load_set

    ablation = load_set(name)
    ablation = replace(
        ablation,
        overrides=(*ablation.overrides, *(overrides or [])),
        seeds=tuple(seed) if seed else ablation.seeds,
    )
    todo = ablation.only(only) if only else ablation
    folder = out or Path("runs") / "ablate" / ablation.name

    from hourglass.bench.ablation.run import run_set
    from hourglass.training.loop import Interrupted, TrainingError

    try:
        with _LiveTable(todo) as table:
            run_set(todo, folder, table.watch, accelerator)
    except Interrupted as stop:
        typer.echo(f"{stop}; the same command goes on", err=True)
        raise typer.Exit(130) from None
    except TrainingError as error:
        typer.echo(f"hourglass: {error}", err=True)
        raise typer.Exit(2) from None
    if report:
        from hourglass.bench.ablation.report import write_report

        typer.echo(f"report in {write_report(ablation, folder)}", err=True)


class _LiveTable:
    """A row for each run, brought up to date as its log grows; plain lines where there is no terminal."""

    def __init__(self, ablation: "AblationSet") -> None:
        from rich.console import Console
        from rich.live import Live

        self.rows: dict[tuple[str, int], list[str]] = {
            (design.name, seed): [design.name, str(seed), "waiting", "", "", "", ""]
            for design, seed in ablation.runs()
        }
        self.title = ablation.title
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False)

    def __enter__(self) -> "_LiveTable":
        if self.console.is_terminal:
            self.live.start()
            self.show()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def watch(self, design: "Design", seed: int, row: Mapping[str, Any]) -> None:
        """Take in one log row of one run."""
        cells = self.rows[design.name, seed]
        kind = row["kind"]
        if kind == "train":
            cells[2] = f"step {row['step']}"
            cells[4:] = [f"{row['loss']:.5f}", f"{row['images_per_s']:.0f}", f"{row['eta_s'] / 60:.0f} min"]
        else:
            pck = row["PCK@0.2"]
            cells[3] = "-" if pck is None else f"{pck:.1f}"
        if kind == "done":
            cells[2], cells[6] = "done", f"{row['seconds'] / 60:.0f} min in all"
        if self.console.is_terminal:
            self.show()
        elif kind != "train":
            said = f"{design.name}, seed {seed}: {cells[2]}  PCK@0.2 {cells[3]}  {cells[6]}"
            self.console.print(said, highlight=False, markup=False, soft_wrap=True)

    def show(self) -> None:
        from rich.table import Table

        table = Table(title=self.title)
        for column in ("design", "seed", "state", "PCK@0.2", "loss", "images/s", "left"):
            table.add_column(column, justify="left" if column in ("design", "state") else "right")
        for cells in self.rows.values():
            table.add_row(*cells)
        self.live.update(table, refresh=True)
