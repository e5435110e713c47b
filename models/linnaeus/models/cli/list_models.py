"""`linnaeus-zoo list`: lists the models of the zoo."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from linnaeus.models.zoo_model import ZooModel

_COLUMNS = ("name", "family", "year", "input", "parameters", "weights")
_NUMBERS = ("year", "parameters")


def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Shows what there is; `export --weights` takes the named weights, and for any model random or a file."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.registry import ZOO

    rows = [_describe(model) for model in ZOO.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        Console().print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    """Returns a table that fits 80 columns; it lists only the trained weights."""
    from linnaeus.models.weights.selection import FILE, RANDOM

    table = Table(box=None, padding=(0, 1, 0, 0))
    for key in _COLUMNS:
        table.add_column(key, justify="right" if key in _NUMBERS else "left", no_wrap=True)
    for row in rows:
        trained = [each for each in row["weights"] if each not in (RANDOM, FILE)]
        cells = {**row, "parameters": f"{row['parameters']:,}", "weights": ", ".join(trained) or "-"}
        table.add_row(*(str(cells[key]) for key in _COLUMNS))
    return table


def _describe(model: "ZooModel") -> dict[str, Any]:
    from linnaeus.models.weights.selection import available_sources

    spec = model.input
    return {
        "name": model.name,
        "family": model.family,
        "year": model.year,
        "input": f"{spec.channels}x{spec.height}x{spec.width}",
        "classes": model.classes,
        "parameters": _parameters(model),
        "weights": available_sources(model),
    }


def _parameters(model: "ZooModel") -> int:
    """Counts on the meta device: the zoo has 1.5 billion parameters, whose values are not needed for the count."""
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model.network().parameters())
