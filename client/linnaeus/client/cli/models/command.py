"""`linnaeus-client models`: lists the models of a server, loads and unloads them.

linnaeus-client models --json
linnaeus-client models load lenet
linnaeus-client models default lenet stable
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli import output
from linnaeus.client.cli.app import Connection, Server, Timeout, app, connection_of
from linnaeus.client.cli.models.table import model_notes, model_table
from linnaeus.client.config import LOAD_TIMEOUT_SECONDS
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.results import ModelInfo

models = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(models, name="models")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
Call = Callable[[AsyncClient], Awaitable[Sequence[ModelInfo]]]


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: Json = False, server: Server = None, timeout: Timeout = None) -> None:
    """Lists the models, also those that the server refused; loads and unloads them."""
    context.obj = connection_of(context, server, timeout)
    if context.invoked_subcommand is None:
        _show(context.obj, lambda client: client.models(), as_json)


@models.command()
def load(
    context: typer.Context, model: Name, as_json: Json = False, server: Server = None, timeout: Timeout = None
) -> None:
    """Loads what of a model is not served yet."""
    seconds = timeout or LOAD_TIMEOUT_SECONDS  # the timeout of other calls would be too short
    _show(
        connection_of(context, server, None), lambda client: client.load_model(model, timeout_seconds=seconds), as_json
    )


@models.command()
def reload(
    context: typer.Context, model: Name, as_json: Json = False, server: Server = None, timeout: Timeout = None
) -> None:
    """Loads a model anew beside what is served of it, then moves the calls."""
    seconds = timeout or LOAD_TIMEOUT_SECONDS  # the timeout of other calls would be too short
    _show(
        connection_of(context, server, None),
        lambda client: client.reload_model(model, timeout_seconds=seconds),
        as_json,
    )


@models.command()
def unload(
    context: typer.Context,
    model: Name,
    version: Annotated[str, typer.Option(help="A number or a label; all if left out.", show_default=False)] = "",
    as_json: Json = False,
    server: Server = None,
    timeout: Timeout = None,
) -> None:
    """Stops serving a model, once its calls are answered."""
    seconds = timeout or LOAD_TIMEOUT_SECONDS  # the timeout of other calls would be too short

    def call(client: AsyncClient) -> Awaitable[Sequence[ModelInfo]]:
        return client.unload_model(model, version, timeout_seconds=seconds)

    _show(connection_of(context, server, None), call, as_json)


@models.command()
def default(
    context: typer.Context,
    model: Name,
    version: Annotated[
        str, typer.Argument(help="A number or a label; if left out, what config.toml says.", show_default=False)
    ] = "",
    as_json: Json = False,
    server: Server = None,
    timeout: Timeout = None,
) -> None:
    """Says which version answers calls that name none."""

    async def call(client: AsyncClient) -> Sequence[ModelInfo]:
        return [await client.set_default_version(model, version)]

    _show(connection_of(context, server, timeout), call, as_json)


def _show(connection: Connection, call: Call, as_json: bool) -> None:
    try:
        listing = asyncio.run(_models(connection, call))
    except LinnaeusError as error:
        output.write_error(str(error))
        raise typer.Exit(1) from None
    if as_json:
        output.write_json([_without_labels(model) for model in listing])
    else:
        _write_models(listing)


async def _models(connection: Connection, call: Call) -> Sequence[ModelInfo]:
    async with connection.client() as client:
        return await call(client)


def _write_models(listing: Sequence[ModelInfo]) -> None:
    if not listing:
        output.write_lines(["The server has no models."])
        return
    narrow = not output.fits(model_table(listing))
    output.write_table(model_table(listing, narrow=narrow))
    output.write_lines(model_notes(listing, narrow=narrow))


def _without_labels(model: ModelInfo) -> dict[str, Any]:
    """Omits the labels, which a list of models does not have."""
    return {name: value for name, value in model.to_dict().items() if name != "labels"}
