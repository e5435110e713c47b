"""`linnaeus-zoo`: lists, inspects, visualizes, trains, exports and imports models.

Each command is a module of this package. The docstrings of the commands are their help texts.
"""

import sys

import typer

from linnaeus.models.cli import (
    check,
    design_space,
    draw_regnet,
    export,
    import_model,
    inspect,
    list_models,
    train,
    visualize,
)

app = typer.Typer(
    help="The classic CNN zoo: list it, take it apart, look at it, train it, export it for linnaeus-server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(list_models.list_models)
app.command("inspect")(inspect.inspect)
app.command("visualize")(visualize.visualize)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("check")(check.check)
app.command("import")(import_model.import_)
app.command("draw-regnet")(draw_regnet.draw_regnet)
app.command("design-space")(design_space.design_space)


def main() -> None:
    """Runs the command; prints an expected error in one line on stderr and exits with code 1."""
    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        print(f"linnaeus-zoo: {error}", file=sys.stderr)
        sys.exit(1)
