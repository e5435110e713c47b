"""What TorchScript becomes on a device."""

import pytest
import torch
from torch import Tensor, nn

from linnaeus.server.runtime import torch_module
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.torch_module import fitted

CPU = torch.device("cpu")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.dense = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.convolution(pixels.to(torch.float32) / 255.0)
        return torch.softmax(self.dense(maps.mean((2, 3))), dim=1)


IMAGES = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_another_precision_rounds_and_still_gives_float32_probabilities(precision: str) -> None:
    script = torch.jit.script(Network().eval())
    modules = [fitted(script, CPU, each, torch.channels_last) for each in ("float32", precision)]
    with torch.inference_mode(), without_profiling():
        plain, other = (module(IMAGES) for module in modules)
    assert other.dtype == torch.float32 and torch.allclose(other.sum(1), torch.ones(3), atol=0.01)
    assert 0 < (plain - other).abs().max() < 0.01


def test_the_settings_of_the_tracing_process_are_removed_from_convolutions() -> None:
    network = Network().eval()
    frozen = torch.jit.freeze(torch.jit.trace(network, IMAGES))
    assert frozen.graph.findAllNodes("aten::_convolution"), "the traced module has no _convolution to replace"
    torch_module._remove_traced_settings(frozen)
    assert not frozen.graph.findAllNodes("aten::_convolution") and frozen.graph.findAllNodes("aten::conv2d")
    with torch.inference_mode(), without_profiling():
        assert torch.allclose(frozen(IMAGES), network(IMAGES), atol=1e-6)
