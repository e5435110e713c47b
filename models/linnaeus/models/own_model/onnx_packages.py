"""Imports the packages of the extra `onnx`, which ONNX files need and nothing else does."""

import importlib
from types import ModuleType

_LOG_FATAL = 4


def import_onnx() -> ModuleType:
    """Returns the package `onnx`, which reads and writes graphs.

    Raises:
        RuntimeError: if it is not installed.
    """
    return _import("onnx")


def import_onnxruntime() -> ModuleType:
    """Returns the package `onnxruntime`, which runs graphs.

    Raises:
        RuntimeError: if it is not installed.
    """
    return _import("onnxruntime")


def quiet_options() -> object:
    """Returns onnxruntime's session options with which it prints nothing; its errors are raised anyway."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = _LOG_FATAL
    return options


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Returns what onnxruntime raises; its errors have no common base class."""
    found = vars(import_onnxruntime().capi.onnxruntime_pybind11_state).values()
    return tuple(each for each in found if isinstance(each, type) and issubclass(each, Exception))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"ONNX needs packages that are not installed ({error}): pip install 'linnaeus[onnx]'"
        ) from None
