"""Which runtimes open a stored model, by its format, and whether they are installed."""

from importlib.util import find_spec

import torch

from linnaeus.models import model_format
from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.onnxruntime_runner import runs_on
from linnaeus.server.runtime.variants import AUTO, ONNXRUNTIME, OPENVINO, TORCHSCRIPT

# The runtimes that open each format; the first is kept if none of the others is faster.
RUNTIMES = {
    model_format.TORCHSCRIPT: (TORCHSCRIPT, OPENVINO),
    model_format.ONNX: (ONNXRUNTIME, OPENVINO),
    model_format.OPENVINO: (OPENVINO,),
}
_INSTALL = {
    model_format.TORCHSCRIPT: "pip install torch",
    model_format.ONNX: "pip install 'linnaeus[onnx]'",
    model_format.OPENVINO: "pip install openvino",
}
_PACKAGES = {TORCHSCRIPT: "torch", OPENVINO: "openvino", ONNXRUNTIME: "onnxruntime"}


def require_runtime(manifest: Manifest) -> None:
    """Checks that a runtime for the version's format is installed.

    Raises:
        ModelRefused: if there is none; the message says what to install.
    """
    runtimes = RUNTIMES[manifest.model_format]
    if not any(map(_is_installed, runtimes)):
        raise ModelRefused(
            f"{manifest.model_file} needs {' or '.join(runtimes)}, which is not installed: "
            f"{_INSTALL[manifest.model_format]}"
        )


def usable_runtimes(manifest: Manifest, device: torch.device, requested: str) -> list[str]:
    """Returns the runtimes that can open the version on the device, and that the operator allows.

    Raises:
        ModelRefused: if there is none.
    """
    opening, file = RUNTIMES[manifest.model_format], manifest.model_file
    usable = [each for each in opening if _is_installed(each) and _computes_on(each, device)]
    if requested in usable or (requested == AUTO and usable):
        return usable if requested == AUTO else [requested]
    if not usable:
        raise ModelRefused(
            f"{file} cannot be run on {device}: what is installed of {' and '.join(opening)} computes elsewhere"
        )
    if requested in opening and not _is_installed(requested):
        raise ModelRefused(f"runtime is {requested}, which is not installed: pip install {_PACKAGES[requested]}")
    others = " or ".join(usable)
    raise ModelRefused(f"runtime is {requested}, which cannot run {file} on {device}, but {others} can")


def _is_installed(runtime: str) -> bool:
    return find_spec(_PACKAGES[runtime]) is not None


def _computes_on(runtime: str, device: torch.device) -> bool:
    if runtime == ONNXRUNTIME:
        return runs_on(device)
    return runtime == TORCHSCRIPT or device.type == "cpu"
