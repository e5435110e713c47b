"""The command `linnaeus-server`.

What it needs beside the standard library is imported when `main` runs, because the base installation lacks it.
"""

import os
import sys
from typing import TYPE_CHECKING

from linnaeus.command_line.running import run_command
from linnaeus.server.errors import ServerFailed, StartupError
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.standard_streams import open_closed_streams

if TYPE_CHECKING:
    import typer

# The extra that installs a package, by the name under which the package is imported.
_EXTRAS = dict.fromkeys(
    ("grpc_health", "grpc_reflection", "numpy", "PIL", "prometheus_client", "pydantic", "torch", "typer"), "server"
)


def main() -> None:
    """Runs the command and exits: 0 for success, 2 for wrong usage, 1 for another reason why the server cannot run."""
    open_closed_streams()
    # The C core's own lines, such as for a port that it cannot open, are no part of our log. Read at gRPC's import.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    status = run_command("linnaeus-server", _application, _EXTRAS, expected=(StartupError, ServerFailed))
    end_process_if_threads_remain(status)
    sys.exit(status)


def _application() -> "typer.Typer":
    from linnaeus.server.cli.commands import application

    return application()
