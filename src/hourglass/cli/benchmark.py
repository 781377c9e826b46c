"""`hourglass benchmark train` and `hourglass benchmark predict`."""

import json
from collections.abc import Callable
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
    from hourglass.benchmark import benchmark_training

    _run(benchmark_training, build, stacks, features, input_px, batch_size, rounds, json_file)


@app.command()
def predict(
    stacks: Stacks = 2,
    features: Features = 256,
    build: Build = "eccv",
    input_px: Input = 256,
    batch_size: BatchSize = 8,
    rounds: Rounds = 5,
    json_file: Json = None,
) -> None:
    """Time pictures to joints: batched, bf16 and channels_last against fp32, NCHW, one by one.

    Example: hourglass benchmark predict --stacks 2 --batch-size 1
    """
    from hourglass.benchmark import benchmark_predicting

    _run(benchmark_predicting, build, stacks, features, input_px, batch_size, rounds, json_file)


def _run(
    measure: Callable[..., dict[str, Any]],
    build: str,
    stacks: int,
    features: int,
    input_px: int,
    batch_size: int,
    rounds: int,
    json_file: Path | None,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from hourglass.benchmark import numbers
    from hourglass.recipe import NetworkRecipe

    errors = Console(stderr=True)
    with errors.status(f"measuring {rounds} rounds of a few seconds each"):
        row = measure(NetworkRecipe(build, stacks, features), input_px, batch_size, rounds)
    if json_file is not None:
        text = json.dumps(row, indent=2)
        if str(json_file) == "-":
            typer.echo(text)
            return
        json_file.write_text(text + "\n")
    table = Table(title=f"{row['device']}, {row['threads']} threads, torch {row['torch']}, {row['date']}")
    for name in ("", "network", "input", "images/s", "plain images/s", "ratio", "of matmul rate", "loader"):
        table.add_column(name)
    for cells in numbers([row]):
        table.add_row(*cells)
    Console().print(table)
