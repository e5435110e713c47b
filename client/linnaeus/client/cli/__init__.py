"""The command `linnaeus-client`.

Owns the way out: every ending is an exit status and at most one line on stderr, never a traceback. typer and rich are
imported behind this door only, since the base installation lacks them.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

# Which extra holds what may be missing, by the name it is imported by.
_EXTRAS = {"typer": "cli", "rich": "cli", "hdrh": "load", "matplotlib": "load", "prometheus_client": "load"}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and exits: 0 all is well, 1 something failed, 2 wrong usage, 130 interrupted.

    Args:
        arguments: without the command's own name; None takes them from the command line.
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
    # The program's boundary: a fault of ours is one line as well, with enough to report it.
    except Exception as error:
        sys.exit(f"linnaeus-client: unexpected {type(error).__name__}: {' '.join(str(error).split())}")
    sys.exit(0)


def _run(arguments: Sequence[str] | None) -> None:
    from linnaeus.client.cli.load.command import app

    app(args=arguments, prog_name="linnaeus-client")
