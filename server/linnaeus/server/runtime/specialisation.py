"""Fits a frozen module to its device: the precision, the memory format, and on a CPU oneDNN's convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from linnaeus.server.runtime.fused_convolutions import fuse_convolutions, unbind_convolutions
from linnaeus.server.runtime.precision import FLOAT32
from linnaeus.server.runtime.precision_cast import cast_graph
from linnaeus.server.runtime.weight_layout import reorder_weights

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Specialisation:
    """How a model was fitted to one device, for people.

    Attributes:
        device: its name.
        precision: float32, bfloat16 or float16.
        reason: why it is that one.
        memory_format: channels_last or channels_first.
    """

    device: str
    precision: str
    reason: str
    memory_format: str


def describe_specialisation(device: torch.device, precision: str, reason: str) -> Specialisation:
    """Describes what `specialise` does."""
    last = memory_format(device, precision) is torch.channels_last
    return Specialisation(str(device), precision, reason, "channels_last" if last else "channels_first")


def memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """How [N, C, H, W] lies in memory: channels last but for float32 on a GPU, whose convolutions were faster first.

    See docs/decisions/0010-cuda.md.
    """
    first = device.type != "cpu" and precision == FLOAT32
    return torch.contiguous_format if first else torch.channels_last


def fast_precisions(device: torch.device) -> list[str]:
    """Those besides float32 that the device has instructions for; whether they are faster, only timing tells."""
    if device.type == "cpu":
        onednn = torch.ops.mkldnn
        supported = {"bfloat16": onednn._is_mkldnn_bf16_supported, "float16": onednn._is_mkldnn_fp16_supported}
        return [name for name, is_supported in supported.items() if is_supported()]
    return [*["bfloat16"] * torch.cuda.is_bf16_supported(including_emulation=False), "float16"]


def specialise(
    module: torch.jit.ScriptModule, device: torch.device, precision: str, images: Tensor
) -> torch.jit.ScriptModule:
    """Rewrites a frozen float32 module in place, and returns it.

    Args:
        module: on the device, in its memory format, never run before.
        device: where it is.
        precision: float32, bfloat16 or float16.
        images: uint8 [N, C, H, W], on the device, as it will be given.

    Raises:
        RuntimeError, torch.jit.Error: the module cannot be converted, or fails on the images.
    """
    # Without instructions of its own for a precision, oneDNN refuses it; torch's own convolutions do not.
    with_onednn = device.type == "cpu" and (precision == FLOAT32 or precision in fast_precisions(device))
    module = fuse_convolutions(module) if with_onednn else unbind_convolutions(module)
    if precision != FLOAT32:
        cast_graph(module.graph, _TYPES[precision])
    return reorder_weights(module, images) if with_onednn else module
