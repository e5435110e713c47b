"""Loads a user's TorchScript, or says what the file is instead."""

import zipfile
from pathlib import Path

import torch

from linnaeus.models.own_model.file_kind import FileKind, identify

_TRACED_INPUTS = "traced_inputs.pkl"


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Loads TorchScript onto the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it is not TorchScript; the message says what it is, and what to do.
    """
    identity = identify(path)
    if identity.kind is not FileKind.TORCHSCRIPT:
        raise ValueError(f"{path} is neither TorchScript nor ONNX, but {identity.description}; {identity.advice}")
    try:
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        )
    except (RuntimeError, torch.jit.Error) as error:
        raise ValueError(
            f"{path} is TorchScript that torch {torch.__version__} cannot load: {_first_line(error)}"
        ) from (error)
    # a frozen module has no training mode
    return module.eval() if hasattr(module, "training") else module


def describe_torchscript(path: Path, module: torch.jit.ScriptModule) -> str:
    """Says in a few words how the TorchScript was made."""
    if not hasattr(module, "training"):
        return "frozen TorchScript"
    with zipfile.ZipFile(path) as archive:
        traced = any(name.rpartition("/")[2] == _TRACED_INPUTS for name in archive.namelist())
    return "traced TorchScript" if traced else "scripted TorchScript"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "no reason given"
