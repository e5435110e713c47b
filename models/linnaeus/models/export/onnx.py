"""ONNX: the same artifact, uint8 pixels in and float32 probabilities out, for runtimes other than linnaeus-server.

Written with torch's exporter and never unchecked: onnxruntime has to compute what the TorchScript computes, at several
batch sizes and, where the network takes pictures of any size, at another height and width.
"""

import importlib
import json
import logging
import os
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.export.version_folder import CHECK_SEED, check_input
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.zoo_model import ModelWeights, ZooModel

logger = logging.getLogger(__name__)

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
BATCH_SIZES = (1, 2, 7)
# Two runtimes round differently: with its fastest kernels, which users get, onnxruntime is 1.2e-5 off regnet_y_800mf in
# float64 (the TorchScript 4e-7), and 1.7e-5 off the TorchScript of regnet_y_16gf.
TOLERANCE = 5e-5

_BATCH_AXIS = {0: "batch"}
_ALL_AXES = {0: "batch", 2: "height", 3: "width"}
# Added to height and width: to strides and windows a size that is neither a multiple of theirs nor square.
_OTHER_HEIGHT, _OTHER_WIDTH = 17, 38
_LOG_FATAL = 4


def export_onnx(model: ZooModel, weights: ModelWeights, target: Path, labels: tuple[str, ...] | None = None) -> Path:
    """Writes `target`, whole or not at all, in place of what may be there, and returns it.

    The input `images` is uint8 [batch, C, height, width], the output `probabilities` float32 [batch, classes]. The
    batch is dynamic; so are height and width, if the network takes other sizes and ONNX can express how. The metadata
    hold `name`, `labels` (JSON), `input` (JSON, the manifest's) and `weights` (JSON, source and seed).

    Args:
        model: what to export.
        weights: its weights.
        target: the file; its folder is made if it is not there.
        labels: one for each class of the weights, if not the model's own.

    Raises:
        RuntimeError: the packages of the extra `onnx` are missing, the exporter cannot express the network, or
            onnxruntime does not compute what the TorchScript computes.
    """
    runtime = _import_onnxruntime()
    names = labels or model.labels()
    eager = eager_classifier(model, weights, len(names))
    metadata = {
        "name": model.name,
        "labels": json.dumps(names, ensure_ascii=False),
        "input": json.dumps(asdict(model.input)),
        "weights": json.dumps({"source": weights.source, "seed": weights.seed}),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        partial = Path(folder) / target.name
        _export_and_verify(eager, model, metadata, partial, runtime)
        os.replace(partial, target)
    return target


def _import_onnxruntime() -> ModuleType:
    try:
        importlib.import_module("onnx")
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeError(
            f"ONNX needs packages that are not installed ({error}): pip install 'linnaeus[onnx]'"
        ) from None


def _export_and_verify(
    eager: PixelClassifier, model: ZooModel, metadata: dict[str, str], path: Path, runtime: ModuleType
) -> None:
    """Leaves at `path` the most general form that passes the check."""
    script = to_torchscript(eager)
    batches = [_test_images(model.input, size) for size in BATCH_SIZES]
    other_size = _test_images(_other_size(model.input), 2)
    if _supports_any_size(eager) and _accepts(script, other_size):
        try:
            _write(script, batches[1], _ALL_AXES, metadata, path)
            return _verify(runtime, script, [*batches, other_size], path)
        except _export_errors(runtime) as error:
            # the exporter fixed a size somewhere, so let it fix them all; what comes out is checked as well
            logger.warning("the ONNX of %s takes pictures of its own size only: %s", model.name, error)
    try:
        _write(eager, batches[1], _BATCH_AXIS, metadata, path)
        _verify(runtime, script, batches, path)
    except _export_errors(runtime) as error:
        raise RuntimeError(f"{model.name} cannot be exported to ONNX: {error}") from error


def _write(network: nn.Module, pixels: Tensor, axes: dict[int, str], metadata: dict[str, str], path: Path) -> None:
    """Converts TorchScript as it stands, sizes computed at run time; any other module by tracing, sizes fixed.

    The exporter that reads TorchScript is deprecated, as TorchScript is; but its successor takes ten times as long,
    and does not come back from a padding that depends on the picture's size.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # besides its age it mentions what it did not fold or could not follow, which the check judges
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (pixels,),
            str(path),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: axes, OUTPUT_NAME: _BATCH_AXIS},
            dynamo=False,
        )
    # Messages of protobuf that follow each other in a file are one message: nothing has to be read again.
    with path.open("ab") as file:
        file.write(_metadata_message(metadata))


def _metadata_message(metadata: dict[str, str]) -> bytes:
    message = importlib.import_module("onnx").ModelProto()
    for key, value in metadata.items():
        message.metadata_props.add(key=key, value=value)
    serialised: bytes = message.SerializeToString()
    return serialised


def _verify(runtime: ModuleType, script: torch.jit.ScriptModule, batches: list[Tensor], path: Path) -> None:
    """Raises RuntimeError where onnxruntime and TorchScript disagree."""
    options = runtime.SessionOptions()
    # what goes wrong is raised; onnxruntime would print it besides
    options.log_severity_level = _LOG_FATAL
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for pixels in batches:
        expected = _run(script, pixels)
        given = torch.from_numpy(session.run([OUTPUT_NAME], {INPUT_NAME: pixels.numpy()})[0])
        if given.shape != expected.shape:
            raise RuntimeError(f"onnxruntime gives {list(given.shape)} for an input of {tuple(pixels.shape)}")
        difference = (given - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"onnxruntime differs from the TorchScript by {difference:.2g} for an input of {tuple(pixels.shape)}"
            )


def _run(script: torch.jit.ScriptModule, pixels: Tensor) -> Tensor:
    """Without the optimiser, which would work anew for each size that is seen once or twice here."""
    with torch.no_grad(), torch.jit.optimized_execution(False):
        probabilities: Tensor = script(pixels)
    return probabilities


def _export_errors(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """What the exporter, the check and onnxruntime raise; onnxruntime's errors have no common base of their own."""
    errors = runtime.capi.onnxruntime_pybind11_state
    return (
        RuntimeError,
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.NotImplemented,
        errors.RuntimeException,
    )


def _supports_any_size(network: nn.Module) -> bool:
    """Whether ONNX can leave height and width open: it has no adaptive pooling but to one value a channel."""
    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    return all(pool.output_size in (1, (1, 1)) for pool in pools)


def _accepts(script: torch.jit.ScriptModule, pixels: Tensor) -> bool:
    try:
        _run(script, pixels)
    except RuntimeError:
        return False
    return True


def _test_images(spec: InputSpec, count: int) -> Tensor:
    """Different boards of coarse fields, uint8 [count, C, H, W]."""
    return torch.cat([check_input(spec, f"{CHECK_SEED} picture {number}") for number in range(count)])


def _other_size(spec: InputSpec) -> InputSpec:
    height, width = spec.height + _OTHER_HEIGHT, spec.width + _OTHER_WIDTH
    return replace(spec, height=height, width=width, resize=max(spec.resize, width, height))
