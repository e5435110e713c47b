"""How each network is trained: hyperparameters and data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from torch import nn

from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of a training with AdamW and a one-cycle learning rate.

    Without weight decay, AdamW is Adam. Training images are shifted by up to `largest_shift_pixels` in each direction.
    """

    epochs: int
    batch_size: int = 128
    peak_learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    largest_shift_pixels: int = 2
    seed: int = 0

    def steps_per_epoch(self, images: int) -> int:
        """Returns the number of batches that contain all images once."""
        return -(-images // self.batch_size)


class DataKind(Enum):
    """The kind of data that a network is trained on."""

    MNIST = "MNIST"
    IMAGE_FOLDERS = "a folder of pictures"


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """A recipe, its kind of data, and how to build the network for training if it differs from the served one."""

    recipe: Recipe
    data: DataKind = DataKind.MNIST
    build: Callable[[int], nn.Module] | None = None


_SETUPS = {
    "lenet": TrainingSetup(Recipe(epochs=12)),
    # Networks with sigmoids learn slowly; 60,000 parameters need no weight decay.
    "lenet5": TrainingSetup(
        Recipe(epochs=20, batch_size=64, peak_learning_rate=6e-3, weight_decay=0, largest_shift_pixels=1)
    ),
    # Source document 001: Adam, batches of 100, three epochs. Its learning rate is constant, this one is one-cycle.
    "mnist_cnn": TrainingSetup(
        Recipe(epochs=3, batch_size=100, peak_learning_rate=2e-3, weight_decay=0, largest_shift_pixels=1)
    ),
    "simple_cnn": TrainingSetup(Recipe(epochs=5, batch_size=100, peak_learning_rate=2e-3, largest_shift_pixels=1)),
    "densenet_bc_100_12": TrainingSetup(
        Recipe(epochs=3, batch_size=64, peak_learning_rate=2e-3, largest_shift_pixels=1)
    ),
    "googlenet_plain": TrainingSetup(
        Recipe(epochs=30, batch_size=32, peak_learning_rate=3e-4, largest_shift_pixels=8),
        DataKind.IMAGE_FOLDERS,
        partial(GoogLeNetPlain, aux_heads=True),
    ),
}


def training_setup(name: str) -> TrainingSetup:
    """Returns how the network of that name is trained.

    Raises:
        ValueError: if there is no recipe for it; the message lists those there are.
    """
    if name not in _SETUPS:
        raise ValueError(f"{name!r} cannot be trained here; these can: {', '.join(_SETUPS)}")
    return _SETUPS[name]
