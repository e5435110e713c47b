"""Wrong use of a command is one line on stderr and exit status 2, not a panel."""

import re
from typing import Any

import typer
from typer.core import TyperCommand

from linnaeus.client.cli import output as writing

_WRONG_USAGE = 2
_ATTRIBUTE = re.compile(
    r"\b(?:(?:duration|warmup|deadline)_seconds|cancel_rate|corrupt_rate|batch_size|max_in_flight)\b"
)
# What all errors of usage share; typer exports no name for it, and some versions of it carry their own click.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class OneLineCommand(TyperCommand):
    """A command whose errors of usage are one line."""

    def parse_args(self, *arguments: Any, **named: Any) -> list[str]:
        """As typer does, but for the errors."""
        try:
            return list(super().parse_args(*arguments, **named))
        except _UsageError as error:
            raise refused(error) from None


def refused(error: Exception) -> typer.Exit:
    """Says what was wrong, in one line; the exit is to be raised."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    writing.write_error(_ATTRIBUTE.sub(_as_option, " ".join(message.split())))
    return typer.Exit(_WRONG_USAGE)


def _as_option(attribute: re.Match[str]) -> str:
    """A plan speaks of its attributes, such as `duration_seconds`; whoever typed the command knows `--duration`."""
    return "--" + attribute[0].removesuffix("_seconds").replace("_", "-")
