"""`linnaeus-zoo`: lists, inspects, looks at, trains, exports and imports the zoo.

Each command is a room of its own; this one only gathers them and turns an expected failure into one line.
"""

import sys

import typer

from linnaeus.models.cli import design_space, draw_regnet, export, import_model, inspect, list_models, train, visualize

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
app.command("import")(import_model.import_)
app.command("draw-regnet")(draw_regnet.draw_regnet)
app.command("design-space")(design_space.design_space)


def main() -> None:
    """Runs the command; an expected failure is one line and exit code 1."""
    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        print(f"linnaeus-zoo: {error}", file=sys.stderr)
        sys.exit(1)
