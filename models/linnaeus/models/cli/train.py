"""`linnaeus-zoo train`: trains a network and writes weights, record and plot."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from linnaeus.models.manifest import LABELS_FILE
from linnaeus.models.output_folder import make_folder

if TYPE_CHECKING:
    from linnaeus.models.training import Epoch, LabeledImages, Recipe, TrainingSetup
    from linnaeus.models.zoo_model import ZooModel

_INTERRUPTED = 130


def train(
    name: Annotated[str, typer.Argument(help="A model of the zoo.")],
    data: Annotated[
        Path, typer.Option(help="Folder of MNIST, downloaded there if it is not; or of train/CLASS/ and val/CLASS/.")
    ] = Path("datasets"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: as the network's recipe says.")] = None,
    seed: Annotated[int, typer.Option(help="Of the starting weights and the images' order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Weights file; default runs/NAME.pt.")] = None,
) -> None:
    """Trains a network; writes the weights and, beside them, the record as JSON and a plot of it."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models import training
    from linnaeus.models.registry import find

    setup = training.training_setup(name)
    model, target = find(name), _target(out, name)
    recipe = replace(setup.recipe, epochs=epochs or setup.recipe.epochs, seed=seed)
    training_data, test_data = _load(setup, model, data)
    history: list[Epoch] = []
    try:
        _train_and_save(model, setup, recipe, training_data, test_data, history, target)
    except KeyboardInterrupt:
        done = f"{len(history)} of {recipe.epochs} epochs"
        typer.echo(f"linnaeus-zoo: interrupted after {done}; nothing was written to {target}", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    print(f"{target}: test accuracy {history[-1].test_accuracy:.2%}")
    print(
        f"to serve it: {_export_command(name, target, setup)}, then linnaeus-server; one that runs takes it by itself"
    )


def _export_command(name: str, weights: Path, setup: "TrainingSetup") -> str:
    """Returns the command that makes a version folder of what was trained."""
    from linnaeus.models.training import DataKind

    command = ["linnaeus-zoo", "export", name, "--weights", str(weights)]
    if setup.data is DataKind.IMAGE_FOLDERS:
        command += ["--labels", str(weights.with_name(LABELS_FILE))]
    return shlex.join(command)


def _target(out: Path | None, name: str) -> Path:
    """Returns the path of the weights; checks before the training that they can be written there."""
    target = out or Path("runs") / f"{name}.pt"
    if target.is_dir() or target.suffix in ("", ".json", ".png", ".txt"):
        raise ValueError(f"--out {target} must name a weights file such as runs/{name}.pt")
    if find_spec("matplotlib") is None:
        raise RuntimeError("the plot of a training needs matplotlib; install linnaeus[zoo]")
    make_folder(target.parent)
    return target


def _load(setup: "TrainingSetup", model: "ZooModel", data: Path) -> "tuple[LabeledImages, LabeledImages]":
    from linnaeus.models import training

    if setup.data is training.DataKind.IMAGE_FOLDERS:
        return training.load_image_folders(data, model.input)
    return training.load_mnist(data, train=True), training.load_mnist(data, train=False)


def _train_and_save(
    model: "ZooModel",
    setup: "TrainingSetup",
    recipe: "Recipe",
    training_data: "LabeledImages",
    test_data: "LabeledImages",
    history: "list[Epoch]",
    target: Path,
) -> None:
    from linnaeus.models import training

    with _progress_bar() as bar:
        task = bar.add_task(model.name, total=recipe.epochs * recipe.steps_per_epoch(len(training_data)))
        network, _ = training.train(
            model,
            training_data,
            test_data,
            recipe,
            _epoch_reporter(history, bar),
            lambda: bar.advance(task),
            setup.build,
        )
    from_folders = setup.data is training.DataKind.IMAGE_FOLDERS
    record = training.training_record(model, recipe, history, "pictures" if from_folders else setup.data.value)
    training.save_run(target, network, record, history, training_data.labels if from_folders else None)


def _progress_bar() -> Progress:
    """Returns a progress bar, which is shown on a terminal only."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"))
    times = (TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    return Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal)


def _epoch_reporter(history: "list[Epoch]", bar: Progress) -> "Callable[[Epoch], None]":
    """Returns a callback that appends an epoch to the history and prints its metrics."""

    def report(epoch: "Epoch") -> None:
        history.append(epoch)
        line = (
            f"epoch {epoch.number}: loss {epoch.training_loss:.4f}, training accuracy {epoch.training_accuracy:.2%}, "
            f"test accuracy {epoch.test_accuracy:.2%} ({epoch.seconds:.0f} s)"
        )
        if bar.disable:
            print(line, flush=True)
        else:
            bar.console.print(line, highlight=False)

    return report
