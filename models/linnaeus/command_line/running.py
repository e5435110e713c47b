"""Runs a command: every ending becomes an exit status and at most one line on stderr.

Imports the standard library only until the command runs, because the base installation lacks typer.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# What pydantic writes, whose messages typer passes on, and what is said instead.
_SAID_INSTEAD = (
    ("Value error, ", ""),
    ("Input should be a valid boolean, unable to interpret input", "it must be true or false"),
    ("Input should be a valid integer, unable to parse string as an integer", "it must be a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "it must be a number"),
    ("Input should", "it must"),
)


def run_command(
    name: str,
    load: "Callable[[], typer.Typer]",
    extras: Mapping[str, str],
    arguments: Sequence[str] | None = None,
    *,
    expected: tuple[type[Exception], ...] = (),
) -> int:
    """Runs a command.

    Args:
        name: of the command, as users type it.
        load: imports the command and returns it.
        extras: the extra that installs a package, by the name under which the package is imported.
        arguments: without the command's name; None for those of the process.
        expected: the errors whose message is for the user; all others are bugs and are raised.

    Returns:
        The exit status: 0 for success, 1 for a failure, 2 for wrong usage, 130 if interrupted.
    """
    try:
        return _invoke(load(), name, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in extras:
            raise
        return fail(name, f" needs {package}: pip install 'linnaeus[{extras[package]}]'")
    except expected as error:
        return fail(name, f": {message_of(error)}")


def fail(name: str, message: str, *, status: int = FAILED) -> int:
    """Prints one line on stderr; returns the exit status."""
    if sys.stdout is not None:
        sys.stdout.flush()  # in case both go to the same place
    print(f"{name}{printable(message)}", file=sys.stderr)
    return status


def message_of(error: BaseException) -> str:
    """Returns an error's message on one line; that of a file begins with its name, and has no number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """Replaces control characters: file names and a server's messages must not move the cursor or break a line."""
    return "".join(_printable_character(character) for character in text)


def _invoke(application: Any, name: str, arguments: Sequence[str] | None) -> int:
    import typer

    from linnaeus.command_line.application import build_command

    # typer does not export the base class of its errors, and some of its versions bundle their own click.
    click_error: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        status = build_command(application).main(args=arguments, prog_name=name, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except click_error as error:
        return _wrong_usage(name, error)
    return status if isinstance(status, int) else 0


def _wrong_usage(name: str, error: Any) -> int:
    """Reports wrong usage in one line; shows the help if nothing else was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return WRONG_USAGE
    path = error.ctx.command_path if getattr(error, "ctx", None) is not None else name
    message = " ".join(error.format_message().split()).removeprefix("Invalid value: ").rstrip(".")
    for written, said in _SAID_INSTEAD:
        message = message.replace(written, said)
    return fail(name, f": {message} (see {path} --help)", status=WRONG_USAGE)


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
