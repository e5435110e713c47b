"""`linnaeus-client classify`: its options, and the exit status.

linnaeus-client classify cat.jpg dog.jpg --model efficientnet_lite0 --top-k 3
linnaeus-client classify photos/ --recursive --output csv --sort-into sorted/
"""

import asyncio
import os
from typing import Annotated

import typer

from linnaeus.client.bulk.concurrency_window import DEFAULT_CONCURRENCY
from linnaeus.client.cli.app import app
from linnaeus.client.cli.classify.classify_inputs import ClassifyOptions
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Inputs, read_standard_input
from linnaeus.client.cli.classify.output_formats import OutputFormat
from linnaeus.client.cli.classify.run import ClassifyRun
from linnaeus.client.cli.classify.sort_into import Sorter
from linnaeus.client.cli.connection import Connection, takes_connection


@app.command()
@takes_connection()
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
    top_k: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31 - 1,
            help="Classes a picture; 0: the server decides. Default: 1; with --min-probability all that reach it.",
            show_default=False,
        ),
    ] = None,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out classes that are less probable.", show_default=False)
    ] = 0.0,
    features: Annotated[
        bool, typer.Option("--features", help="Also the features; with --output json or jsonl.", show_default=False)
    ] = False,
    priority: Annotated[
        str | None, typer.Option(help="high, normal or low, for a server that has too much to do.", show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Pictures under way at once.")] = DEFAULT_CONCURRENCY,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Send all over one stream to one server; about as quick as a call each."),
    ] = False,
    output: Annotated[
        OutputFormat | None, typer.Option(help="The form; a table if left out.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    sort_into: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Copy each picture into DIR/<label>/; nothing is moved or overwritten."),
    ] = None,
) -> None:
    """Names what is in each picture."""
    connection: Connection = context.obj
    output_format = _output_format(output, as_json)
    if features and output_format not in (OutputFormat.JSON, OutputFormat.JSONL):
        raise typer.BadParameter("--features has no place in a table: say --output json or --output jsonl, too")
    run = ClassifyRun(
        connection=connection,
        inputs=_inputs(files or [], names, recursive),
        options=ClassifyOptions(
            model=model,
            version=version,
            top_k=(0 if min_probability else 1) if top_k is None else top_k,
            priority=priority,
            min_probability=min_probability,
            features=features,
        ),
        concurrency=concurrency,
        output_format=output_format,
        sorter=None if sort_into is None else Sorter(sort_into),
        use_stream=stream,
    )
    if not asyncio.run(run.run(connection.client())):
        raise typer.Exit(1)


def _inputs(files: list[str], names: str | None, recursive: bool) -> Inputs:
    """Checks the arguments. Reads standard input here, before the event loop runs, where Ctrl-C still takes effect."""
    if not files and names is None:
        raise typer.BadParameter("there is no picture: name a FILE, a folder, - or --from-file LIST")
    if [*files, names].count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("standard input can be read once only: there is more than one -")
    if names is not None and names != STANDARD_INPUT and (os.path.isdir(names) or not os.access(names, os.R_OK)):
        raise typer.BadParameter(f"--from-file: {names} cannot be read")
    content = read_standard_input() if STANDARD_INPUT in files else b""
    return Inputs(files, names, recursive, content)


def _output_format(output: OutputFormat | None, as_json: bool) -> OutputFormat:
    if as_json and output not in (None, OutputFormat.JSON):
        raise typer.BadParameter(f"--json and --output {output} exclude each other")
    return OutputFormat.JSON if as_json else output or OutputFormat.TABLE
