"""The application `linnaeus-client`; importing the module of a command adds the command to it."""

import typer

from linnaeus.client.cli.connection import takes_connection
from linnaeus.command_line.application import Version

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
@takes_connection(reads_environment=True)
def linnaeus_client(context: typer.Context, version: Version = False) -> None:
    """Asks a Linnaeus server what is in a picture."""
