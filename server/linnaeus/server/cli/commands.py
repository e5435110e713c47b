"""The commands of `linnaeus-server`. Their options and environment variables are generated from `Settings`.

Without a command it serves; the command `healthcheck` queries the health of a running server with the same settings.
"""

import asyncio
import inspect
from dataclasses import Field, fields
from typing import Annotated, Any, Literal, get_origin

import typer

from linnaeus.command_line.application import Version
from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings, help_texts, read_settings
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.openmp import limit_spinning


def serve(context: typer.Context, version: Version = False, **chosen: Any) -> None:
    """Serves TorchScript image classifiers over gRPC, in batches."""
    context.obj = settings = read_settings(**chosen)
    if context.invoked_subcommand is None:
        _serve(settings)


def healthcheck(
    context: typer.Context,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="How long the answer may take.")] = 3.0,
) -> None:
    """Asks the server of this machine for its health; exit code 0 if it is SERVING, else 1."""
    # Imported here, so that --help does not wait for gRPC.
    from linnaeus.server.rpc.healthcheck import check_health

    print(check_health(context.obj, timeout_seconds))


def _serve(settings: Settings) -> None:
    configure_logs(settings.log_format, settings.log_level)
    limit_spinning()
    # Imported here, so that --help and invalid options do not wait seconds for torch.
    from linnaeus.server.app import run_server
    from linnaeus.server.process.event_loop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_server(settings))
    end_process_if_threads_remain(0)


def _signature() -> inspect.Signature:
    """Returns the signature that typer reads: what `serve` names, and one keyword for each setting."""
    named = [each for each in inspect.signature(serve).parameters.values() if each.name in ("context", "version")]
    help_of = help_texts()
    return inspect.Signature(
        [
            *named,
            *(
                inspect.Parameter(
                    setting.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=setting.default,
                    annotation=Annotated[
                        _option_type(setting),
                        typer.Option(
                            *_flags(setting),
                            envvar=f"{ENVIRONMENT_PREFIX}{setting.name.upper()}",
                            help=help_of[setting.name],
                        ),
                    ],
                )
                for setting in fields(Settings)
            ),
        ]
    )


def _option_type(setting: Field[Any]) -> Any:
    """Returns the type that typer converts to. `Settings` checks choices and bounds, so that an error is one line."""
    return str if get_origin(setting.type) is Literal else setting.type


def _flags(setting: Field[Any]) -> tuple[str, ...]:
    """Returns the explicit flag of a boolean setting: by default typer would add a useless --no-NAME."""
    return (f"--{setting.name.replace('_', '-')}",) if isinstance(setting.default, bool) else ()


def application() -> typer.Typer:
    """Returns the command line."""
    serve.__signature__ = _signature()  # type: ignore[attr-defined]
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(serve)
    app.command()(healthcheck)
    return app
