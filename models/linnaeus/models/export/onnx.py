"""Exports a model of the zoo as ONNX, with uint8 pixels as input and float32 probabilities as output.

Every file is verified: onnxruntime must compute what the TorchScript computes, at several batch sizes and, if the
network accepts images of any size, at another height and width.
"""

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

from linnaeus.models.activation import Activation
from linnaeus.models.export.torchscript import feature_classifier, probability_classifier, to_torchscript
from linnaeus.models.export.version_folder import CHECK_SEED, check_input
from linnaeus.models.feature_classifier import FeatureClassifier
from linnaeus.models.manifest import InputSpec
from linnaeus.models.output_folder import make_folder
from linnaeus.models.own_model.onnx_packages import (
    import_onnx,
    import_onnxruntime,
    onnxruntime_errors,
    quiet_options,
)
from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.zoo_model import ModelWeights, ZooModel

logger = logging.getLogger(__name__)

INPUT_NAME = "images"
OUTPUT_NAMES = ("probabilities", "features")
BATCH_SIZES = (1, 2, 7)
# The two runtimes round differently. With its fastest kernels, the default, onnxruntime differs by 1.2e-5 from
# regnet_y_800mf in float64 (the TorchScript by 4e-7), and by 1.7e-5 from the TorchScript of regnet_y_16gf.
TOLERANCE = 5e-5

_BATCH_AXIS = {0: "batch"}
_ALL_AXES = {0: "batch", 2: "height", 3: "width"}
# Added to height and width, for an image that is not square and whose size is no multiple of common strides.
_OTHER_HEIGHT, _OTHER_WIDTH = 17, 38


def export_onnx(
    model: ZooModel,
    weights: ModelWeights,
    target: Path,
    labels: tuple[str, ...] | None = None,
    activation: Activation = Activation.SOFTMAX,
    features: bool = False,
) -> Path:
    """Writes `target` atomically, replacing an existing file, and returns it.

    The input `images` is uint8 [batch, C, height, width], the output `probabilities` float32 [batch, classes], and
    perhaps a second one `features` float32 [batch, d]. The batch dimension is dynamic. Height and width are dynamic if
    the network accepts other sizes and ONNX can express that. The metadata are `name`, `labels` (JSON), `input` (JSON,
    as in the manifest) and `weights` (JSON, source and seed).

    Args:
        model: the model to export.
        weights: its weights.
        target: the file to write; its folder is created.
        labels: one label per class of the weights; the model's own if None.
        activation: what is put after the network.
        features: whether the file gives the inputs of the network's last layer, too.

    Raises:
        ValueError: if the network does not give probabilities although no activation is put after it, or features are
            wanted of a network that has none.
        RuntimeError: if a package of the extra `onnx` is missing, the exporter cannot express the network, or
            onnxruntime does not compute what the TorchScript computes.
    """
    import_onnx()
    runtime = import_onnxruntime()
    names = labels or model.labels()
    eager = probability_classifier(model, weights, len(names), activation)
    if features:
        eager = feature_classifier(model, eager, len(names), activation)
    metadata = {
        "name": model.name,
        "labels": json.dumps(names, ensure_ascii=False),
        "input": json.dumps(asdict(model.input)),
        "weights": json.dumps({"source": weights.source, "seed": weights.seed}),
    }
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        partial = Path(folder) / target.name
        _export_and_verify(eager, model, metadata, partial, runtime)
        os.replace(partial, target)
    return target


def _export_and_verify(
    eager: PixelClassifier, model: ZooModel, metadata: dict[str, str], path: Path, runtime: ModuleType
) -> None:
    """Writes the most general form that passes the verification to `path`."""
    script = to_torchscript(eager)
    outputs = OUTPUT_NAMES if isinstance(eager, FeatureClassifier) else OUTPUT_NAMES[:1]
    batches = [_test_images(model.input, size) for size in BATCH_SIZES]
    other_size = _test_images(_other_size(model.input), 2)
    if _supports_any_size(eager) and _accepts(script, other_size):
        try:
            _write(script, batches[1], outputs, _ALL_AXES, metadata, path)
            return _verify(runtime, script, [*batches, other_size], path)
        except _failures() as error:
            # the exporter made some size constant, so all sizes are made constant; that file is verified as well
            logger.warning("the ONNX of %s takes pictures of its own size only: %s", model.name, error)
    try:
        _write(eager, batches[1], outputs, _BATCH_AXIS, metadata, path)
        _verify(runtime, script, batches, path)
    except _failures() as error:
        raise RuntimeError(f"{model.name} cannot be exported to ONNX: {error}") from error


