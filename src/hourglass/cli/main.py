"""The `hourglass` command: one file per subcommand, registered here."""

import logging
import os
import sys
from pathlib import Path

import typer

from hourglass.cli import (
    ablate,
    accuracy,
    batch,
    benchmark,
    calibrate,
    convert,
    data,
    demo,
    evaluate,
    evaluate_finder,
    export,
    label,
    models,
    predict,
    score,
    serve,
    train,
)

app = typer.Typer(
    name="hourglass",
    help="Train, score and run Stacked Hourglass pose networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(evaluate_finder.evaluate_finder)
app.command()(accuracy.accuracy)
app.command()(score.score)
app.command()(calibrate.calibrate)
app.command()(ablate.ablate)
app.command()(predict.predict)
app.command()(batch.batch)
app.command()(serve.serve)
app.command()(label.label)
app.command()(demo.demo)
app.command()(models.models)
app.command()(convert.convert)
app.command()(export.export)
app.add_typer(data.app, name="data")
app.add_typer(benchmark.app, name="benchmark")


def main() -> None:
    """Run the command line: 0 done, 1 part of a batch failed, 2 the request could not be met."""
    logging.basicConfig(level=logging.WARNING, format="hourglass: %(message)s", stream=sys.stderr)
    try:
        app()
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does; nothing is left to say.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives until exit
        sys.exit(1)
    except ImportError as error:
        from hourglass.core.extras import missing_module

        text = missing_module(error)
        if text is None:
            raise
        typer.echo(f"hourglass: {text}", err=True)
        sys.exit(2)
    except (ValueError, OSError) as error:
        typer.echo(f"hourglass: {explain(error)}", err=True)
        sys.exit(2)


def explain(error: Exception) -> str:
    """One sentence for a mistake that a user can mend."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {Path(error.filename)}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split())
