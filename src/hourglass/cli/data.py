"""`hourglass data`: one file per subcommand, registered here."""

import typer

from hourglass.cli import data_pack

app = typer.Typer(help="Prepare data.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Prepare data."""


app.command()(data_pack.pack)
