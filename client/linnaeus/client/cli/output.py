"""Output of the commands: tables and JSON on stdout, errors on stderr, one line each."""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from linnaeus.command_line.running import fail, printable

__all__ = ["printable"]

# Wider than any table: a pipe or a file has no width to fit.
_UNLIMITED_COLUMNS = 10_000


def plain_table(*, with_header: bool = True) -> Table:
    """Returns an empty table in the style of all tables."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        show_header=with_header,
    )


def write_table(table: Table) -> None:
    """Prints a table, fitted to the terminal; plain and at its full width if stdout is not a terminal."""
    _console().print(table)


def fits(table: Table) -> bool:
    """Returns whether the table can be printed without wrapping a cell."""
    console = _console()
    unlimited = console.options.update(max_width=_UNLIMITED_COLUMNS)
    return console.measure(table, options=unlimited).maximum <= console.width


def write_lines(lines: Iterable[str]) -> None:
    """Prints lines without wrapping them."""
    for line in lines:
        _console().print(line, soft_wrap=True)


def write_json(value: Any) -> None:
    """Prints one JSON document, in ASCII, so that the encoding of a terminal or a pipe does not matter."""
    print(json.dumps(value, indent=2))


def write_error(message: str) -> None:
    """Prints one line on stderr."""
    fail("linnaeus-client", f": {message}")


def escape_unencodable() -> None:
    """Makes stdout escape characters that its encoding lacks instead of raising UnicodeEncodeError."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _console() -> Console:
    """Returns a console that prints names as they are: no markup, no :emoji:, no coloured numbers."""
    escape_unencodable()
    width = None if sys.stdout.isatty() else _UNLIMITED_COLUMNS
    return Console(width=width, markup=False, emoji=False, highlight=False)
