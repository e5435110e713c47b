"""What all commands show alike: `--version`, and flags without a type."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer


def _print_version(context: typer.Context, is_wanted: bool) -> None:
    if is_wanted:
        from linnaeus import __version__

        print(f"{context.find_root().info_name} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
]


def build_command(application: typer.Typer) -> Any:
    """Returns the click command of an application; its help shows a flag as a flag, without `<bool>`."""
    root = typer.main.get_command(application)
    for command in _commands(root):
        for option in (*command.params, command.get_help_option(typer.Context(command))):
            if getattr(option, "is_flag", False):
                option.metavar = ""
    return root


def _commands(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _commands(child)
