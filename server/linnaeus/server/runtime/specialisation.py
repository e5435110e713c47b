"""How a model is fitted to its device, as data: what computes it, its precision and its memory format."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Specialisation:
    """How a model was fitted to one device, as text for users.

    Attributes:
        device: name of the device.
        precision: float32, bfloat16, float16, or int8 for a quantized version.
        precision_reason: why this precision was chosen.
        memory_format: channels_last or channels_first.
        runtime: torchscript, openvino or onnxruntime.
        runtime_reason: why this runtime was chosen.
    """

    device: str
    precision: str
    precision_reason: str
    memory_format: str
    runtime: str
    runtime_reason: str
