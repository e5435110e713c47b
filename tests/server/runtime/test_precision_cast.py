"""A rewritten network keeps its answers in any precision."""

import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.feature_classifier import _LayerWithInput
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.fused_convolutions import FUSED, fuse_convolutions
from linnaeus.server.runtime.precision_cast import cast_graph
from linnaeus.server.runtime.specialisation import specialise
from linnaeus.server.runtime.weight_layout import reorder_weights

CPU = torch.device("cpu")


class PreActivation(nn.Module):
    """Batch norm and ReLU before a convolution, as in DenseNet; one scale is negative, one is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.convolution = nn.Conv2d(4, 8, 3, padding=1)
        self.last = nn.Linear(8, 3)
        with torch.no_grad():
            self.norm.weight.copy_(torch.tensor([1.5, -0.7, 0.0, 1e-6]))
            self.norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3, -0.4]))
            self.norm.running_mean.copy_(torch.tensor([0.5, -0.5, 0.1, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(torch.relu(self.norm(images.to(torch.float32) / 255)))
        return torch.softmax(self.last(features.mean((2, 3))).to(torch.float32), 1)


def frozen(network: nn.Module, traced: bool = False) -> torch.jit.ScriptModule:
    images = torch.zeros(1, 4, 9, 9, dtype=torch.uint8)
    network = network.eval()
    return torch.jit.freeze(torch.jit.trace(network, images) if traced else torch.jit.script(network))


def run(module: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode(), without_profiling():
        return module(images)


@pytest.mark.parametrize("traced", [False, True], ids=["scripted", "traced"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 5e-3), ("float16", 1e-3)])
def test_a_network_keeps_its_answers_in_any_precision(precision: str, tolerance: float, traced: bool) -> None:
    torch.manual_seed(3)
    network = PreActivation()
    images = torch.randint(0, 256, (3, 4, 9, 9), dtype=torch.uint8)
    module = specialise(frozen(network, traced), CPU, precision, images[:1])
    answers = run(module, images)
    assert answers.dtype == torch.float32
    difference = (answers - run(network, images)).abs().max()
    assert difference <= tolerance
    assert precision == "float32" or difference > 0, "nothing was cast"


class TwoOutputs(PreActivation):
    """Gives its last layer's inputs beside the answers, as the zoo's exported networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.with_inputs = _LayerWithInput(self.last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolution(torch.relu(self.norm(images.to(torch.float32) / 255)))
        outputs = self.with_inputs(features.mean((2, 3)))
        return torch.softmax(outputs[:, :3].to(torch.float32), 1), outputs[:, 3:].to(torch.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2), ("float16", 2e-3)])
def test_a_network_keeps_its_features_in_any_precision(precision: str, tolerance: float) -> None:
    torch.manual_seed(3)
    network, images = TwoOutputs(), torch.randint(0, 256, (3, 4, 9, 9), dtype=torch.uint8)
    module = specialise(frozen(network), CPU, precision, images[:1])
    for output, expected in zip(run(module, images), run(network, images), strict=True):
        assert output.dtype == torch.float32 and (output - expected).abs().max() <= tolerance


class Ending(nn.Module):
    """A convolution followed by one of several ends of a network."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = nn.Conv2d(4, 2, 1)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.convolution.bias.copy_(torch.tensor([0.3, 0.7]))
            self.last.weight.zero_()
            # 64.2 is 64 in bfloat16, whose steps are 0.5 there; 2.01 is 2.016
            self.last.bias.copy_(torch.tensor([2.01, 2.0] if "sigmoid" in kind else [64.2, 64.0]))

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images.to(torch.float32) / 255).mean((2, 3))
        if self.kind == "dense layer":
            return torch.softmax(self.last(features), 1)
        if self.kind == "dense layer and sigmoid":
            return torch.sigmoid(self.last(features))
        return torch.softmax(features, 1) if self.kind == "softmax" else torch.sigmoid(features)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("dense layer", 1e-6), ("dense layer and sigmoid", 1e-6), ("softmax", 2e-3), ("sigmoid", 2e-3)],
    ids=lambda each: str(each),
)
def test_the_last_layer_and_the_output_stay_in_float32(kind: str, tolerance: float) -> None:
    torch.manual_seed(3)
    network = Ending(kind)
    images = torch.randint(0, 256, (8, 4, 9, 9), dtype=torch.uint8)
    answers = run(specialise(frozen(network, traced=True), CPU, "bfloat16", images[:1]), images)
    assert answers.dtype == torch.float32
    assert (answers - run(network, images)).abs().max() <= tolerance
    assert "sigmoid" in kind or (answers.sum(1) - 1).abs().max() <= 1e-6


def test_a_batch_norm_before_a_convolution_becomes_a_convolution() -> None:
    module = fuse_convolutions(frozen(PreActivation()))
    assert len(module.graph.findAllNodes(FUSED)) == 2 and not module.graph.findAllNodes("aten::batch_norm")


def test_weights_are_reordered_for_their_input_size() -> None:
    module = fuse_convolutions(frozen(PreActivation()))
    reorder_weights(module, torch.zeros(1, 4, 9, 9, dtype=torch.uint8))
    weights = [list(node.inputs())[1].toIValue() for node in module.graph.findAllNodes(FUSED)]
    assert all(weight.is_mkldnn for weight in weights)


def test_a_graph_with_nothing_to_cast_is_refused() -> None:
    module = frozen(nn.Sequential(nn.Flatten(), nn.ReLU()))
    with pytest.raises(RuntimeError, match=r"no convolution"):
        cast_graph(module.graph, torch.bfloat16)
