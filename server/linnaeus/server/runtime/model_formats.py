"""Which runtimes open a stored model, by its format, and whether they are installed."""

from importlib.util import find_spec

from linnaeus.models.manifest import Manifest
from linnaeus.models.model_format import ONNX, OPENVINO, TORCHSCRIPT
from linnaeus.server.errors import ModelRefused

# The runtimes that open each format; each is named as the package that it needs.
RUNTIMES = {TORCHSCRIPT: ("torch", "openvino"), ONNX: ("onnxruntime", "openvino"), OPENVINO: ("openvino",)}
_ADVICE = {
    ONNX: "pip install 'linnaeus[onnx]'",
    OPENVINO: "pip install openvino",
}


def require_runtime(manifest: Manifest) -> None:
    """Checks that a runtime for the version's format is installed.

    Raises:
        ModelRefused: if there is none; the message says what to install.
    """
    packages = RUNTIMES[manifest.model_format]
    if not any(map(find_spec, packages)):
        raise ModelRefused(
            f"{manifest.model_file} needs {' or '.join(packages)}, which is not installed: "
            f"{_ADVICE[manifest.model_format]}"
        )
