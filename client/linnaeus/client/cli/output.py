"""Where the words go: tables and JSON to stdout, errors to stderr, one line each."""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from linnaeus.client.cli.tables import printable

# Wider than any table: a pipe has no edge, and a file no reader who could widen the window.
_ENDLESS_COLUMNS = 10_000


def write_table(table: Table) -> None:
    """Prints a table: fitted to a terminal, otherwise as wide as it is, plain."""
    _console().print(table)


def fits(table: Table) -> bool:
    """Whether the table can be printed without breaking a cell."""
    console = _console()
    endless = console.options.update(max_width=_ENDLESS_COLUMNS)
    return console.measure(table, options=endless).maximum <= console.width


def write_lines(lines: Iterable[str]) -> None:
    """Prints lines as they are."""
    for line in lines:
        _console().print(line, soft_wrap=True)


def write_json(value: Any) -> None:
    """Prints one JSON document, in ASCII, so that no terminal's or pipe's encoding can spoil it."""
    print(json.dumps(value, indent=2))


def write_error(message: str) -> None:
    """Prints one line on stderr, after what stdout holds so far, should both go to the same place."""
    sys.stdout.flush()
    print(f"linnaeus-client: {printable(message)}", file=sys.stderr)


def tolerate_any_letter() -> None:
    """A letter that stdout's encoding lacks is written with backslashes instead of ending the program."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _console() -> Console:
    """A console that prints names as they are: no markup, no :emoji:, no coloured numbers."""
    tolerate_any_letter()
    width = None if sys.stdout.isatty() else _ENDLESS_COLUMNS
    return Console(width=width, markup=False, emoji=False, highlight=False)
