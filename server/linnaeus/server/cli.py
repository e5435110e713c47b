"""`linnaeus-server`: flags and environment variables made from the one definition of the settings.

Without a command it serves; `healthcheck` asks a server that is up, with the same settings.
"""

import asyncio
import inspect
import sys
from dataclasses import Field, fields
from typing import Annotated, Any, Literal, get_origin

import typer

from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings, help_texts, read_settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.openmp import limit_spinning


def serve(context: typer.Context, **chosen: Any) -> None:
    """Serves TorchScript image classifiers over gRPC, in batches."""
    context.obj = settings = read_settings(**chosen)
    if context.invoked_subcommand is None:
        _serve(settings)


def healthcheck(
    context: typer.Context,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="How long the answer may take.")] = 3.0,
) -> None:
    """Asks the server of this machine for its health; exit code 0 if it is SERVING, else 1."""
    # gRPC takes a moment to import, which --help does not need.
    from linnaeus.server.rpc.healthcheck import check_health

    print(check_health(context.obj, timeout_seconds))


def _serve(settings: Settings) -> None:
    configure_logs(settings.log_format, settings.log_level)
    limit_spinning()
    # Torch takes seconds to import: --help and wrong options should not wait for it.
    from linnaeus.server.app import run_server
    from linnaeus.server.process.event_loop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_server(settings))


def _signature() -> inspect.Signature:
    """The context, and one keyword for each setting, as typer wants to read them."""
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    help_of = help_texts()
    return inspect.Signature(
        [
            context,
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
    """What typer converts to; `Settings` checks choices and bounds, so that a wrong value is one line here as well."""
    return str if get_origin(setting.type) is Literal else setting.type


def _flags(setting: Field[Any]) -> tuple[str, ...]:
    """Without them typer adds a --no-NAME to every yes or no, which nobody needs where no is the default."""
    return (f"--{setting.name.replace('_', '-')}",) if isinstance(setting.default, bool) else ()


def main() -> None:
    """Runs the command; an expected failure is one line and exit code 1."""
    serve.__signature__ = _signature()  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(serve)
    app.command()(healthcheck)
    try:
        app(prog_name="linnaeus-server")
    except StartupError as error:
        print(f"linnaeus-server: {error}", file=sys.stderr)
        sys.exit(1)
