"""The application `linnaeus-client`: the options of the connection, which all commands share.

`--server` and `--timeout` may be given before or after the command's name.
"""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli.credentials import Credentials, read_credentials
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS
from linnaeus.client.transport.deadlines import check_timeout
from linnaeus.client.transport.targets import check_target

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Connection:
    """The options of the connection: the server's address, the timeout of a call, the credentials."""

    server: str
    timeout_seconds: float
    credentials: Credentials = field(default_factory=Credentials)

    def client(self) -> AsyncClient:
        """Returns a client with these options.

        Raises:
            typer.BadParameter: if they contradict each other, or a file cannot be read.
        """
        try:
            return AsyncClient(
                self.server,
                timeout_seconds=self.timeout_seconds,
                tls=self.credentials.tls,
                token=self.credentials.token,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


def _check_server(server: str | None) -> str | None:
    try:
        return None if server is None else check_target(server)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _check_timeout(timeout: float | None) -> float | None:
    try:
        return None if timeout is None else check_timeout(timeout)
    except ValueError:
        raise typer.BadParameter("it must be above 0 seconds and at most a year") from None


_SERVER_HELP = "The server's address."
_TIMEOUT_HELP = "How long one call may take."
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="HOST:PORT", callback=_check_server, help=_SERVER_HELP, show_default=False),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", callback=_check_timeout, help=_TIMEOUT_HELP, show_default=False),
]


@app.callback()
def connection(
    context: typer.Context,
    server: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", envvar="LINNAEUS_SERVER", callback=_check_server, help=_SERVER_HELP),
    ] = DEFAULT_TARGET,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", callback=_check_timeout, help=_TIMEOUT_HELP)
    ] = DEFAULT_TIMEOUT_SECONDS,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Holds the token to show; LINNAEUS_TOKEN may hold the token itself.",
            show_default=False,
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", envvar="LINNAEUS_TLS", help="Encrypt the connection.")] = False,
    tls_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="LINNAEUS_TLS_CA", help="Whom to trust, in PEM; implies --tls."),
    ] = None,
    tls_certificate: Annotated[
        str | None, typer.Option(metavar="FILE", help="This client's own certificate, in PEM; implies --tls.")
    ] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, in PEM.")] = None,
    tls_server_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="In the server's certificate, where it is not the address's.")
    ] = None,
) -> None:
    """Asks a Linnaeus server what is in a picture."""
    try:
        credentials = read_credentials(token_file, tls, tls_ca, tls_certificate, tls_key, tls_server_name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    context.obj = Connection(server, timeout, credentials)


def connection_of(context: typer.Context, server: str | None, timeout: float | None) -> Connection:
    """Returns the options of the connection; those after the command's name override those before it."""
    before: Connection = context.obj
    return Connection(server or before.server, timeout or before.timeout_seconds, before.credentials)
