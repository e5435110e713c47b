"""The commands of `linnaeus-zoo`. Importing this module imports neither torch nor the zoo: only what they run does."""

import typer

from linnaeus.command_line.application import Version
from linnaeus.models.cli import (
    check,
    design_space,
    draw_regnet,
    export,
    import_model,
    inspect,
    list_models,
    quantize,
    train,
    visualize,
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def zoo(version: Version = False) -> None:
    """The classic CNN zoo: list it, take it apart, look at it, train it, export it for linnaeus-server."""


app.command("list")(list_models.list_models)
app.command("inspect")(inspect.inspect)
app.command("visualize")(visualize.visualize)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("check")(check.check)
app.command("import")(import_model.import_)
app.command("quantize")(quantize.quantize)
app.command("draw-regnet")(draw_regnet.draw_regnet)
app.command("design-space")(design_space.design_space)
