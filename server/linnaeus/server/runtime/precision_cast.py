"""Casts the convolutions and dense layers of a frozen float32 graph to another precision.

This module owns which operation is computed in which dtype. It does not know which dtypes a device is fast at, nor
whether the answers are accurate; see `precision`.

Batch norms have been folded into the convolutions in float32 before, so each weight is rounded once. The inputs of the
cast layers are cast in front of them. Other operations take the dtype of their inputs, except those that stay in
float32: the normalisation of the pixels, operations that torch computes in one dtype only, the last dense layer (near a
logit of 12 bfloat16 has steps of 0.06, which alone would move a probability by 0.015) and the softmax or sigmoid.
Because the inputs are cast explicitly, constants that tracing left in the graph, such as a cast to float32, cannot make
it wrong.
"""

from typing import Any, TypeAlias

import torch

Graph: TypeAlias = Any  # torch._C's types are only partly declared
Node: TypeAlias = Any
Value: TypeAlias = Any

# The positions of the inputs that are cast. oneDNN adds a bias in float32.
_CAST_INPUTS: dict[str, tuple[int, ...]] = {
    "mkldnn::_convolution_pointwise": (0, 1),
    "aten::_convolution": (0, 1, 2),
    **{f"aten::conv{rank}d": (0, 1, 2) for rank in (1, 2, 3)},
    **{f"aten::conv_transpose{rank}d": (0, 1, 2) for rank in (1, 2, 3)},
    "aten::linear": (0, 1, 2),
    "aten::addmm": (0, 1, 2),
    "aten::baddbmm": (0, 1, 2),
    **{f"aten::{name}": (0, 1) for name in ("matmul", "mm", "bmm", "prelu")},
}
# These operations get float32 inputs, like their weights.
_FLOAT32_INPUTS = {
    f"aten::{name}": (0,)
    for name in ("softmax", "log_softmax", "layer_norm", "group_norm", "instance_norm", "local_response_norm")
}
_DENSE = ("aten::linear", "aten::addmm", "aten::matmul", "aten::mm")
# Operations that may follow the last dense layer; each passes on its first input.
_AFTER_LOGITS = tuple(
    f"aten::{name}"
    for name in ("softmax", "sigmoid", "to", "flatten", "view", "reshape", "squeeze", "add", "slice", "cat")
)
# TorchScript graphs encode dtypes as numbers (c10::ScalarType).
_SCALAR_TYPES = {torch.float32: 6, torch.float16: 5, torch.bfloat16: 15}


def cast_graph(graph: Graph, precision: torch.dtype) -> None:
    """Casts a frozen float32 graph in place; its output stays float32.

    Args:
        graph: of a module that was never run.
        precision: float16 or bfloat16.

    Raises:
        RuntimeError: if the graph has no layer to cast.
    """
    logits = _logits(graph)
    cast = [node for kind in _CAST_INPUTS for node in graph.findAllNodes(kind) if node != logits]
    if not cast:
        raise RuntimeError("it has no convolution, and no dense layer but its last one")
    for node in cast:
        _cast(graph, node, _CAST_INPUTS[node.kind()], precision)
    for kind, places in _FLOAT32_INPUTS.items():
        for node in graph.findAllNodes(kind):
            _cast(graph, node, places, torch.float32)
    if logits is not None:
        _cast(graph, logits, _CAST_INPUTS[logits.kind()], torch.float32)
    outputs = _outputs_node(graph)
    _cast(graph, outputs, tuple(range(len(list(outputs.inputs())))), torch.float32)
    torch._C._jit_pass_dce(graph)  # removes the original weights


def _logits(graph: Graph) -> Node | None:
    """Returns the dense layer that computes the logits; None if the graph does not end in one."""
    node = next(_outputs_node(graph).inputs()).node()
    while node.kind() in _AFTER_LOGITS:
        first = next(node.inputs())
        listed = first.node().kind() == "prim::ListConstruct"
        node = next(first.node().inputs()).node() if listed else first.node()
    return node if node.kind() in _DENSE else None


def _outputs_node(graph: Graph) -> Node:
    """Returns the node whose inputs are the outputs: the graph's end, or the tuple that it returns."""
    result = next(graph.outputs()).node()
    return result if result.kind() == "prim::TupleConstruct" else graph.return_node()


def _cast(graph: Graph, node: Node, places: tuple[int, ...], precision: torch.dtype) -> None:
    """Inserts casts before a node for these inputs; constant weights are cast once."""
    inputs = list(node.inputs())
    for place in places:
        value = inputs[place]
        if value.type().kind() == "NoneType":
            continue
        known = value.toIValue()
        nodes = (
            _constant_nodes(graph, known, precision)
            if isinstance(known, torch.Tensor)
            else _cast_nodes(graph, value, precision)
        )
        for each in nodes:
            each.insertBefore(node)
        node.replaceInput(place, nodes[-1].output())


def _constant_nodes(graph: Graph, known: torch.Tensor, precision: torch.dtype) -> list[Node]:
    layout = torch.channels_last if known.dim() == 4 else torch.preserve_format
    constant = graph.create("prim::Constant")
    constant.t_("value", known.to(precision, memory_format=layout))
    constant.output().inferTypeFrom(constant.t("value"))
    return [constant]


def _cast_nodes(graph: Graph, value: Value, precision: torch.dtype) -> list[Node]:
    """Returns the nodes of a cast. At run time a value that has the dtype already is passed on within a microsecond."""
    number, flag, nothing = (graph.create("prim::Constant") for _ in range(3))
    number.i_("value", _SCALAR_TYPES[precision])
    number.output().setType(torch._C.IntType.get())
    flag.i_("value", 0)
    flag.output().setType(torch._C.BoolType.get())
    nothing.output().setType(torch._C.NoneType.get())
    inputs = [value, number.output(), flag.output(), flag.output(), nothing.output()]
    cast = graph.create("aten::to", inputs, 1)
    cast.output().setType(torch._C.TensorType.get())
    return [number, flag, nothing, cast]
