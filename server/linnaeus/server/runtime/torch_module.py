"""Fits a loaded TorchScript module to its device: frozen, and computed in another precision if that is asked for.

Frozen in channels last, torch's own convolutions are as fast as what `torch.jit.optimize_for_inference` makes of them,
or faster (docs/decisions/0031-runtimes.md).
"""

import logging
from typing import Any, Protocol

import torch
from torch import Tensor

from linnaeus.server.runtime.variants import FLOAT32

logger = logging.getLogger(__name__)

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_CONVOLUTION = "aten::conv2d"


class TorchModule(Protocol):
    """A module that is ready to run."""

    @property
    def graph(self) -> Any:
        """Its TorchScript graph."""

    def __call__(self, pixels: Tensor) -> Any:
        """Takes uint8 [N, C, H, W] on the device; returns the module's outputs."""


class ReducedPrecision:
    """Implements `TorchModule`: computes what gains from it in another precision, by torch's autocast; gives float32.

    Its lists keep in float32 what needs the range or the digits, on a GPU also the softmax. The weights are cast at
    every run: a small part of the time, and a cache would have to be given up at some point.
    """

    def __init__(self, module: torch.jit.ScriptModule, device_type: str, dtype: torch.dtype) -> None:
        self._module = module
        self._device_type = device_type
        self._dtype = dtype

    @property
    def graph(self) -> Any:
        """Its TorchScript graph; see `TorchModule`."""
        return self._module.graph

    def __call__(self, pixels: Tensor) -> Any:
        """Runs the module; see `TorchModule`."""
        with torch.autocast(self._device_type, self._dtype, cache_enabled=False):
            outputs = self._module(pixels)
        if isinstance(outputs, tuple):
            return tuple(output.to(torch.float32) for output in outputs)
        return outputs.to(torch.float32)


def fitted(
    module: torch.jit.ScriptModule, device: torch.device, precision: str, layout: torch.memory_format
) -> TorchModule:
    """Returns the frozen module for a device and a precision.

    Args:
        module: on the device, in evaluation mode.
        device: the device.
        precision: float32, bfloat16 or float16.
        layout: memory format of the input.
    """
    frozen: torch.jit.ScriptModule = torch.jit.freeze(module.to(memory_format=layout))
    if device.type != "cpu":
        _remove_traced_settings(frozen)
    return frozen if precision == FLOAT32 else ReducedPrecision(frozen, device.type, _DTYPES[precision])


def _remove_traced_settings(module: torch.jit.ScriptModule) -> None:
    """Makes a frozen module's convolutions follow this process's cuDNN settings.

    Tracing writes the settings of its own process into every convolution: whether to autotune, and whether to round to
    TF32, which keeps 10 of 23 bits. Works through private functions of torch; without them the settings stay.
    """
    graph: Any = module.graph  # torch._C's types are only partly declared
    try:
        for node in list(graph.findAllNodes("aten::_convolution")):
            _remove_settings(graph, node)
    except (AttributeError, RuntimeError) as error:
        logger.warning("convolutions keep the settings they were traced with: %s", error)


def _remove_settings(graph: Any, node: Any) -> None:
    """Replaces the `_convolution` of traced modules by `conv2d`, which scripted modules have."""
    inputs = list(node.inputs())
    weight = inputs[1].toIValue()
    is_transposed = inputs[6].toIValue()
    if is_transposed or not isinstance(weight, torch.Tensor) or weight.dim() != 4:
        return
    plain = graph.create(_CONVOLUTION, [*inputs[:6], inputs[8]], 1)
    plain.insertBefore(node)
    plain.output().setType(node.output().type())
    node.output().replaceAllUsesWith(plain.output())
    node.destroy()
