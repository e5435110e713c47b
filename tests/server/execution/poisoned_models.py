"""Models for each runtime that fail for a batch with an image whose pixels are all POISON."""

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from tests.server.execution.worker_harness import POISON, SPEC
from torch import Tensor, nn

from linnaeus.models.export.onnx_import import OnnxModel
from linnaeus.models.export.version_folder import (
    StoredModel,
    TorchScriptModel,
    VersionContent,
    check_input,
    write_version,
)
from linnaeus.models.manifest import Weights

_PIXELS = SPEC.height * SPEC.width
_LARGEST = 255.0


def write_poisoned(root: Path, runtime: str) -> Path:
    """Writes a version that the runtime opens; its probabilities are the pixels of the image, divided by 255."""
    stored: StoredModel = _torchscript() if runtime == "torchscript" else OnnxModel(_graph())
    known = tuple((check_input(SPEC).flatten() / _LARGEST).tolist())
    labels = tuple(f"pixel {place}" for place in range(_PIXELS))
    content = VersionContent("poisoned", "poisoned", SPEC, labels, Weights("random", 0), stored, known)
    return write_version(content, root, 1)


class _Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.poison = float(POISON)

    def forward(self, pixels: Tensor) -> Tensor:
        numbers = pixels.flatten(1).to(torch.float32)
        if bool(((numbers - self.poison).abs().amax(1) == 0).any()):
            raise RuntimeError("poisoned")
        return numbers / 255.0


def _torchscript() -> TorchScriptModel:
    return TorchScriptModel(torch.jit.script(_Raising().eval()))


def _graph() -> onnx.ModelProto:
    """Returns a graph whose last step, a reshape, gets one column too many for the poison, and fails."""
    constants = {
        "poison": (TensorProto.FLOAT, [float(POISON)]),
        "largest": (TensorProto.FLOAT, [_LARGEST]),
        "zero": (TensorProto.FLOAT, [0.0]),
        "pixels": (TensorProto.INT64, [_PIXELS]),
        "any": (TensorProto.INT64, [-1]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["numbers"], axis=1),
        helper.make_node("Sub", ["numbers", "poison"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distances"]),
        helper.make_node("ReduceMax", ["distances"], ["farthest"], axes=[1], keepdims=0),
        helper.make_node("ReduceMin", ["farthest"], ["nearest"], axes=[0], keepdims=1),
        helper.make_node("Equal", ["nearest", "zero"], ["is_poisoned"]),
        helper.make_node("Cast", ["is_poisoned"], ["more"], to=TensorProto.INT64),
        helper.make_node("Add", ["pixels", "more"], ["columns"]),
        helper.make_node("Concat", ["any", "columns"], ["shape"], axis=0),
        helper.make_node("Div", ["numbers", "largest"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "poisoned",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SPEC.channels, SPEC.height, SPEC.width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", _PIXELS])],
        [helper.make_tensor(name, kind, [1], values) for name, (kind, values) in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