def _write(
    network: nn.Module,
    pixels: Tensor,
    outputs: tuple[str, ...],
    axes: dict[int, str],
    metadata: dict[str, str],
    path: Path,
) -> None:
    """Converts TorchScript with sizes computed at run time, or any other module by tracing with constant sizes.

    The exporter for TorchScript is deprecated, as TorchScript is. Its successor takes ten times as long and does not
    terminate for padding that depends on the size of the image.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # the warnings are about the deprecation and about constant folding; the verification decides whether it matters
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (pixels,),
            str(path),
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            dynamic_axes={INPUT_NAME: axes, **dict.fromkeys(outputs, _BATCH_AXIS)},
            dynamo=False,
        )
    # Concatenated protobuf messages are one merged message, so the file need not be parsed to add the metadata.
    with path.open("ab") as file:
        file.write(_metadata_message(metadata))


def _metadata_message(metadata: dict[str, str]) -> bytes:
    message = import_onnx().ModelProto()
    for key, value in metadata.items():
        message.metadata_props.add(key=key, value=value)
    serialized: bytes = message.SerializeToString()
    return serialized


def _verify(runtime: ModuleType, script: torch.jit.ScriptModule, batches: list[Tensor], path: Path) -> None:
    """Raises RuntimeError if onnxruntime and TorchScript disagree."""
    session = runtime.InferenceSession(path, quiet_options(), providers=["CPUExecutionProvider"])
    for pixels in batches:
        given = map(torch.from_numpy, session.run(None, {INPUT_NAME: pixels.numpy()}))
        for actual, expected in zip(given, _run(script, pixels), strict=True):
            _compare(actual, expected, tuple(pixels.shape))


def _compare(actual: Tensor, expected: Tensor, of: tuple[int, ...]) -> None:
    if actual.shape != expected.shape:
        raise RuntimeError(f"onnxruntime gives {list(actual.shape)} for an input of {of}")
    # relative to the largest of features, which may be above 1
    difference = ((actual - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
    if not difference <= TOLERANCE:
        raise RuntimeError(f"onnxruntime differs from the TorchScript by {difference:.2g} for an input of {of}")


def _run(script: torch.jit.ScriptModule, pixels: Tensor) -> tuple[Tensor, ...]:
    """Runs the TorchScript unoptimized: it would be optimized again for each input size, which occurs once or twice."""
    with torch.no_grad(), torch.jit.optimized_execution(False):
        outputs: Tensor | tuple[Tensor, ...] = script(pixels)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _failures() -> tuple[type[Exception], ...]:
    """Returns what exporter, verification and onnxruntime raise."""
    return (RuntimeError, *onnxruntime_errors())


def _supports_any_size(network: nn.Module) -> bool:
    """Returns whether ONNX can express dynamic height and width: adaptive pooling only to one value per channel."""
    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    return all(pool.output_size in (1, (1, 1)) for pool in pools)


def _accepts(script: torch.jit.ScriptModule, pixels: Tensor) -> bool:
    try:
        _run(script, pixels)
    except RuntimeError:
        return False
    return True


def _test_images(spec: InputSpec, count: int) -> Tensor:
    """Returns distinct test patterns as uint8 [count, C, H, W]."""
    return torch.cat([check_input(spec, f"{CHECK_SEED} picture {number}") for number in range(count)])


def _other_size(spec: InputSpec) -> InputSpec:
    height, width = spec.height + _OTHER_HEIGHT, spec.width + _OTHER_WIDTH
    return replace(spec, height=height, width=width, resize=max(spec.resize, width, height))
