"""The command `linnaeus-client`.

Turns every ending into an exit status and at most one line on stderr, never a traceback. typer and rich are imported
only when `main` runs, because the base installation lacks them.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from linnaeus.command_line.running import fail, message_of, run_command

if TYPE_CHECKING:
    import typer

_NAME = "linnaeus-client"
# The extra that installs a package, by the name under which the package is imported.
_EXTRAS = {"typer": "cli", "rich": "cli", "hdrh": "load", "matplotlib": "load", "prometheus_client": "load"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and exits: 0 for success, 1 for a failure, 2 for wrong usage, 130 if interrupted.

    Args:
        arguments: without the command's own name; None for those of the command line.
    """
    # gRPC's library writes lines of its own to stderr, beside the command's one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        sys.exit(run_command(_NAME, _application, _EXTRAS, arguments))
    # The program's outermost boundary: a bug is reported in one line, too.
    except Exception as error:
        sys.exit(fail(_NAME, f": unexpected {type(error).__name__}: {message_of(error)}"))


def _application() -> "typer.Typer":
    from linnaeus.client.cli.commands import app

    return app
