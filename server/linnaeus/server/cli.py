"""The command line `linnaeus-server`. Its options and environment variables are generated from `Settings`.

Without a command it serves; the command `healthcheck` queries the health of a running server with the same settings.
Whatever is wrong is one line on standard error: exit code 2 if the options cannot be read, else 1.
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import Field, fields
from importlib.metadata import version
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import typer

from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings, help_texts, read_settings
from linnaeus.server.errors import ServerFailed, StartupError
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.openmp import limit_spinning
from linnaeus.server.process.standard_streams import open_closed_streams

# The error about options that cannot be read. It has no public name, and its module differs between releases of typer.
_UsageError: Any = typer.BadParameter.__bases__[0]
_COMMAND = "linnaeus-server"
_LEAST_TIMEOUT_SECONDS = 0.001
_MOST_TIMEOUT_SECONDS = 86_400


def serve(context: typer.Context, **chosen: Any) -> None:
    """Serves TorchScript image classifiers over gRPC, in batches."""
    chosen.pop("version")
    context.obj = settings = read_settings(**chosen)
    if context.invoked_subcommand is None:
        _serve(settings)


def healthcheck(
    context: typer.Context,
    timeout_seconds: Annotated[
        Any,
        typer.Option(parser=lambda text: _number(float, text), metavar="FLOAT", help="How long the answer may take."),
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
    from linnaeus.server.app import run_server
    from linnaeus.server.process.event_loop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_server(settings))
    end_process_if_threads_remain(0)


def _signature() -> inspect.Signature:
    """Returns the signature that typer reads: the context and one keyword for each setting."""
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    show_version = typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    help_of = help_texts()
    return inspect.Signature(
        [
            context,
            inspect.Parameter(
                "version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, show_version]
            ),
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
    name = "INTEGER" if kind is int else "FLOAT"
    return {"parser": lambda text: _number(kind, text), "metavar": name}


def _number_type(setting: Field[Any]) -> type[int] | type[float] | None:
    """Returns int or float, plain or with bounds; None for settings that are no numbers."""
    plain = get_args(setting.type)[0] if get_origin(setting.type) is Annotated else setting.type
    return plain if plain in (int, float) else None


def _number(kind: Callable[[str], Any], text: Any) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"{_COMMAND} {version('linnaeus')}")
        raise typer.Exit


def _flags(setting: Field[Any]) -> tuple[str, ...]:
    """Returns the explicit flag of a boolean setting: by default typer would add a useless --no-NAME."""
    return (f"--{setting.name.replace('_', '-')}",) if isinstance(setting.default, bool) else ()


def main() -> None:
    """Runs the command line; prints why the server cannot run as one line on standard error and exits with its code."""
    open_closed_streams()
    # The C core's own lines, such as for a port that it cannot open, are no part of our log. Read at gRPC's import.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    serve.__signature__ = _signature()  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(serve)
    app.command()(healthcheck)
    try:
        code = app(prog_name=_COMMAND, standalone_mode=False)
    except _UsageError as error:
        _fail(f"{_in_words(error.format_message())}; see {_COMMAND} --help", 2)
    except (StartupError, ServerFailed) as error:
        _fail(str(error), 1)
    sys.exit(code)


def _in_words(message: str) -> str:
    """Returns typer's message in one line, without what the library that reads booleans says."""
    one_line = " ".join(message.split()).rstrip(".")
    option, is_boolean, _ = one_line.partition("Input should be a valid boolean")
    return f"{option}it must be true or false" if is_boolean else one_line


def _fail(sentence: str, code: int) -> NoReturn:
    one_line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in sentence)
    print(f"{_COMMAND}: {one_line}", file=sys.stderr)
    end_process_if_threads_remain(code)
    sys.exit(code)
