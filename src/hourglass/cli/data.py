"""`hourglass data`: one file per subcommand, registered here."""

import typer

from hourglass.cli import data_convert, data_doctor, data_pack, data_sources

app = typer.Typer(help="Find, check, convert and pack data.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Find, check, convert and pack data."""


app.command()(data_sources.where)
app.command()(data_sources.get)
app.command()(data_sources.check)
app.command()(data_doctor.doctor)
app.command()(data_convert.convert)
app.command()(data_pack.pack)
