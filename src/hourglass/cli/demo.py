"""`hourglass demo`: the bundled network on a photo and on rendered people."""

from pathlib import Path
from typing import Annotated

import typer

SEED = 107
"""Six people whom the bundled network reads well; others are a number away."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what is made.")] = Path("out/demo"),
    weights: Annotated[
        str | None, typer.Option(help="Bundled name, file, folder or hub id; by default the bundled network.")
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="How many people to render.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Which people to render.")] = SEED,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Show what the network does, without any data: a photo and rendered people.

    Writes the people drawn on the pictures, every stack's heatmaps, and the joints as JSON.

    Example: hourglass demo --out out/demo
    """
    from hourglass.inference.inputs_outputs import output_folder

    output_folder(out)

    from hourglass.cli.demo_pictures import run_demo

    for path, what in run_demo(out, weights, people, seed, device):
        typer.echo(f"{path}  {what}")
