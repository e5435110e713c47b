"""Finds the features in a user's ONNX graph, by the name of an output or of a tensor or node within."""

from typing import Any

from torch import Tensor

from linnaeus.models.own_model.finding import Finding, Unusable, problem
from linnaeus.models.own_model.onnx_packages import import_onnx

_LINEAR, _CONVOLUTION = ("Gemm", "MatMul"), ("Conv",)
_MOST_SHOWN = 3  # names in an advice


def with_features(model: Any, name: str) -> Any:
    """Returns a copy of a ModelProto whose last output are the features; the outputs before are its other ones.

    Args:
        model: the original; it is not changed.
        name: an output, a tensor within, or a node, whose first output is meant.

    Raises:
        Unusable: if there is no such tensor, or it is the only output.
    """
    onnx = import_onnx()
    tensor = _tensor(model.graph, name)
    others = [each for each in model.graph.output if each.name != tensor]
    if tensor is None or not others:
        text = f"computes nothing named {name!r}" if tensor is None else f"has no other output than {name!r}"
        raise Unusable(problem(f"{text}, so these are no features", _advice(model.graph, tensor)))
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    # without a type, which the runtime finds out
    changed.graph.output.extend([*others, onnx.ValueInfoProto(name=tensor)])
    return changed


def judge_features(features: Tensor, name: str, count: int) -> Finding | None:
    """Says what is wrong with features of `count` pictures; None if they are [count, d], but for sizes of 1."""
    if not features.dtype.is_floating_point:
        return problem(f"gives {str(features.dtype).removeprefix('torch.')} as {name!r}", "name a tensor of floats")
    shape = list(features.shape)
    if len(shape) < 2 or shape[0] != count or features[0].numel() != max(shape[1:]):
        text = f"gives features {shape} as {name!r}, but must give [{count}, features]"
        return problem(text, "name what comes of its pooling or flattening")
    return None


def _tensor(graph: Any, name: str) -> str | None:
    """Returns the tensor that a tensor's or a node's name means; None if no node computes it."""
    if any(name in node.output for node in graph.node if name):
        return name
    return next((str(node.output[0]) for node in graph.node if name and node.name == name), None)


def _advice(graph: Any, unfit: str | None) -> str:
    """Names outputs behind the first, or else the inputs of the last layers, the last one's first."""
    if outputs := [each.name for each in graph.output[1:]]:
        return f"name one of its other outputs, {' or '.join(outputs[:_MOST_SHOWN])}"
    names = _layer_inputs(graph, _LINEAR, unfit) or _layer_inputs(graph, _CONVOLUTION, unfit)
    if not names:
        return "leave --features out: it has no layer whose inputs they could be"
    return f"name the input of its last layer, perhaps {' or '.join(names[:_MOST_SHOWN])}"


def _layer_inputs(graph: Any, kinds: tuple[str, ...], unfit: str | None) -> list[str]:
    """Returns what these layers take of the pictures, other than their weights."""
    of_pictures = {each.name for each in graph.input} - {each.name for each in graph.initializer}
    pictures = set(of_pictures)
    for node in graph.node:  # sorted, as ONNX demands
        if of_pictures & set(node.input):
            of_pictures |= set(node.output)
    layers = [node for node in reversed(graph.node) if node.op_type in kinds]
    fit = of_pictures - pictures - {unfit}
    return list(dict.fromkeys(each for node in layers for each in node.input if each in fit))
