"""`hourglass benchmark`: how fast this machine is, in pairs with the plain way."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Compare our speed with the plain way, in one process, in pairs, with spread.", no_args_is_help=True
)

Stacks = Annotated[int, typer.Option(help="Hourglasses of the network.")]
Features = Annotated[int, typer.Option(help="Width of the network.")]
Build = Annotated[str, typer.Option(help="eccv or workshop.")]
Input = Annotated[int, typer.Option("--input-px", help="Side of the crop in pixels.")]
BatchSize = Annotated[int, typer.Option(help="Images per step.")]
Rounds = Annotated[int, typer.Option(help="Pairs of measurements.", min=1)]
Json = Annotated[Path | None, typer.Option("--json", help="Also write JSON here; - prints only JSON.")]


@app.command()
def train(
    stacks: Stacks = 1,
    features: Features = 256,
    build: Build = "eccv",
    input_px: Input = 256,
    batch_size: BatchSize = 32,
    rounds: Rounds = 5,
    json_file: Json = None,
) -> None:
    """Time one training step: bf16, channels_last and device targets against fp32, NCHW and numpy targets.

    Also says which share of the machine's own bf16 matrix rate the step reaches, and how many times
    faster than the step the loader is.

    Example: hourglass benchmark train --stacks 1 --input-px 256
    """
    from hourglass.bench.training import benchmark_training

    _run(benchmark_training, build, stacks, features, input_px, batch_size, rounds, json_file)


@app.command()
def predict(
    stacks: Stacks = 2,
    features: Features = 256,
    build: Build = "eccv",
    input_px: Input = 256,
    batch_size: BatchSize = 8,
    rounds: Rounds = 5,
    backend: Annotated[str, typer.Option(help="torch, onnxruntime or openvino.")] = "torch",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 with openvino.")] = "auto",
    json_file: Json = None,
) -> None:
    """Time pictures to joints: batched, on any backend, against fp32, NCHW, one by one.

    Example: hourglass benchmark predict --stacks 2 --batch-size 1 --backend openvino
    """
    from hourglass.bench.predicting import benchmark_predicting

    how = {"backend": backend, "precision": precision}
    _run(benchmark_predicting, build, stacks, features, input_px, batch_size, rounds, json_file, **how)


@app.command()
def table(
    rounds: Rounds = 3,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json_file: Json = None,
) -> None:
    """Measure every row of docs/benchmarks.md on this machine: about fifteen minutes on two cores.

    Let nothing else run meanwhile. Needs the backends: pip install -e '.[export]'

    Example: hourglass benchmark table --json table.json
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hourglass.bench.table import markdown as as_markdown
    from hourglass.bench.table import measure_table

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        rows = measure_table(rounds, lambda done, total: bar.update(task, completed=done, total=total))
    if markdown:
        typer.echo(as_markdown(rows))
    _tell(rows, json_file, quiet=markdown)


@app.command()
def loading(
    root: Annotated[
        str, typer.Option(help="Folder of the data whose photos are read; without one, rendered photos.")
    ] = "",
    data: Annotated[str, typer.Option(help="Kind of the data: lspet, lsp, mpii ...")] = "lspet",
    people: Annotated[int, typer.Option(help="So many people of its training part.", min=1)] = 500,
    input_px: Input = 256,
    batch_size: BatchSize = 32,
    rounds: Rounds = 5,
    json_file: Json = None,
) -> None:
    """Time loading, part by part and whole, against a loader that opens a JPEG, warps and draws per sample.

    Rates are samples per second of processor time, so that what else runs counts little. About two minutes.

    Example: hourglass benchmark loading

    On your own photos: hourglass benchmark loading --data lspet --root data/lspet
    """
    from rich.console import Console

    from hourglass.bench.loading import HEAD, benchmark_loading, numbers
    from hourglass.data.loading.records import load_records
    from hourglass.recipe.data import DataRecipe

    records = load_records(DataRecipe(data, root), "train")[:people] if root else None
    with Console(stderr=True).status("measuring, about two minutes"):
        photos = f"{data}, {len(records)} people" if records else ""
        rows = benchmark_loading(records, input_px, batch_size, rounds, photos=photos)
    _tell(rows, json_file, head=HEAD, cells=numbers(rows))


