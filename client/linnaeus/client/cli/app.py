"""The command line's words: commands, options, help, and which exit status follows.

    linnaeus-client classify cat.jpg dog.jpg --model efficientnet_lite0 --top-k 3
    linnaeus-client classify photos/ --recursive --output csv --sort-into sorted/
    linnaeus-client models --json

`--server` and `--timeout` may stand before or after the command's name.
"""

import asyncio
import os
from dataclasses import dataclass, field
from typing import Annotated

import typer

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.bulk.window import DEFAULT_CONCURRENCY
from linnaeus.client.cli.classify.classify_inputs import Question
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Sources, read_standard_input
from linnaeus.client.cli.classify.output_formats import Output
from linnaeus.client.cli.classify.run import Run
from linnaeus.client.cli.classify.sort_into import Sorter
from linnaeus.client.cli.credentials import Access, access_from
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS
from linnaeus.client.transport.deadlines import check_timeout
from linnaeus.client.transport.targets import check_target

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where to ask, how long to wait, and who asks."""

    server: str
    timeout_seconds: float
    access: Access = field(default_factory=Access)

    def client(self) -> AsyncClient:
        """A client with these settings.

        Raises:
            typer.BadParameter: they contradict each other, or a file cannot be read.
        """
        try:
            return AsyncClient(
                self.server, timeout_seconds=self.timeout_seconds, tls=self.access.tls, token=self.access.token
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


def _checked_server(server: str | None) -> str | None:
    try:
        return None if server is None else check_target(server)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _checked_timeout(timeout: float | None) -> float | None:
    try:
        return None if timeout is None else check_timeout(timeout)
    except ValueError:
        raise typer.BadParameter("it must be above 0 seconds and at most a year") from None


_SERVER_HELP = "The server's address."
_TIMEOUT_HELP = "How long one call may take."
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="HOST:PORT", callback=_checked_server, help=_SERVER_HELP, show_default=False),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", callback=_checked_timeout, help=_TIMEOUT_HELP, show_default=False),
]


@app.callback()
def connection(
    context: typer.Context,
    server: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", envvar="LINNAEUS_SERVER", callback=_checked_server, help=_SERVER_HELP),
    ] = DEFAULT_TARGET,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", callback=_checked_timeout, help=_TIMEOUT_HELP)
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
        access = access_from(token_file, tls, tls_ca, tls_certificate, tls_key, tls_server_name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    context.obj = Connection(server, timeout, access)


@app.command()
def classify(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|FOLDER|-",
            help="JPEG, PNG, GIF, WebP or BMP files, folders of them, - for one picture from standard input.",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option("--from-file", metavar="LIST", help="A file that names one picture a line; - is standard input."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="In folders, also the folders below.")] = False,
    model: Annotated[str, typer.Option(help="The model; may be left out where the server has only one.")] = "",
    version: Annotated[str, typer.Option(help="Its version, a number or a label.", show_default=False)] = "",
    top_k: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Classes a picture; 0: the server decides.")] = 1,
    priority: Annotated[
        str | None, typer.Option(help="high, normal or low, for a server that has too much to do.", show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Pictures under way at once.")] = DEFAULT_CONCURRENCY,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Send all over one stream: quicker for many small pictures and a quick model."),
    ] = False,
    output: Annotated[Output | None, typer.Option(help="The form; a table if left out.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    sort_into: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Copy each picture into DIR/<label>/; nothing is moved or overwritten."),
    ] = None,
    server: Server = None,
    timeout: Timeout = None,
) -> None:
    """Names what is in each picture."""
    run = Run(
        sources=_sources(files or [], names, recursive),
        question=Question(model=model, version=version, top_k=top_k, priority=priority),
        concurrency=concurrency,
        output=_output(output, as_json),
        sorter=None if sort_into is None else Sorter(sort_into),
        over_one_stream=stream,
    )
    if not asyncio.run(run.go(connection_of(context, server, timeout).client())):
        raise typer.Exit(1)


def connection_of(context: typer.Context, server: str | None, timeout: float | None) -> Connection:
    """What stands after the command's name wins over what stands before it."""
    before: Connection = context.obj
    return Connection(server or before.server, timeout or before.timeout_seconds, before.access)


def _sources(files: list[str], names: str | None, recursive: bool) -> Sources:
    """What is to be classified; standard input is read here, where Ctrl-C still ends everything at once."""
    if not files and names is None:
        raise typer.BadParameter("there is no picture: name a FILE, a folder, - or --from-file LIST")
    if [*files, names].count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("standard input can be read once only: there is more than one -")
    if names not in (None, STANDARD_INPUT) and not os.access(names, os.R_OK):
        raise typer.BadParameter(f"--from-file: {names} cannot be read")
    content = read_standard_input() if STANDARD_INPUT in files else b""
    return Sources(files, names, recursive, content)


def _output(output: Output | None, as_json: bool) -> Output:
    if as_json and output not in (None, Output.JSON):
        raise typer.BadParameter(f"--json and --output {output} exclude each other")
    return Output.JSON if as_json else output or Output.TABLE
