"""Reports wrong usage in one line on stderr with exit status 2, instead of typer's panel."""

import re
from typing import Any

import typer
from typer.core import TyperCommand

from linnaeus.client.cli import output

_WRONG_USAGE = 2
_ATTRIBUTE = re.compile(
    r"\b(?:(?:duration|warmup|deadline)_seconds|cancel_rate|corrupt_rate|batch_size|max_in_flight)\b"
)
# The base class of all usage errors. typer does not export it, and some versions bundle their own click.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class OneLineCommand(TyperCommand):
    """A command that reports usage errors in one line."""

    def parse_args(self, *arguments: Any, **named: Any) -> list[str]:
        """Parses as typer does; reports errors in one line."""
        try:
            return list(super().parse_args(*arguments, **named))
        except _UsageError as error:
            raise usage_error(error) from None


def usage_error(error: Exception) -> typer.Exit:
    """Prints the error in one line; returns the exit to raise."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    output.write_error(_ATTRIBUTE.sub(_as_option, " ".join(message.split())))
    return typer.Exit(_WRONG_USAGE)


def _as_option(attribute: re.Match[str]) -> str:
    """Replaces an attribute of `Plan` in a message, such as `duration_seconds`, by its option, `--duration`."""
    return "--" + attribute[0].removesuffix("_seconds").replace("_", "-")
