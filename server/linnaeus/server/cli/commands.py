"""The commands of `linnaeus-server`. Their options and environment variables are generated from `Settings`.

Without a command it serves; the command `healthcheck` queries the health of a running server with the same settings.
"""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import Field, fields, replace
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from linnaeus.command_line.application import Version
from linnaeus.server.config.front_ends import AUTO, automatic_front_ends
from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings, help_texts, read_settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.cores import usable_cores
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.openmp import limit_spinning

_LEAST_TIMEOUT_SECONDS = 0.001
_MOST_TIMEOUT_SECONDS = 86_400


def serve(context: typer.Context, version: Version = False, **chosen: Any) -> None:
    """Serves TorchScript image classifiers over gRPC, in batches."""
    context.obj = settings = _with_front_ends(read_settings(**chosen))
    if context.invoked_subcommand is None:
        _serve(settings)


def _with_front_ends(settings: Settings) -> Settings:
    """Decides what `--front-ends auto` stands for on this machine."""
    if settings.front_ends != AUTO:
        return settings
    return replace(settings, front_ends=automatic_front_ends(usable_cores(), settings.has_socket_file))


def healthcheck(
    context: typer.Context,
    timeout_seconds: Annotated[
        Any,
        typer.Option(parser=lambda text: _number(float, text), metavar="<float>", help="How long the answer may take."),
    ] = 3.0,
) -> None:
    """Asks the server of this machine for its health; exit code 0 if it is SERVING, else 1."""
    if not isinstance(timeout_seconds, float) or not _LEAST_TIMEOUT_SECONDS <= timeout_seconds <= _MOST_TIMEOUT_SECONDS:
        wanted = f"a number from {_LEAST_TIMEOUT_SECONDS} to {_MOST_TIMEOUT_SECONDS}"
        raise StartupError(f"timeout_seconds is {timeout_seconds!r:.100}, but must be {wanted}")
    # Imported here, so that --help does not wait for gRPC.
    from linnaeus.server.rpc.healthcheck import check_health

    print(check_health(context.obj, timeout_seconds))


def _serve(settings: Settings) -> None:
    configure_logs(settings.log_format, settings.log_level)
    limit_spinning()
    # Imported here, so that --help does not wait for gRPC.
    from linnaeus.server.start_checks import check_start

    check_start(settings)
    _run_server(settings)


def _run_server(settings: Settings) -> None:
    # Imported here, so that what is wrong is said without waiting seconds for torch.
    from linnaeus.server.process.event_loop import new_event_loop

    if settings.front_end_count:
        from linnaeus.server.app.several_processes import run_processes as run_server
    else:
        from linnaeus.server.app.one_process import run_server

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
                            **_conversion(setting),
                        ),
                    ],
                )
                for setting in fields(Settings)
            ),
        ]
    )


def _option_type(setting: Field[Any]) -> Any:
    """Returns the type that typer converts to. `Settings` checks choices and bounds, so that it words the errors."""
    return str if get_origin(setting.type) is Literal else Any if _number_type(setting) else setting.type


def _conversion(setting: Field[Any]) -> dict[str, Any]:
    """Returns how typer reads a number; what is none stays text, about which `Settings` complains."""
    kind = _number_type(setting)
    if kind is None:
        return {}
    name = "<int>" if kind is int else "<float>"
    return {"parser": lambda text: _number(kind, text), "metavar": name}


def _number_type(setting: Field[Any]) -> type[int] | type[float] | None:
    """Returns int or float, plain or with bounds or besides words; None for settings that are no numbers."""
    plain = get_args(setting.type)[0] if get_origin(setting.type) is Annotated else setting.type
    return int if int in get_args(plain) else plain if plain in (int, float) else None


def _number(kind: Callable[[str], Any], text: Any) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


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
