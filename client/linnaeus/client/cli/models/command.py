"""`linnaeus-client models`: lists the models of a server, loads and unloads them.

linnaeus-client models list --json
linnaeus-client models load lenet
linnaeus-client models default lenet stable
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli import output
from linnaeus.client.cli.app import app
from linnaeus.client.cli.connection import Connection, takes_connection
from linnaeus.client.cli.connection_help import explain
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
@takes_connection()
def models_or_command(context: typer.Context, as_json: Json = False) -> None:
    """Lists the models, also those that the server refused; loads and unloads them."""
    if context.invoked_subcommand is None:
        _show(context.obj, lambda client: client.models(), as_json)
    elif as_json:
        raise typer.BadParameter(f"--json goes after the name: models {context.invoked_subcommand} --json")


@models.command("list")
@takes_connection()
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """Lists the models, also those that the server refused; the same as models alone."""
    _show(context.obj, lambda client: client.models(), as_json)


@models.command()
@takes_connection()
def load(context: typer.Context, model: Name, as_json: Json = False) -> None:
    """Loads what of a model is not served yet."""
    seconds = _load_timeout(context.obj)
    _show(context.obj, lambda client: client.load_model(model, timeout_seconds=seconds), as_json)


@models.command()
@takes_connection()
def reload(context: typer.Context, model: Name, as_json: Json = False) -> None:
    """Loads a model anew beside what is served of it, then moves the calls."""
    seconds = _load_timeout(context.obj)
    _show(context.obj, lambda client: client.reload_model(model, timeout_seconds=seconds), as_json)


@models.command()
@takes_connection()
def unload(
    context: typer.Context,
    model: Name,
    version: Annotated[str, typer.Option(help="A number or a label; all if left out.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Stops serving a model, once its calls are answered."""
    seconds = _load_timeout(context.obj)
    _show(context.obj, lambda client: client.unload_model(model, version, timeout_seconds=seconds), as_json)


@models.command()
@takes_connection()
def default(
    context: typer.Context,
    model: Name,
    version: Annotated[
        str, typer.Argument(help="A number or a label; if left out, what config.toml says.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Says which version answers calls that name none."""

    async def call(client: AsyncClient) -> Sequence[ModelInfo]:
        return [await client.set_default_version(model, version)]

    _show(context.obj, call, as_json)


def _load_timeout(connection: Connection) -> float:
    """Returns the timeout that was given, or one for a large model; that of other calls would be too short."""
    return connection.timeout_option or LOAD_TIMEOUT_SECONDS


def _show(connection: Connection, call: Call, as_json: bool) -> None:
    try:
        listing = asyncio.run(_models(connection, call))
    except LinnaeusError as error:
        output.write_error(explain(error, connection).message)
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
