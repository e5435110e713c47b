"""ONNX files of tiny networks for pictures of 8 x 8, as users have them: exported by torch, or built by hand."""

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from tests.models.own_model.tiny_networks import Tiny
from torch import Tensor, nn

CHANNELS_LAST = torch.zeros(1, 8, 8, 3)
PIXELS = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


class ChannelsLast(Tiny):
    """Takes [N, H, W, C], as networks of TensorFlow do."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.permute(0, 3, 1, 2))


class FromPixels(Tiny):
    """Takes uint8, and normalizes it."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float() / 255)


class PixelsLast(FromPixels):
    """Takes uint8 [N, H, W, C]."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.permute(0, 3, 1, 2))


class Reshaped(Tiny):
    """Names the batch of one in its reshape, as some exporters do."""

    def forward(self, images: Tensor) -> Tensor:
        return self.layers[4](self.layers[:3](images).reshape(1, 144))


class BatchTaken(Tiny):
    """Gives the sum over the pictures of a batch, which is right for a batch of one only."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.sum(0, keepdim=True))


class OnePixel(Tiny):
    """Gives a map of one pixel, [N, classes, 1, 1], as some networks of the ONNX model zoo do."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, :, None, None]


class Best(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).argmax(1, keepdim=True)


def export(network: nn.Module, path: Path, example: Tensor | None = None, variable_batch: bool = True) -> Path:
    """Exports a network by tracing."""
    images = torch.zeros(1, 3, 8, 8) if example is None else example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(
            network.eval(),
            (images,),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}} if variable_batch else None,
            dynamo=False,
        )
    return path


def as_newer_exporter(path: Path) -> Path:
    """Changes a file to what torch's newer exporter writes: no size of 0 in a reshape, and the weights beside it."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        if node.op_type == "Reshape":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("allowzero", 1))
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def built(path: Path, **changes: Any) -> Path:
    """Builds the graph that gives the mean of each channel by hand; `changes` replaces parts of it."""
    parts: dict[str, Any] = {
        "inputs": [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        "outputs": [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        "nodes": [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"], axis=1),
        ],
        "opset": 17,
    } | changes
    graph = helper.make_graph(parts["nodes"], "built", parts["inputs"], parts["outputs"])
    opsets = [helper.make_opsetid("", parts["opset"]), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, str(path))
    return path
