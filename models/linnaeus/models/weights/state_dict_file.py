"""Reads a state dict from a user's file: .pth, .pt or .safetensors."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from linnaeus.models.weights.state_dict_conversion import convert_state_dict
from linnaeus.models.zoo_model import ModelWeights, ZooModel

_PICKLED = (".pth", ".pt")
_SAFE = ".safetensors"
# Keys under which training scripts store the state dict in a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def weights_from_file(model: ZooModel, path: Path, classes: int | None = None) -> ModelWeights:
    """Reads a state dict and converts it for the model; never executes code from the file.

    Args:
        model: the model that the weights are for.
        path: a file with the suffix .pth, .pt or .safetensors.
        classes: number of classes; the model's own if None.

    Raises:
        ValueError: if the file contains no state dict, or one that does not fit.
        OSError: if the file cannot be read.
    """
    state = convert_state_dict(_read(path), model, classes or model.classes, str(path))
    return ModelWeights(state, path.name)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == _SAFE:
        return _read_safe(path)
    if path.suffix in _PICKLED:
        return _read_pickled(path)
    raise ValueError(f"{path} must end with {', '.join(_PICKLED)} or {_SAFE}")


def _read_safe(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        # torch's message has a dozen lines and advises to disable the protection
        raise ValueError(f"{path} is no state dict of plain tensors; save one with torch.save") from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError(f"{path} holds no state dict, which maps names to tensors")
    return dict(content)
