"""Wraps a user's ONNX graph, so that the file takes pixels and gives probabilities as every version's model does."""

from itertools import count
from typing import Any, TypeAlias

import numpy
from torch import Tensor

from linnaeus.models.activation import Activation
from linnaeus.models.manifest import InputSpec
from linnaeus.models.own_model.onnx_graph import FLOAT32, Layout
from linnaeus.models.own_model.onnx_packages import import_onnx
from linnaeus.models.own_model.onnx_trial import OnnxNetwork
from linnaeus.models.pixel_classifier import scale_and_shift

# An operator, its constants after the first input, and its attributes.
_Step: TypeAlias = tuple[str, tuple[str, ...], dict[str, Any]]

_BATCH = "batch"
_FEATURES = "features"
_TO_NHWC = (0, 2, 3, 1)
_ACTIVATIONS = {Activation.SOFTMAX: "Softmax", Activation.SIGMOID: "Sigmoid"}


def wrap(
    network: OnnxNetwork,
    spec: InputSpec,
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None,
    activation: Activation,
    classes: int,
) -> Any:
    """Returns a ModelProto that maps uint8 [N, C, H, W] to float32 probabilities [N, classes], and features [N, d].

    Args:
        network: the user's graph; if it has a second output, so has the result, the features.
        spec: the pictures.
        normalization: mean and deviation per channel; None if the graph normalizes the pixels itself.
        activation: what is put after it.
        classes: the number of classes.
    """
    onnx = import_onnx()
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    graph = model.graph
    wrapper = _Wrapper(onnx, graph)
    nodes = wrapper.before(network, None if normalization is None else scale_and_shift(*normalization))
    given = onnx.helper.make_tensor_value_info(
        nodes[0].input[0], onnx.TensorProto.UINT8, [_BATCH, spec.channels, spec.height, spec.width]
    )
    inner = [*nodes, *graph.node]
    results: list[tuple[list[Any], int | str]] = [(wrapper.after(graph.output[0].name, activation), classes)]
    if len(graph.output) > 1:
        results.append((wrapper.flat(graph.output[1].name), _FEATURES))
    constants = {each.name for each in graph.initializer}
    kept = [each for each in graph.input if each.name in constants]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.extend([given, *kept])
    graph.node.extend(inner)
    for after, size in results:
        graph.node.extend(after)
        graph.output.append(
            onnx.helper.make_tensor_value_info(after[-1].output[0], onnx.TensorProto.FLOAT, [_BATCH, size])
        )
    return model


class _Wrapper:
    """Makes nodes whose tensors have names that the graph does not use."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx = onnx
        self._graph = graph
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken |= {each.name for each in (*graph.initializer, *graph.input)}

    def before(self, network: OnnxNetwork, scale_shift: tuple[Tensor, Tensor] | None) -> list[Any]:
        """Returns the nodes from the pixels to the graph's own input."""
        steps: list[_Step] = []
        if scale_shift is not None:
            scale, shift = scale_shift
            steps.append(("Cast", (), {"to": self._onnx.TensorProto.FLOAT}))
            steps += [("Mul", (self._constant("scale", scale),), {}), ("Add", (self._constant("shift", shift),), {})]
            if network.input.dtype != FLOAT32:
                element = self._onnx.helper.np_dtype_to_tensor_dtype(numpy.dtype(network.input.dtype))
                steps.append(("Cast", (), {"to": element}))
        if network.input.layout is Layout.NHWC:
            steps.append(("Transpose", (), {"perm": _TO_NHWC}))
        steps = steps or [("Identity", (), {})]
        return self._chain(self._unused("images"), steps, network.input.name)

    def after(self, output: str, activation: Activation) -> list[Any]:
        """Returns the nodes from the graph's own output to the probabilities."""
        steps = self._to_rows()
        if activation is not Activation.NONE:
            attributes = {"axis": 1} if activation is Activation.SOFTMAX else {}
            steps.append((_ACTIVATIONS[activation], (), attributes))
        return self._chain(output, steps, self._unused("probabilities"))

    def flat(self, features: str) -> list[Any]:
        """Returns the nodes from a tensor of the graph, [N, d] but for sizes of 1, to the features."""
        return self._chain(features, self._to_rows(), self._unused(_FEATURES))

    def _to_rows(self) -> list[_Step]:
        return [
            ("Cast", (), {"to": self._onnx.TensorProto.FLOAT}),
            ("Flatten", (), {"axis": 1}),  # for networks that end in a map of one pixel, [N, classes, 1, 1]
        ]

    def _chain(self, first: str, steps: list[_Step], last: str) -> list[Any]:
        """Returns nodes of which each takes the result of the one before, and constants."""
        results = [*(self._unused(kind.lower()) for kind, _, _ in steps[:-1]), last]
        sources = [first, *results]
        return [
            self._onnx.helper.make_node(kind, [source, *constants], [result], **attributes)
            for (kind, constants, attributes), source, result in zip(steps, sources, results, strict=False)
        ]

    def _constant(self, name: str, values: Tensor) -> str:
        unused = self._unused(name)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(values.numpy(), unused))
        return unused

    def _unused(self, name: str) -> str:
        found = next(each for number in count() if (each := f"{name}{number or ''}") not in self._taken)
        self._taken.add(found)
        return found
