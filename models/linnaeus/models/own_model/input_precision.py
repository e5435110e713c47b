"""Makes a network that takes float32 of one in another precision, by trying.

Weights in half precision become float32, which loses nothing and runs on every processor. Where the precision is also
in the graph, as constants of a frozen or traced network, the network keeps it and its input is cast.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linnaeus.models.own_model.finding import Finding, note

# What torch raises when a network fails: an error of its own, or one raised by the network's code.
FAILURES = (RuntimeError, torch.jit.Error)
_OTHERS = (torch.float16, torch.bfloat16, torch.float64)
_MORE_EXACT = "call .float() on the network before it is traced or frozen, for more exact answers"


@dataclass(frozen=True, slots=True)
class Float32Network:
    """A network that takes float32, unless it takes nothing that was tried.

    Attributes:
        module: the network.
        precision: of its outputs.
        finding: what was done for that; None if nothing was.
    """

    module: torch.jit.ScriptModule
    precision: torch.dtype = torch.float32
    finding: Finding | None = None


class _CastInput(nn.Module):
    """Casts float32 images to the precision of a network, whose output keeps that precision."""

    def __init__(self, network: torch.jit.ScriptModule, precision: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images.to(self.precision))
        return outputs


def accept_float32(module: torch.jit.ScriptModule, images: Tensor) -> Float32Network:
    """Returns a network that takes float32; changes the weights of `module` in place if that is enough.

    Args:
        module: on the CPU, in evaluation mode.
        images: float32 [N, C, H, W], as the network takes them.
    """
    if (outputs := run(module, images)) is not None:
        return Float32Network(module, outputs.dtype if isinstance(outputs, Tensor) else torch.float32)
    taken = ((each, run(module, images.to(each))) for each in _OTHERS)
    precision, outputs = next((each for each in taken if each[1] is not None), (torch.float32, None))
    name = str(precision).removeprefix("torch.")
    if outputs is not None and _convert_weights(module, images):
        done = note(f"has weights in {name}: it is served in float32, with the same weights")
        return Float32Network(module, finding=done)
    if not isinstance(outputs, Tensor):
        return Float32Network(module)
    casting = torch.jit.script(_CastInput(module, precision).eval())
    return Float32Network(casting, outputs.dtype, note(f"computes in {name}, and is served so", _MORE_EXACT))


def run(module: torch.jit.ScriptModule, images: Tensor) -> object:
    """Returns what the network gives for these images; None if it does not take them."""
    try:
        return call(module, images)
    except FAILURES:
        return None


def call(module: torch.jit.ScriptModule, images: Tensor) -> object:
    """Runs unoptimized: it would be optimized again for each batch size, which occur once or twice."""
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        return module(images)


def _convert_weights(module: torch.jit.ScriptModule, images: Tensor) -> bool:
    """Converts parameters and buffers to float32; restores them and returns False if the network then fails."""
    weights = [*module.parameters(), *module.buffers()]
    before = [(each, each.data) for each in weights if each.dtype in _OTHERS]
    for each, values in before:
        each.data = values.to(torch.float32)
    if before and run(module, images) is not None:
        return True
    for each, values in before:
        each.data = values
    return False
