"""`linnaeus-client load`: the options of the load tester, and the exit status.

linnaeus-client load pictures/ --rate 200 --duration 30s --report report.html
linnaeus-client load cat.jpg --ramp 50:500:10 --deadline 200ms
linnaeus-client load cat.jpg --search "p99<100ms" --json found.json
linnaeus-client load --compare before.json after.json --report difference.html
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from linnaeus.client.cli.app import app
from linnaeus.client.cli.connection import Connection, takes_connection
from linnaeus.client.cli.load.usage_errors import usage_error
from linnaeus.client.load.plan import Plan, expand_pictures
from linnaeus.client.transport.tls import parse_tls

# Imported before a call is sent: a test of minutes must not end without its report.
_EXTRA = ("hdrh", "prometheus_client", "matplotlib")
_TIME = "TIME"
_FORMATS = "10s, 500ms, 2m or plain seconds."


@app.command()
@takes_connection()
def load(
    context: typer.Context,
    pictures: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE|FOLDER]", help="Sent in turn.", show_default=False)
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Calls a second, sent whether or not the server keeps up.")] = None,
    arrivals: Annotated[str, typer.Option(help="Of --rate: poisson, like many users, or constant.")] = "poisson",
    concurrency: Annotated[int | None, typer.Option(help="Callers, each one call at a time. Default: 16.")] = None,
    ramp: Annotated[str | None, typer.Option(metavar="FROM:TO:STEPS", help="One spell a rate; finds the knee.")] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="OBJECTIVE", help='Finds the highest rate that keeps e.g. "p99<100ms"; --rate starts it.'),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar=_TIME, help=f"A call that takes longer is late. Default: --timeout. {_FORMATS}"),
    ] = None,
    model: Annotated[str, typer.Option(help="The model; may be left out where the server has only one.")] = "",
    version: Annotated[str, typer.Option(help="Its version; the latest if left out.", show_default=False)] = "",
    top_k: Annotated[int, typer.Option(help="Classes a picture; 0: the server decides.")] = 1,
    cancel_rate: Annotated[float, typer.Option(help="Share of calls that are cancelled on purpose, 0 to 1.")] = 0.0,
    corrupt_rate: Annotated[float, typer.Option(help="Share of calls with a spoilt picture, 0 to 1.")] = 0.0,
    priority: Annotated[str | None, typer.Option(help="low, normal or high.")] = None,
    rpc: Annotated[str, typer.Option(help="unary, batch or stream.")] = "unary",
    batch_size: Annotated[int, typer.Option(help="Pictures a call of --rpc batch.")] = 8,
    connections: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="To the server. auto: as many as it tells, and one for each 1,024 calls that may be under way.",
        ),
    ] = "auto",
    duration: Annotated[str, typer.Option(metavar=_TIME, help=f"How long is measured, each step. {_FORMATS}")] = "10s",
    warmup: Annotated[
        str, typer.Option(metavar=_TIME, help="How long is sent before that, under the same load.")
    ] = "1s",
    processes: Annotated[int, typer.Option(help="Of the tester; 0: half the cores.")] = 0,
    max_in_flight: Annotated[int, typer.Option(help="Of --rate: calls under way at once.")] = 4096,
    metrics: Annotated[
        str | None, typer.Option(metavar="URL", help="The server's metrics; empty: none. Default: its port 8002.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals, cancelled and spoilt calls.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Writes all that was found.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Writes a page with plots.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Sends nothing; sets two results of --json side by side."),
    ] = None,
) -> None:
    """Measures how fast and how well a server answers under load."""
    for name in _EXTRA:
        import_module(name)
    from linnaeus.client.cli.load.options import LoadProfile, parse_connections, parse_duration
    from linnaeus.client.cli.load.run import OutputFiles, run_load_test
    from linnaeus.client.cli.load.run import compare as compare_results

    connection: Connection = context.obj
    try:
        files = OutputFiles(json_file, report)
        if compare is not None:
            compare_results(compare, files, pictures or [])
            return
        profile = LoadProfile.from_options(rate, concurrency, ramp, search)
        plan = Plan(
            target=connection.server,
            tls=parse_tls(connection.credentials.tls),
            token=connection.credentials.token,
            pictures=expand_pictures(pictures or []),
            model=model,
            version=version,
            top_k=top_k,
            rate=profile.rate,
            concurrency=profile.concurrency,
            arrivals=arrivals,
            duration_seconds=parse_duration(duration),
            warmup_seconds=parse_duration(warmup),
            deadline_seconds=connection.timeout_seconds if deadline is None else parse_duration(deadline),
            cancel_rate=cancel_rate,
            corrupt_rate=corrupt_rate,
            priority=priority,
            rpc=rpc,
            batch_size=batch_size,
            connections=parse_connections(connections),
            processes=processes,
            max_in_flight=max_in_flight,
            metrics_url=metrics,
            seed=seed,
        )
    except ValueError as error:
        raise usage_error(error) from None
    raise typer.Exit(run_load_test(plan, profile, files))
