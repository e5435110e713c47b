"""Reports what is wrong with a plan in one line on stderr, in the names of the options, with exit status 2."""

import re

import typer

from linnaeus.client.cli import output
from linnaeus.client.cli.option_names import with_option_names

_WRONG_USAGE = 2
_ATTRIBUTE = re.compile(
    r"\b(?:(?:duration|warmup|deadline)_seconds|cancel_rate|corrupt_rate|batch_size|max_in_flight)\b"
)


def usage_error(error: ValueError) -> typer.Exit:
    """Prints the error in one line; returns the exit to raise."""
    message = with_option_names(" ".join(str(error).split()))
    output.write_error(_ATTRIBUTE.sub(_as_option, message))
    return typer.Exit(_WRONG_USAGE)


def _as_option(attribute: re.Match[str]) -> str:
    """Replaces an attribute of `Plan` in a message, such as `duration_seconds`, by its option, `--duration`."""
    return "--" + attribute[0].removesuffix("_seconds").replace("_", "-")
