"""The command `linnaeus-client`.

Turns every ending into an exit status and at most one line on stderr, never a traceback. typer and rich are imported
only when `main` runs, because the base installation lacks them.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

# The extra that installs a package, by the name under which the package is imported.
_EXTRAS = {"typer": "cli", "rich": "cli", "hdrh": "load", "matplotlib": "load", "prometheus_client": "load"}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and exits: 0 for success, 1 for a failure, 2 for wrong usage, 130 if interrupted.

    Args:
        arguments: without the command's own name; None for those of the command line.
    """
    try:
        _run(arguments)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        sys.exit(f"linnaeus-client needs {package}: pip install 'linnaeus[{_EXTRAS[package]}]'")
    # The program's outermost boundary: a bug is reported in one line, too.
    except Exception as error:
        sys.exit(f"linnaeus-client: unexpected {type(error).__name__}: {' '.join(str(error).split())}")
    sys.exit(0)


def _run(arguments: Sequence[str] | None) -> None:
    from linnaeus.client.cli.commands import app

    app(args=arguments, prog_name="linnaeus-client")
