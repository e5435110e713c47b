"""What a device computes fastest: memory formats and precisions, and the description of what was chosen."""

import torch

from linnaeus.server.runtime.specialisation import Specialisation
from linnaeus.server.runtime.variants import FLOAT32, Variant


def describe_specialisation(
    device: torch.device, variant: Variant, runtime_reason: str, precision_reason: str
) -> Specialisation:
    """Describes how a model is computed on a device, and why."""
    last = memory_format(device, variant.precision) is torch.channels_last
    layout = "channels_last" if last else "channels_first"
    return Specialisation(str(device), variant.precision, precision_reason, layout, variant.runtime, runtime_reason)


def memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """Returns the memory format of the model's input: channels last, except float32 on a GPU.

    There convolutions were faster with channels first (docs/decisions/0010-cuda.md).
    """
    first = device.type != "cpu" and precision == FLOAT32
    return torch.contiguous_format if first else torch.channels_last


def fast_precisions(device: torch.device) -> list[str]:
    """Returns the precisions besides float32 that the device has instructions for; they may still be slower."""
    if device.type == "cpu":
        onednn = torch.ops.mkldnn
        supported = {"bfloat16": onednn._is_mkldnn_bf16_supported, "float16": onednn._is_mkldnn_fp16_supported}
        return [name for name, is_supported in supported.items() if is_supported()]
    return [*["bfloat16"] * torch.cuda.is_bf16_supported(including_emulation=False), "float16"]
