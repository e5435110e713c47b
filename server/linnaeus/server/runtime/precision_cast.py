"""Gives a frozen float32 graph another precision where it pays: in its convolutions and dense layers.

It owns what is computed in which type. It does not know which types a device is fast at, nor whether the answers are
still good: see `precision`.

Batch norm is folded into convolutions by then, in float32, so that each weight is rounded once. What those layers take
is cast in front of them; everything else follows the type of what reaches it, or stays float32: the normalisation of
the pixels, what torch computes in one type only, the last dense layer (around a logit of 12 bfloat16 has steps of
0.06, which alone would move a probability by 0.015) and the softmax. So no constant that tracing left in a graph, such
as a cast to float32 on the way, can make it wrong.
"""

from typing import Any, TypeAlias

import torch

Graph: TypeAlias = Any  # torch._C's types are declared in part only
Node: TypeAlias = Any
Value: TypeAlias = Any

# The places of those inputs that are cast. oneDNN adds a bias in float32.
_CAST: dict[str, tuple[int, ...]] = {
    "mkldnn::_convolution_pointwise": (0, 1),
    "aten::_convolution": (0, 1, 2),
    **{f"aten::conv{rank}d": (0, 1, 2) for rank in (1, 2, 3)},
    **{f"aten::conv_transpose{rank}d": (0, 1, 2) for rank in (1, 2, 3)},
    "aten::linear": (0, 1, 2),
    "aten::addmm": (0, 1, 2),
    "aten::baddbmm": (0, 1, 2),
    **{f"aten::{name}": (0, 1) for name in ("matmul", "mm", "bmm", "prelu")},
}
# These take what reaches them in float32, as their weights are.
_WHOLE = {
    f"aten::{name}": (0,)
    for name in ("softmax", "log_softmax", "layer_norm", "group_norm", "instance_norm", "local_response_norm")
}
_DENSE = ("aten::linear", "aten::addmm", "aten::matmul", "aten::mm")
# What may stand between the last dense layer and the answer; its first input is what it passes on.
_AFTER_LOGITS = tuple(f"aten::{name}" for name in ("softmax", "to", "flatten", "view", "reshape", "squeeze", "add"))
# In TorchScript's graphs types are numbers.
_NUMBERS = {torch.float32: 6, torch.float16: 5, torch.bfloat16: 15}


def cast_graph(graph: Graph, precision: torch.dtype) -> None:
    """Rewrites a frozen float32 graph in place; what it returns is float32.

    Args:
        graph: of a module that was never run.
        precision: float16 or bfloat16.

    Raises:
        RuntimeError: it has nothing that could be cast.
    """
    logits = _logits(graph)
    cast = [node for kind in _CAST for node in graph.findAllNodes(kind) if node != logits]
    if not cast:
        raise RuntimeError("it has no convolution, and no dense layer but its last one")
    for node in cast:
        _cast(graph, node, _CAST[node.kind()], precision)
    for kind, places in _WHOLE.items():
        for node in graph.findAllNodes(kind):
            _cast(graph, node, places, torch.float32)
    if logits is not None:
        _cast(graph, logits, _CAST[logits.kind()], torch.float32)
    _cast(graph, graph.return_node(), (0,), torch.float32)
    torch._C._jit_pass_dce(graph)  # the weights as they were


def _logits(graph: Graph) -> Node | None:
    """The dense layer that gives the logits, if that is what the graph ends in."""
    node = next(graph.outputs()).node()
    while node.kind() in _AFTER_LOGITS:
        node = next(node.inputs()).node()
    return node if node.kind() in _DENSE else None


def _cast(graph: Graph, node: Node, places: tuple[int, ...], precision: torch.dtype) -> None:
    """Puts casts before a node; weights, which are known, are cast once and for all."""
    inputs = list(node.inputs())
    for place in places:
        value = inputs[place]
        if value.type().kind() == "NoneType":
            continue
        known = value.toIValue()
        made = _constant(graph, known, precision) if isinstance(known, torch.Tensor) else _to(graph, value, precision)
        for each in made:
            each.insertBefore(node)
        node.replaceInput(place, made[-1].output())


def _constant(graph: Graph, known: torch.Tensor, precision: torch.dtype) -> list[Node]:
    layout = torch.channels_last if known.dim() == 4 else torch.preserve_format
    constant = graph.create("prim::Constant")
    constant.t_("value", known.to(precision, memory_format=layout))
    constant.output().inferTypeFrom(constant.t("value"))
    return [constant]


def _to(graph: Graph, value: Value, precision: torch.dtype) -> list[Node]:
    """A value that has the type already is passed on as it is, within a microsecond."""
    number, flag, nothing = (graph.create("prim::Constant") for _ in range(3))
    number.i_("value", _NUMBERS[precision])
    number.output().setType(torch._C.IntType.get())
    flag.i_("value", 0)
    flag.output().setType(torch._C.BoolType.get())
    nothing.output().setType(torch._C.NoneType.get())
    given = [value, number.output(), flag.output(), flag.output(), nothing.output()]
    cast = graph.create("aten::to", given, 1)
    cast.output().setType(torch._C.TensorType.get())
    return [number, flag, nothing, cast]
