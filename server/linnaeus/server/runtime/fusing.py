"""Faster convolutions on a CPU: oneDNN with weights in its own order, each with its activation in one step.

Left alone, torch reorders the weights at every call, runs the activation as a pass of its own over memory, and on a
single thread takes a slow path without oneDNN for batches below 16. The numbers that come out are the same
(docs/decisions/0006-fused-convolutions.md has the speeds).

The rewriting works on TorchScript's own graph, through functions of torch that carry an underscore: where one is
missing, or a graph holds what this room does not know, the module stays as it is.
"""

import itertools
import logging
from collections.abc import Iterator
from textwrap import indent
from typing import Any, TypeAlias

import torch

logger = logging.getLogger(__name__)

Graph: TypeAlias = Any  # torch._C's types are declared in part only

_CONVOLUTION = "aten::conv2d"
_FUSED = "mkldnn::_convolution_pointwise"
_OPERANDS = "%x, %weight, %bias, %stride : int[], %padding : int[], %dilation : int[], %groups : int"
# The activations that oneDNN computes with a convolution, as torch names them, with their arguments.
_ACTIVATIONS = {"relu": ("relu", ()), "hardtanh": ("hardtanh", ("%low", "%high")), "sigmoid": ("sigmoid", ())}


def fuse_convolutions(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Rewrites a frozen module's float32 convolutions in place, where all of them can be; returns the module.

    Args:
        module: frozen, on the CPU, never run before.
    """
    graph: Graph = module.graph
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return module
    try:
        _name_convolutions_alike(graph)
        if all(map(_can_be_fused, graph.findAllNodes(_CONVOLUTION))):
            _rewrite(graph)
            _reorder_weights(graph)
    except (AttributeError, RuntimeError) as error:
        logger.warning("convolutions are not fused, the model runs slower than it could: %s", error)
    return module


def unbind_convolutions(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Lets a frozen module's convolutions follow the process's settings of cuDNN; returns the module.

    Tracing writes the settings of its own process into every convolution: whether to autotune, and whether to round
    to TF32.
    """
    try:
        _name_convolutions_alike(module.graph)
    except (AttributeError, RuntimeError) as error:
        logger.warning("convolutions keep the settings they were traced with: %s", error)
    return module


def _name_convolutions_alike(graph: Graph) -> None:
    """A traced module says `_convolution` where a scripted one says `conv2d`."""
    for node in list(graph.findAllNodes("aten::_convolution")):
        given = list(node.inputs())
        if given[6].toIValue() or _rank(given[1]) != 4:  # transposed, or not of two dimensions
            continue
        plain = graph.create(_CONVOLUTION, [*given[:6], given[8]], 1)
        plain.insertBefore(node)
        plain.output().setType(node.output().type())
        node.output().replaceAllUsesWith(plain.output())
        node.destroy()


def _rank(value: Any) -> int | None:
    constant = value.toIValue()
    return constant.dim() if isinstance(constant, torch.Tensor) else None


def _can_be_fused(node: Any) -> bool:
    """Whether the weights are known float32 numbers, and the rest is known as numbers, too."""
    _, weight, _, *numbers = (value.toIValue() for value in node.inputs())
    known = isinstance(weight, torch.Tensor) and weight.dtype == torch.float32 and weight.device.type == "cpu"
    return known and None not in numbers and not any(isinstance(number, str) for number in numbers)


def _rewrite(graph: Graph) -> None:
    for pattern, replacement in _rules():
        torch._C._jit_pass_custom_pattern_based_rewrite_graph(pattern, replacement, graph)


def _rules() -> Iterator[tuple[str, str]]:
    """What to look for and what to put there; a convolution whose result is also used elsewhere stays unmatched."""
    convolve = f"%y = {_CONVOLUTION}(%x, %weight, %bias, %stride, %padding, %dilation, %groups)"
    for (name, (fused, arguments)), suffix in itertools.product(_ACTIVATIONS.items(), ("", "_")):
        operands = ", ".join([_OPERANDS, *arguments])
        activate = f"%z = aten::{name}{suffix}({', '.join(['%y', *arguments])})"
        yield _graph(operands, f"{convolve}\n{activate}", "%z"), _graph(operands, _fused(fused, arguments), "%z")
    yield _graph(_OPERANDS, convolve, "%y"), _graph(_OPERANDS, _fused("none", ()), "%z")


def _graph(operands: str, body: str, result: str) -> str:
    return f"graph({operands}):\n{indent(body, '  ')}\n  return ({result})"


def _fused(activation: str, arguments: tuple[str, ...]) -> str:
    return f"""%activation : str = prim::Constant[value="{activation}"]()
%algorithm : str = prim::Constant[value=""]()
%arguments : Scalar?[] = prim::ListConstruct({", ".join(arguments)})
%z = {_FUSED}(%x, %weight, %bias, %padding, %stride, %dilation, %groups, %activation, %arguments, %algorithm)"""


def _reorder_weights(graph: Graph) -> None:
    """Stores each weight in the order in which oneDNN reads it, once and for all."""
    for node in list(graph.findAllNodes(_FUSED)):
        values = list(node.inputs())
        weight, padding, stride, dilation, groups = (values[place].toIValue() for place in (1, 3, 4, 5, 6))
        reordered = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, None)
        constant = graph.create("prim::Constant")
        constant.t_("value", reordered)
        constant.output().setType(values[1].type())
        constant.insertBefore(node)
        node.replaceInputWith(values[1], constant.output())
    torch._C._jit_pass_dce(graph)  # the weights as they were
