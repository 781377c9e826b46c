"""`hourglass train`."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Such as train.batch_size=8."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/RECIPE unless given.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[str, typer.Option(help="How many, or auto; torchrun decides by itself.")] = "auto",
) -> None:
    """Train a network by a recipe.

    Writes recipe.yaml, log.jsonl, tensorboard/, last.ckpt, best.safetensors, last.safetensors and
    curve.png into the run's folder. Ctrl-C finishes the step, writes the checkpoint and stops;
    --resume goes on, to the bit.

    Example: hourglass train lspet_hg2_small data.root=data/lspet

    Without any data: hourglass train synthetic_tiny
    """
    from hourglass.recipe.recipe import find_recipe, load_recipe

    path = find_recipe(recipe)
    loaded = load_recipe(path, overrides or [])
    folder = out or Path("runs") / path.stem

    from hourglass.training.loop import Interrupted, TrainingError
    from hourglass.training.loop import train as run

    try:
        run(loaded, folder, path.stem, resume, accelerator, devices)
    except Interrupted as stop:
        typer.echo(str(stop), err=True)
        raise typer.Exit(130) from None
    except TrainingError as error:
        typer.echo(f"hourglass: {error}", err=True)
        raise typer.Exit(2) from None
