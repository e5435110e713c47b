"""Fused convolutions give what the module gave; what cannot be fused stays as it is."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.fused_convolutions import fuse_convolutions, unbind_convolutions

FUSED, PLAIN = "mkldnn::_convolution_pointwise", "aten::conv2d"
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


class ResidualBlock(nn.Module):
    """Its first convolution's result is used twice: it must be kept before the activation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        early = self.first(images)
        return early + torch.relu(self.second(torch.relu(early)))


class InABranch(nn.Module):
    """Freezing leaves the condition in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[0] > 2:
            return torch.relu(self.convolution(images))
        return self.convolution(images)


NETWORKS: dict[str, tuple[nn.Module, int]] = {
    "convolution": (nn.Conv2d(4, 8, 3), 1),
    "convolution, ReLU": (nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.ReLU()), 1),
    "convolution, ReLU in place": (nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(inplace=True)), 1),
    "convolution, ReLU6": (nn.Sequential(nn.Conv2d(4, 8, (1, 3), dilation=2), nn.ReLU6()), 1),
    "convolution, ReLU6 in place": (nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU6(inplace=True)), 1),
    "convolution, sigmoid": (nn.Sequential(nn.Conv2d(4, 8, 3, padding=(0, 2)), nn.Sigmoid()), 1),
    "grouped and depthwise": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)), 2),
    "folded batch-norm": (nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()), 1),
    "residual": (ResidualBlock(), 2),
}


def frozen(network: nn.Module, make: Callable[[nn.Module], torch.jit.ScriptModule]) -> torch.jit.ScriptModule:
    return torch.jit.freeze(make(network.eval()))


def scripted(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.script(network)


def traced(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network, torch.zeros(1, 4, 11, 13))


def counted(module: torch.jit.ScriptModule) -> dict[str, int]:
    return {kind: len(module.graph.findAllNodes(kind)) for kind in (FUSED, PLAIN, "aten::_convolution")}


def run(module: nn.Module | torch.jit.ScriptModule, images: Tensor) -> Tensor:
    with torch.inference_mode(), without_profiling():
        return module(images)


@pytest.mark.parametrize("make", [scripted, traced])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_comes_out_is_the_same_for_any_batch_layout_and_number_of_threads(
    name: str, make: Callable[[nn.Module], torch.jit.ScriptModule]
) -> None:
    torch.manual_seed(5)
    network, convolutions = NETWORKS[name]
    module = fuse_convolutions(frozen(network, make))
    assert counted(module) == {FUSED: convolutions, PLAIN: 0, "aten::_convolution": 0}
    threads = torch.get_num_threads()
    try:
        for count, batch, layout in itertools.product(
            (1, 2), (1, 2, 7), (torch.contiguous_format, torch.channels_last)
        ):
            torch.set_num_threads(count)
            images = torch.randn(batch, 4, 11, 13).to(memory_format=layout)
            before = images.clone()
            assert torch.allclose(run(module, images), run(network, images), rtol=1e-5, atol=1e-6)
            assert torch.equal(images, before)
    finally:
        torch.set_num_threads(threads)


def test_convolutions_inside_a_branch_are_fused_too() -> None:
    network = InABranch()
    module = fuse_convolutions(frozen(network, scripted))
    assert counted(module)[PLAIN] == 0
    for batch in (1, 3):
        images = torch.randn(batch, 4, 9, 9)
        assert torch.allclose(run(module, images), run(network, images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.ConvTranspose2d(4, 8, 3), (2, 4, 9, 9)),
        (nn.Conv1d(4, 8, 3), (2, 4, 9)),
        (nn.Conv2d(4, 8, 3, dtype=torch.float64), (2, 4, 9, 9)),
        (nn.Conv2d(4, 8, 3, padding="same"), (2, 4, 9, 9)),
    ],
    ids=["transposed", "one dimension", "float64", "padding by name"],
)
@pytest.mark.parametrize("make", ["script", "trace"])
def test_what_cannot_be_fused_stays_and_runs(network: nn.Module, shape: tuple[int, ...], make: str) -> None:
    dtype = next(network.parameters()).dtype
    images = torch.randn(shape, dtype=dtype)
    whole = torch.jit.script(network.eval()) if make == "script" else torch.jit.trace(network.eval(), images)
    module = fuse_convolutions(torch.jit.freeze(whole))
    assert torch.allclose(run(module, images), run(network, images), rtol=1e-5, atol=1e-6)


def test_without_the_functions_it_needs_the_module_stays_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(torch._C, "_jit_pass_custom_pattern_based_rewrite_graph")
    network = nn.Conv2d(4, 8, 3)
    module = fuse_convolutions(frozen(network, scripted))
    images = torch.randn(2, 4, 9, 9)
    assert torch.equal(run(module, images), run(network, images))
    assert "not fused" in caplog.text


@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_convolution_no_longer_carries_the_settings_of_the_process_that_traced_it(name: str) -> None:
    network, convolutions = NETWORKS[name]
    module = frozen(network, traced)
    assert counted(module)["aten::_convolution"] == convolutions, "the test could not see them go"
    module = unbind_convolutions(module)
    assert counted(module) == {FUSED: 0, PLAIN: convolutions, "aten::_convolution": 0}
    images = torch.randn(2, 4, 9, 9)
    assert torch.allclose(run(module, images), run(network, images), rtol=1e-5, atol=1e-6)
