"""Trains a zoo model on MNIST and keeps the record."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import MNIST

from linnaeus.models.zoo_model import ZooModel


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: AdamW, the learning rate rising to its peak and falling to nothing in one cycle."""

    epochs: int
    batch_size: int = 128
    peak_learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    largest_shift_pixels: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training set gave; accuracies are between 0 and 1."""

    number: int
    training_loss: float
    training_accuracy: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Digits:
    """MNIST, or a part of it: uint8 pixels [N, 1, 28, 28] and int64 classes [N]."""

    pixels: Tensor
    classes: Tensor


def load_mnist(root: Path, train: bool) -> Digits:
    """Reads MNIST below `root` (torchvision's layout), downloading it if it is not there.

    Raises:
        RuntimeError: it is not there and cannot be downloaded.
    """
    try:
        data = MNIST(str(root), train=train, download=not (root / "MNIST" / "raw").is_dir())
    except (RuntimeError, OSError) as error:
        raise RuntimeError(f"MNIST is not in {root} and cannot be downloaded ({error}); name its folder") from error
    return Digits(data.data.unsqueeze(1), data.targets)


def train(
    model: ZooModel, training: Digits, test: Digits, recipe: Recipe, on_epoch: Callable[[Epoch], None]
) -> tuple[nn.Module, list[Epoch]]:
    """Trains a fresh network; returns it in evaluation mode with its history, one entry an epoch."""
    torch.manual_seed(recipe.seed)
    network = model.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(training.classes) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_learning_rate, total_steps=steps)
    history = []
    for number in range(1, recipe.epochs + 1):
        started = time.monotonic()
        loss, accuracy = _one_epoch(network, model, training, recipe, optimizer, schedule)
        epoch = Epoch(number, loss, accuracy, evaluate(network, model, test), time.monotonic() - started)
        history.append(epoch)
        on_epoch(epoch)
    return network.eval(), history


def evaluate(network: nn.Module, model: ZooModel, data: Digits) -> float:
    """Returns the share of images whose highest logit is the right class."""
    network.eval()
    right = 0
    with torch.inference_mode():
        for pixels, classes in zip(torch.split(data.pixels, 500), torch.split(data.classes, 500), strict=True):
            right += int((network(_normalise(pixels, model)).argmax(1) == classes).sum())
    return right / len(data.classes)


def record(model: ZooModel, recipe: Recipe, history: list[Epoch]) -> dict[str, object]:
    """The training record as plain data, to be written beside the weights."""
    return {
        "model": model.name,
        "data": "MNIST",
        "torch": str(torch.__version__),
        "recipe": asdict(recipe),
        "epochs": [asdict(epoch) for epoch in history],
    }


def _one_epoch(
    network: nn.Module,
    model: ZooModel,
    training: Digits,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[float, float]:
    network.train()
    total_loss, right = 0.0, 0
    for pixels, classes in _shuffled(training, recipe):
        logits = network(_normalise(pixels, model))
        loss = functional.cross_entropy(logits, classes)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total_loss += loss.item() * len(classes)
        right += int((logits.argmax(1) == classes).sum())
    return total_loss / len(training.classes), right / len(training.classes)


def _shuffled(data: Digits, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields every image once, in random order and shifted a little."""
    for places in torch.split(torch.randperm(len(data.classes)), recipe.batch_size):
        yield _shift(data.pixels[places], recipe.largest_shift_pixels), data.classes[places]


def _shift(pixels: Tensor, largest: int) -> Tensor:
    """Moves a batch by up to `largest` pixels each way; what comes in at the border is black."""
    down, right = (int(step) for step in torch.randint(0, 2 * largest + 1, (2,)))
    height, width = pixels.shape[2:]
    return functional.pad(pixels, [largest] * 4)[:, :, down : down + height, right : right + width]


def _normalise(pixels: Tensor, model: ZooModel) -> Tensor:
    mean = torch.tensor(model.mean).view(1, -1, 1, 1)
    std = torch.tensor(model.std).view(1, -1, 1, 1)
    return (pixels.to(torch.float32) / 255 - mean) / std
