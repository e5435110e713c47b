"""Writes the results of a training: weights, record, plot, and the labels of a user's own classes."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from linnaeus.models.manifest import LABELS_FILE
from linnaeus.models.output_folder import make_folder
from linnaeus.models.training.learning_curves import plot_learning_curves
from linnaeus.models.training.loop import Epoch
from linnaeus.models.training.recipes import Recipe
from linnaeus.models.zoo_model import ZooModel


def training_record(
    model: ZooModel, recipe: Recipe, history: Sequence[Epoch], data: str = "MNIST"
) -> dict[str, object]:
    """Returns the record of a training as data for `json.dumps`."""
    return {
        "model": model.name,
        "data": data,
        "torch": str(torch.__version__),
        "recipe": asdict(recipe),
        "epochs": [asdict(epoch) for epoch in history],
    }


def save_run(
    target: Path,
    network: nn.Module,
    record: dict[str, object],
    history: Sequence[Epoch],
    labels: tuple[str, ...] | None = None,
) -> None:
    """Writes the state dict to `target` and, beside it, the record (.json), its plot (.png) and `labels`, if any.

    Each file is written atomically, the weights last.

    Raises:
        OSError: if the folder cannot be written.
    """
    make_folder(target.parent)
    # On the same file system, because a rename is atomic only there; hidden by the dot.
    with tempfile.TemporaryDirectory(prefix=".train-", dir=target.parent) as folder:
        partial = Path(folder) / target.name
        if labels is not None:
            (partial.parent / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        partial.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        plot_learning_curves(history, f"{record['model']} on {record['data']}", partial.with_suffix(".png"))
        torch.save(network.state_dict(), partial)
        for path in sorted(partial.parent.iterdir(), key=partial.__eq__):
            _fsync(path)
            os.replace(path, target.parent / path.name)


def _fsync(path: Path) -> None:
    """Flushes the file to disk, so that the rename cannot become durable before it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
