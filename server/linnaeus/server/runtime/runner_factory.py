"""Chooses what runs a model, by the kind of its device."""

import logging

import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.artifact import FAILURES
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
    """What runs the module, which is on the device, in batches up to the largest.

    Raises:
        RuntimeError: torch's, such as for want of memory; nothing is left of it then.
    """
    if device.type == "cpu":
        return CpuRunner(module, manifest.input, largest)
    return CudaRunner(module, manifest, device, size_classes(largest), memory_format(device, precision))


def capture_graphs(runner: Runner) -> bool:
    """Has a runner run its sizes by recorded graphs from now on, and says whether it does.

    One that has none to record, and a model that cannot be recorded, goes on as before: slower, not wrong.
    """
    if not isinstance(runner, CudaRunner):
        return False
    try:
        runner.capture_graphs()
    except FAILURES as error:
        logger.warning("the model cannot be recorded as CUDA graphs and runs without them: %s", error_summary(error))
        return False
    return True
