"""`hourglass models`."""

import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.models.catalogue import Published


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One network in detail; without one, all of them.")
    ] = None,
    designs: Annotated[
        bool, typer.Option("--designs", help="The workshop paper's five designs beside one another.")
    ] = False,
    diagram: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw NAME into this .svg, .png or .pdf file.")
    ] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """List the published networks: parameters, FLOPs, published scores, recipes.

    Parameters and FLOPs are measured from the network that is built, for one crop of the published size, two
    FLOPs for a multiply-add. NAME shows what a network is made of, how its count compares with the published
    one, and which keys of a recipe give it.

    Example: hourglass models hg2

    As a picture: hourglass models hg2 --diagram hg2.svg
    """
    if designs and (name is not None or diagram is not None):
        raise ValueError("--designs compares five networks: give it without NAME and --diagram")
    if diagram is not None and name is None:
        raise ValueError("--diagram draws one network: give its name, such as hg2")
    if json not in ("", "-") and Path(json).is_dir():
        raise ValueError(f"--json {json} is a folder, not a file")
    with _patience():
        from hourglass.models.catalogue import PUBLISHED, find

        entry = None if name is None else find(name)
        if designs:
            told = _design_facts()
        elif entry is None:
            told = {"networks": [_facts(published) for published in PUBLISHED]}
        else:
            told = {**_facts(entry), "parts": _part_facts(entry)}
            if diagram is not None:
                _draw(entry, diagram)
    if json == "-":
        sys.stdout.write(jsonlib.dumps(told, indent=2) + "\n")
        return
    if json:
        from hourglass.core.files import write_text_atomically

        Path(json).parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(Path(json), jsonlib.dumps(told, indent=2) + "\n")
    if designs:
        _print_designs(told)
    elif entry is None:
        _print_networks(told)
    else:
        _print_network(told)
    if diagram is not None:
        typer.echo(f"diagram: {diagram}")


@contextmanager
def _patience() -> Iterator[None]:
    """Building networks takes a few seconds; say so where there is a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("building and measuring"):
        yield


def _facts(entry: "Published") -> dict[str, Any]:
    from hourglass.models.catalogue import measure

    size = measure(entry)
    return {
        "name": entry.name,
        "parameters": size.parameters,
        "gflops": round(size.gflops, 6),
        "input_px": entry.input_px,
        "joints": entry.joints,
        "scores": entry.scores,
        "source": entry.source,
        "counts_published": entry.counts_published,
        "why": entry.why,
        "recipe": entry.recipe,
        "network": list(entry.options),
    }


def _part_facts(entry: "Published") -> list[dict[str, Any]]:
    from dataclasses import asdict

    from hourglass.models.catalogue import on_meta
    from hourglass.models.parts import parts

    return [asdict(part) for part in parts(on_meta(entry), entry.input_px)]


def _design_facts() -> dict[str, Any]:
    from dataclasses import asdict

    from hourglass.models.ablations import compare_designs

    return {"designs": [asdict(row) for row in compare_designs()]}


def _draw(entry: "Published", path: Path) -> None:
    from hourglass.drawing.diagram import draw_network
    from hourglass.models.catalogue import on_meta

    draw_network(on_meta(entry), entry.input_px, path, f"{entry.name}: {entry.source}")


def _print_networks(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("network", title="Published networks, as built here")
    for column in ("M parameters", "GFLOPs", "input"):
        table.add_column(column, justify="right")
    table.add_column("published score")
    table.add_column("source")
    for row in told["networks"]:
        size = f"{row['parameters'] / 1e6:.3f}", f"{row['gflops']:.2f}", f"{row['input_px']} px"
        table.add_row(row["name"], *size, row["scores"] or "-", row["source"])
    Console(highlight=False).print(table)


def _print_network(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)

    def line(label: str, text: str) -> None:
        console.print(f"{label:10} {text}", soft_wrap=True, markup=False)

    console.print(f"[bold]{told['name']}[/bold]  {told['source']}", soft_wrap=True)
    line("measured", f"{told['parameters'] / 1e6:.3f} M parameters, {told['gflops']:.2f} GFLOPs")
    line("", f"for one crop of {told['input_px']} px and {told['joints']} joints")
    line("published", told["counts_published"] or "no count")
    line("", told["why"])
    line("score", told["scores"] or "none known")
    where = "data.root=FOLDER" + (" data.annotations=FILE" if told["recipe"].startswith("coco") else "")
    line("recipe", f"hourglass train {told['recipe']} {where}")
    line("options", " ".join(told["network"]) or "those of an empty recipe")
    table = Table("part")
    for column in ("M parameters", "output of one crop"):
        table.add_column(column, justify="right")
    for part in told["parts"]:
        shape = "varies" if part["output"] is None else " x ".join(map(str, part["output"]))
        times = f" (x {part['count']})" if part["count"] > 1 else ""
        table.add_row(part["name"] + times, f"{part['parameters'] / 1e6:.3f}", shape)
    console.print(table)


def _print_designs(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("design", title="The five designs of the workshop paper, 16 joints")
    for column in ("convolutions", "M parameters"):
        table.add_column(column, justify="right")
    table.add_column("compared with")
    for column in ("more convolutions", "more parameters"):
        table.add_column(column, justify="right")
    for row in told["designs"]:
        own = row["name"] == row["counterpart"]
        ratios = (row["convolution_ratio"], row["parameter_ratio"])
        table.add_row(
            row["name"],
            str(row["convolutions"]),
            f"{row['parameters'] / 1e6:.3f}",
            "" if own else row["counterpart"],
            *("" if own else f"{100 * (ratio - 1):+.1f} %" for ratio in ratios),
        )
    Console(highlight=False).print(table)
