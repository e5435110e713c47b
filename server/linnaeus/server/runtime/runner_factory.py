"""Creates the runner for a model, by the kind of its device."""

import logging

import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.artifact_checks import FAILURES
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.cuda import CudaRunner
from linnaeus.server.runtime.out_of_memory import error_summary
from linnaeus.server.runtime.precision import FLOAT32
from linnaeus.server.runtime.runner import Runner
from linnaeus.server.runtime.specialisation import memory_format
from linnaeus.server.runtime.warmup import size_classes

logger = logging.getLogger(__name__)


def open_runner(
    module: torch.jit.ScriptModule, manifest: Manifest, device: torch.device, largest: int, precision: str = FLOAT32
) -> Runner:
    """Returns a runner for a module on the device, for batches up to the largest size.

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
