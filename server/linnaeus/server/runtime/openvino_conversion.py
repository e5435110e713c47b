"""Gives OpenVINO a version's model: converts TorchScript, or reads a file that OpenVINO reads itself.

OpenVINO is imported when it is used: it is optional.
"""

import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from linnaeus.models.manifest import InputSpec
from linnaeus.models.model_format import TORCHSCRIPT
from linnaeus.openvino_telemetry import block_telemetry
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import Artifact
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.out_of_memory import error_summary
from linnaeus.server.runtime.value_reads import value_reading_operation

# Before the first import of openvino, which reports itself.
block_telemetry()

# openvino's own types need the package, which may be missing
OpenVinoModel: TypeAlias = Any
# A traced model may have kept the batch size of its example: the comparison runs several pictures at once.
_EXAMPLE_BATCH = 2
# Of 1,500 conversions, four at a time, one gave a model with an input that nothing filled.
_conversion_lock = threading.Lock()


@cache
def openvino_core() -> Any:
    """Returns the one `openvino.Core` of the process."""
    import openvino

    return openvino.Core()


def openvino_precisions() -> list[str]:
    """Returns the precisions besides float32 that the processor has instructions for."""
    capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, word in {"bfloat16": "BF16", "float16": "FP16"}.items() if word in capabilities]


def openvino_model(artifact: Artifact) -> OpenVinoModel:
    """Returns a version's model: input uint8 [N, H, W, C], first output float32 [N, classes], N any number.

    If the manifest has features, the second output is float32 [N, features].

    Raises:
        ModelRefused: if it cannot be converted or read.
    """
    file = artifact.manifest.model_file
    if artifact.manifest.model_format == TORCHSCRIPT:
        opened = _convert(str(artifact.folder / file), artifact.manifest.input)
    else:
        try:
            opened = openvino_core().read_model(artifact.folder / file)
        except RuntimeError as error:
            raise ModelRefused(f"{file} cannot be read: {error_summary(error)}") from error
    return _with_pixels(opened, artifact)


def _convert(path: str, spec: InputSpec) -> OpenVinoModel:
    module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    _require_no_lost_errors(module.inlined_graph)
    reasons = []
    for prepared in _preparations(module, spec):
        try:
            with _conversion_lock:
                return _converted(prepared())
        except Exception as error:  # the frontend's errors have no common base
            reasons.append(error_summary(error))
    raise ModelRefused(f"OpenVINO cannot convert it: {reasons[0]}")


def _require_no_lost_errors(graph: Any) -> None:
    """Checks that no error of the model's code depends on the pixels: the frontend leaves `raise` out."""
    if graph.findAllNodes("prim::RaiseException") and (operation := value_reading_operation(graph)):
        raise ModelRefused(f"OpenVINO cannot convert it: it may raise, depending on a tensor's value ({operation})")


def _preparations(module: torch.jit.ScriptModule, spec: InputSpec) -> Iterator[Callable[[], Any]]:
    """Yields functions that return the module as it is, frozen, and traced: some code converts only in a later form."""
    yield lambda: module
    yield partial(torch.jit.freeze, module)
    example = torch.zeros((_EXAMPLE_BATCH, spec.channels, spec.height, spec.width), dtype=torch.uint8)
    traced = partial(torch.jit.trace, _Called(module).eval(), example, check_trace=False)
    yield lambda: torch.jit.freeze(traced())


class _Called(torch.nn.Module):
    """Calls a scripted module, which by itself cannot be traced."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Returns the module's probabilities, or these and the features."""
        outputs: Tensor | tuple[Tensor, Tensor] = self.module(pixels)
        return outputs


def _converted(module: torch.jit.ScriptModule) -> OpenVinoModel:
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), without_profiling():
        decoder = TorchScriptPythonDecoder(module)  # must live until the conversion ends
        frontend = FrontEndManager().load_by_framework("pytorch")
        return frontend.convert(frontend.load(decoder))


def _with_pixels(model: OpenVinoModel, artifact: Artifact) -> OpenVinoModel:
    """Declares the input, which may be of any type and layout in the file, and checks the output."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    manifest = artifact.manifest
    spec = manifest.input
    try:
        (parameter,) = model.get_parameters()
        parameter.set_element_type(openvino.Type.u8)
        parameter.set_partial_shape(openvino.PartialShape([-1, spec.channels, spec.height, spec.width]))
        model.validate_nodes_and_infer_types()
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        model = steps.build()
        outputs = [(output.element_type, output.partial_shape) for output in model.outputs]
    except (RuntimeError, ValueError) as error:
        raise ModelRefused(f"OpenVINO cannot give it pixels: {error_summary(error)}") from error
    expected = [manifest.classes, *[manifest.features] * bool(manifest.features)]
    fits = len(outputs) == len(expected) and all(
        kind == openvino.Type.f32 and shape.compatible(openvino.PartialShape([-1, size]))
        for (kind, shape), size in zip(outputs, expected, strict=True)
    )
    if not fits:
        raise ModelRefused(
            f"{manifest.model_file} gives {', '.join(f'{kind} {shape}' for kind, shape in outputs)} in OpenVINO, but "
            f"must give {', '.join(f'float32 [N, {size}]' for size in expected)}"
        )
    return model
