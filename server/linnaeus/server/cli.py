"""`linnaeus-server`: flags and environment variables made from the one definition of the settings."""

import asyncio
import inspect
import sys
from dataclasses import Field, fields
from typing import Annotated, Any

import typer

from linnaeus.server.config import ENVIRONMENT_PREFIX, Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.logs import configure_logs
from linnaeus.server.openmp import limit_spinning


def serve(**chosen: Any) -> None:
    """Serves TorchScript image classifiers over gRPC, in batches."""
    settings = Settings(**chosen)
    configure_logs(settings.log_format, settings.log_level)
    limit_spinning()
    # Torch takes seconds to import: --help and wrong options should not wait for it.
    from linnaeus.server.app import serve as serve_until_told

    asyncio.run(serve_until_told(settings))


def _signature() -> inspect.Signature:
    """One keyword for each setting, as typer wants to read it."""
    return inspect.Signature(
        [
            inspect.Parameter(
                setting.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=setting.default,
                annotation=Annotated[
                    setting.type,
                    typer.Option(
                        *_flags(setting),
                        envvar=f"{ENVIRONMENT_PREFIX}{setting.name.upper()}",
                        help=setting.metadata["help"],
                    ),
                ],
            )
            for setting in fields(Settings)
        ]
    )


def _flags(setting: Field[Any]) -> tuple[str, ...]:
    """Without them typer adds a --no-NAME to every yes or no, which nobody needs where no is the default."""
    return (f"--{setting.name.replace('_', '-')}",) if isinstance(setting.default, bool) else ()


def main() -> None:
    """Runs the command; an expected failure is one line and exit code 1."""
    serve.__signature__ = _signature()  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(serve)
    try:
        app(prog_name="linnaeus-server")
    except StartupError as error:
        print(f"linnaeus-server: {error}", file=sys.stderr)
        sys.exit(1)
