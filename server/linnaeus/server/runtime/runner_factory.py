"""Opens a version with a runtime: the runner for a variant, by the kind of its device."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.artifact_checks import Artifact, load_module
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.cuda import CudaRunner
from linnaeus.server.runtime.device_preferences import memory_format
from linnaeus.server.runtime.onnxruntime_runner import OnnxRuntimeRunner
from linnaeus.server.runtime.openvino_conversion import openvino_model
from linnaeus.server.runtime.openvino_runner import CompileOptions, OpenVinoRunner
from linnaeus.server.runtime.out_of_memory import FAILURES, error_summary
from linnaeus.server.runtime.runner import Runner
from linnaeus.server.runtime.torch_module import TorchModule
from linnaeus.server.runtime.variants import FLOAT32, ONNXRUNTIME, OPENVINO, Variant
from linnaeus.server.runtime.warmup import size_classes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What only some runtimes use.

    Attributes:
        before_threads: called before a runner starts threads, which inherit the priority of this one.
        weights_bytes, memory_factor, cache_folder: see `CompileOptions`.
    """

    before_threads: Callable[[], None]
    weights_bytes: int
    memory_factor: float
    cache_folder: str = ""


def open_runner(
    artifact: Artifact, device: torch.device, largest: int, variant: Variant, options: RunnerOptions
) -> Runner:
    """Returns a runner for a version on a device, for batches up to the largest size.

    Raises:
        ModelRefused: if the runtime cannot open or convert the version.
        RuntimeError: if the runtime fails, for example for lack of memory; nothing is left open.
    """
    if variant.runtime == OPENVINO:
        compile_options = CompileOptions(
            variant.precision, options.weights_bytes, options.memory_factor, options.cache_folder
        )
        model = openvino_model(artifact)
        options.before_threads()
        return OpenVinoRunner(model, artifact.manifest.input, largest, compile_options)
    if variant.runtime == ONNXRUNTIME:
        options.before_threads()
        path = artifact.folder / artifact.manifest.model_file
        return OnnxRuntimeRunner(path, artifact.manifest, device, largest)
    module = load_module(artifact, device, variant.precision)
    if device.type != "cpu":
        options.before_threads()
    return torch_runner(module, artifact.manifest, device, largest, variant.precision)


def torch_runner(
    module: TorchModule, manifest: Manifest, device: torch.device, largest: int, precision: str = FLOAT32
) -> Runner:
    """Returns a runner for a module on the device.

    Raises:
        RuntimeError: if torch fails, for example for lack of memory; nothing is left open.
    """
    if device.type == "cpu":
        return CpuRunner(module, manifest.input, largest)
    return CudaRunner(module, manifest, device, size_classes(largest), memory_format(device, precision))


def capture_graphs(runner: Runner) -> bool:
    """Makes a runner capture CUDA graphs of its sizes; returns whether it now uses graphs.

    A CPU runner, and a model that cannot be captured, run on without graphs: slower, but correct.
    """
    if not isinstance(runner, CudaRunner):
        return False
    try:
        runner.capture_graphs()
    except FAILURES as error:
        logger.warning("the model cannot be recorded as CUDA graphs and runs without them: %s", error_summary(error))
        return False
    return True
