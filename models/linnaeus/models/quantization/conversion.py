"""Opens a version's model with OpenVINO, converting it if it is TorchScript; runs and saves OpenVINO models.

`openvino` is imported in the functions: only the extra `quantize` brings it, and commands that need no model must
start fast.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnaeus.models import pixel_classifier  # noqa: F401  silences the warning of TorchScript
from linnaeus.models.manifest import InputSpec, Manifest
from linnaeus.models.model_format import MODEL_FILES, OPENVINO, TORCHSCRIPT
from linnaeus.models.own_model.torchscript_file import load_torchscript
from linnaeus.models.quantization.pictures import Pictures
from linnaeus.openvino_telemetry import block_telemetry

if TYPE_CHECKING:
    import openvino

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
FEATURES_NAME = "features"
# OpenVINO is several times faster with shapes that never change, so the last batch is padded to this size.
_BATCH = 8


def open_model(folder: Path, manifest: Manifest) -> "openvino.Model":
    """Opens a version's model, of any format: uint8 [N, C, H, W] to float32 [N, classes] and any features.

    Raises:
        ValueError: if OpenVINO cannot express it.
    """
    block_telemetry()
    import openvino
    from openvino import frontend

    path = folder / manifest.model_file
    try:
        if manifest.model_format == TORCHSCRIPT:
            return _convert_torchscript(path, manifest.input)
        return openvino.Core().read_model(path)
    except (frontend.GeneralFailure, frontend.OpConversionFailure, RuntimeError) as error:
        raise ValueError(f"{path} cannot be converted by OpenVINO: {_reason(error)}") from error


def _convert_torchscript(path: Path, spec: InputSpec) -> "openvino.Model":
    import numpy
    import openvino

    # Frozen, because lists that grow in a loop, as DenseNet's, do not convert before the loop is unrolled.
    script = torch.jit.freeze(load_torchscript(path))
    shape = [-1, spec.channels, spec.height, spec.width]
    model: openvino.Model = openvino.convert_model(script, input=[(shape, numpy.uint8)], verbose=False)
    model.inputs[0].get_tensor().set_names({INPUT_NAME})
    for output, name in zip(model.outputs, (OUTPUT_NAME, FEATURES_NAME), strict=False):
        output.get_tensor().set_names({name})
    return model


def save_model(model: "openvino.Model", folder: Path) -> None:
    """Writes model.xml and model.bin into the folder, float32 constants as they are."""
    import openvino

    openvino.save_model(model, folder / MODEL_FILES[OPENVINO][0], compress_to_fp16=False)


def top1(models: "Sequence[openvino.Model]", pictures: Pictures, spec: InputSpec) -> list[Tensor]:
    """Returns the likeliest class of each picture by each model, int64 [N]; decodes each picture once."""
    compiled = [_compile(model, spec, _BATCH) for model in models]
    found: list[list[Tensor]] = [[] for _ in models]
    for start in range(0, len(pictures), _BATCH):
        pixels = pictures.pixels(start, start + _BATCH)
        padded = torch.cat([pixels, pixels[-1:].expand(_BATCH - len(pixels), -1, -1, -1)]).numpy()
        for rows, network in zip(found, compiled, strict=True):
            rows.append(torch.from_numpy(network(padded)[0])[: len(pixels)].argmax(1))
    return [torch.cat(rows) for rows in found]


def probabilities_of(model: "openvino.Model", pixels: Tensor, spec: InputSpec) -> Tensor:
    """Returns the model's probabilities for one picture, uint8 [1, C, H, W]; float32 [classes]."""
    return torch.from_numpy(_compile(model, spec, 1)(pixels.numpy())[0][0].copy())


def _compile(model: "openvino.Model", spec: InputSpec, batch: int) -> "openvino.CompiledModel":
    import openvino

    static = model.clone()
    static.reshape([batch, spec.channels, spec.height, spec.width])
    # Processors that are made for bfloat16 would compute what is not int8 in it.
    return openvino.Core().compile_model(static, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _reason(error: Exception) -> str:
    """Returns the last line with words of OpenVINO's message of many lines."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return lines[-1] if lines else "no reason given"