@app.command()
def anytime(
    weights: Annotated[
        str | None,
        typer.Argument(help="Bundled name, file, folder or hub id; by default the bundled network."),
    ] = None,
    data: Annotated[str, typer.Option(help="Kind of the data: lspet, lsp, mpii, pack ...")] = "lspet",
    root: Annotated[str, typer.Option(help="Its folder or file.")] = "",
    split: Annotated[str, typer.Option(help="Which part of it.")] = "val",
    people: Annotated[int, typer.Option(min=0, help="Only the first so many people; 0: all.")] = 0,
    rounds: Annotated[int, typer.Option(help="Latency measurements of each way.", min=2)] = 40,
    figure: Annotated[Path | None, typer.Option(help="Draw latency against PCK here (.svg, .png).")] = None,
    json_file: Json = None,
) -> None:
    """Measure what fewer stacks save and cost: latency and PCK of the first k, and of stopping early.

    Example: hourglass benchmark anytime --data lspet --root data/lspet --people 200
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hourglass.bench.anytime import HEAD, draw, measure_anytime, numbers
    from hourglass.data.loading.records import load_records
    from hourglass.recipe.data import DataRecipe
    from hourglass.weights.published import DEFAULT

    recipe = DataRecipe(data, root, people=people or 64) if data == "synthetic" else DataRecipe(data, root)
    records = load_records(recipe, split)[: people or None]
    columns = (TextColumn("ways"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ways", total=None)
        rows = measure_anytime(
            weights or DEFAULT,
            records,
            rounds,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw(rows, figure)
    _tell(rows, json_file, head=HEAD, cells=numbers(rows))


@app.command()
def scaling(
    axis: Annotated[
        list[str] | None,
        typer.Option(help="stacks, features, input_px, batch_size, people or dataset; may be repeated."),
    ] = None,
    rounds: Rounds = 3,
    out: Annotated[Path, typer.Option(help="Folder for a figure of each axis.")] = Path("out/scaling"),
    json_file: Json = None,
) -> None:
    """Measure how time and memory grow along each axis, with the fitted exponent, and draw it.

    About five minutes on two cores for all six. Exit code 1 when something grows faster than its arithmetic.

    Example: hourglass benchmark scaling --axis stacks --axis people
    """
    from rich.console import Console
    from rich.table import Table

    from hourglass.bench.compare import machine
    from hourglass.bench.scaling import EXPECTED, draw, growths, measure_axis
    from hourglass.inference.inputs_outputs import output_folder

    axes = list(dict.fromkeys(axis or EXPECTED))
    unknown = [name for name in axes if name not in EXPECTED]
    if unknown:
        raise ValueError(f"--axis {unknown[0]!r} is not one of {', '.join(EXPECTED)}")
    output_folder(out)
    console = Console(stderr=True)
    points = []
    with console.status("") as status:
        for number, name in enumerate(axes, 1):
            status.update(f"measuring {name} ({number} of {len(axes)})")
            points += measure_axis(name, rounds)
            draw([point for point in points if point.axis == name], out / f"{name}.svg")
    found = growths(points)
    if json_file is not None:
        rows = {
            "points": [asdict(point) for point in points],
            "growths": [{**asdict(growth), "worse": growth.worse} for growth in found],
            **machine(),
        }
        text = json.dumps(rows, indent=2)
        if str(json_file) == "-":
            typer.echo(text)
        else:
            json_file.write_text(text + "\n")
    if str(json_file) != "-":
        shown = Table(title=f"{machine()['device']}, {machine()['threads']} threads, {machine()['date']}")
        for head in ("axis", "what", "exponent", "of the two largest", "expected", ""):
            shown.add_column(head)
        for growth in found:
            verdict = "grows too fast" if growth.worse else ""
            cells = (f"{growth.exponent:.2f}", f"{growth.last:.2f}", f"at most {growth.expected}", verdict)
            shown.add_row(growth.axis, growth.what, *cells)
        Console().print(shown)
    console.print(f"figures in {out}", highlight=False)
    if any(growth.worse for growth in found):
        raise typer.Exit(1)


def _run(
    measure: Callable[..., dict[str, Any]],
    build: str,
    stacks: int,
    features: int,
    input_px: int,
    batch_size: int,
    rounds: int,
    json_file: Path | None,
    **backend: str,
) -> None:
    from rich.console import Console

    from hourglass.recipe.network import NetworkRecipe

    with Console(stderr=True).status(f"measuring {rounds} rounds of a few seconds each"):
        row = measure(NetworkRecipe(build, stacks, features), input_px, batch_size, rounds, **backend)
    _tell([row], json_file)


def _tell(
    rows: Sequence[dict[str, Any]],
    json_file: Path | None,
    quiet: bool = False,
    head: Sequence[str] = (),
    cells: Sequence[Sequence[str]] = (),
) -> None:
    """JSON of one row or several where asked for, and a table unless JSON or Markdown went to the screen.

    The table has the columns of `bench.table` unless another head and its cells are given.
    """
    from rich.console import Console
    from rich.table import Table

    from hourglass.bench.table import HEAD, numbers

    if json_file is not None:
        text = json.dumps(rows[0] if len(rows) == 1 else list(rows), indent=2)
        if str(json_file) == "-":
            typer.echo(text)
            return
        json_file.write_text(text + "\n")
    if quiet:
        return
    first = rows[0]
    title = f"{first['device']}, {first['threads']} threads, torch {first['torch']}, {first['date']}"
    shown = Table(title=title)
    for name in head or HEAD:
        shown.add_column(name)
    for line in cells or numbers(rows):
        shown.add_row(*line)
    Console().print(shown)
