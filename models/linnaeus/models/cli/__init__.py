"""`linnaeus-zoo`: lists, trains and exports the zoo."""

import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from linnaeus.models import training
from linnaeus.models.export import export as export_version
from linnaeus.models.export import next_version
from linnaeus.models.registry import ZOO, find
from linnaeus.models.zoo_model import ZooModel

app = typer.Typer(
    help="The classic CNN zoo: list it, train it, export it for linnaeus-server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_TRAINABLE = ("lenet",)
_NUMBERS = ("year", "classes", "parameters")


@app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Shows what there is."""
    rows = [_describe(model) for model in ZOO.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for key in rows[0]:
        table.add_column(key, justify="right" if key in _NUMBERS else "left", no_wrap=True)
    for row in rows:
        # of the weights' source, what comes before the comma is the data
        cells = {**row, "parameters": f"{row['parameters']:,}", "weights": str(row["weights"]).partition(",")[0]}
        table.add_row(*map(str, cells.values()))
    Console().print(table)


def _describe(model: ZooModel) -> dict[str, object]:
    spec = model.input
    return {
        "name": model.name,
        "family": model.family,
        "year": model.year,
        "input": f"{spec.channels}x{spec.height}x{spec.width}",
        "classes": model.classes,
        "parameters": sum(parameter.numel() for parameter in model.network().parameters()),
        "weights": model.bundled_weights().source,
    }


@app.command()
def export(
    names: Annotated[list[str], typer.Argument(help="Models of the zoo.")],
    repository: Annotated[
        Path, typer.Option(envvar="LINNAEUS_REPOSITORY", help="Where the version folders go.")
    ] = Path("model-repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: one above the highest there.")] = None,
) -> None:
    """Writes a version folder (model.pt, manifest.json, labels.txt) for each name."""
    for model in [find(name) for name in names]:
        print(
            export_version(model, model.bundled_weights(), repository, version or next_version(repository, model.name))
        )


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A model of the zoo that takes digits.")],
    data: Annotated[Path, typer.Option(help="Folder of MNIST; downloaded there if it is not.")] = Path("datasets"),
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path | None, typer.Option(help="Weights file; default runs/NAME.pt.")] = None,
) -> None:
    """Trains on MNIST; writes the weights and, beside them, the record as JSON."""
    if name not in _TRAINABLE:
        raise ValueError(f"{name!r} cannot be trained here; these can: {', '.join(_TRAINABLE)}")
    model = find(name)
    target = out or Path("runs") / f"{name}.pt"
    recipe = training.Recipe(epochs=epochs, seed=seed)
    digits = [training.load_mnist(data, train=part) for part in (True, False)]
    network, history = training.train(model, digits[0], digits[1], recipe, _print_epoch)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), target)
    target.with_suffix(".json").write_text(json.dumps(training.record(model, recipe, history), indent=1) + "\n")
    print(f"{target}: test accuracy {history[-1].test_accuracy:.2%}")


def _print_epoch(epoch: training.Epoch) -> None:
    print(
        f"epoch {epoch.number}: loss {epoch.training_loss:.4f}, training accuracy {epoch.training_accuracy:.2%}, "
        f"test accuracy {epoch.test_accuracy:.2%} ({epoch.seconds:.0f} s)",
        flush=True,
    )


def main() -> None:
    """Runs the command; an expected failure is one line and exit code 1."""
    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        print(f"linnaeus-zoo: {error}", file=sys.stderr)
        sys.exit(1)
