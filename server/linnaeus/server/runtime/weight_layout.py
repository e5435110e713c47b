"""Stores the weights of oneDNN convolutions in oneDNN's own memory layout.

By default oneDNN reorders the weights at every call. The best layout depends on the input size of the convolution,
which the graph does not contain; one run of a copy finds it. Without the size oneDNN guesses, and a wrong guess means
reordering at every call again: one of DenseNet-121's convolutions took 18 ms instead of 0.9.

Weights inside a branch keep torch's layout, and so do all weights if torch lacks the functions used here: slower, but
correct.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.fused_convolutions import FUSED, Graph

logger = logging.getLogger(__name__)


def reorder_weights(module: torch.jit.ScriptModule, images: Tensor) -> torch.jit.ScriptModule:
    """Reorders the weights of a frozen module in place, and returns the module.

    Args:
        module: with fused convolutions, on the CPU, never run before.
        images: uint8 [N, C, H, W]; an example input.
    """
    graph: Graph = module.graph
    try:
        sizes = _input_sizes(module, images)
        for node, size in zip(_convolutions(graph), sizes, strict=True):
            _reorder(graph, node, size)
        torch._C._jit_pass_dce(graph)  # removes the original weights
    except (AttributeError, RuntimeError, torch.jit.Error) as error:
        logger.warning("weights are not in oneDNN's order, the model runs slower than it could: %s", error)
    return module


def _convolutions(graph: Graph) -> list[Any]:
    """Returns the convolutions that every run executes, in the graph's order."""
    return [node for node in graph.nodes() if node.kind() == FUSED]


def _input_sizes(module: torch.jit.ScriptModule, images: Tensor) -> Sequence[list[int]]:
    """Returns the input size of each convolution, in order. Runs a copy, because a graph must not change after a run.

    The copy returns the sizes instead of probabilities. (Observing the run with a torch dispatch mode would import its
    compiler: a second and 180 MB.)
    """
    graph: Graph = module.graph.copy()
    numbers = torch._C.ListType.ofInts()
    sizes = []
    for node in _convolutions(graph):
        size = graph.create("aten::size", [next(node.inputs())], 1)
        size.output().setType(numbers)
        size.insertBefore(node)
        sizes.append(size.output())
    together = graph.create("prim::ListConstruct", sizes, 1)
    together.output().setType(torch._C.ListType(numbers))
    graph.appendNode(together)
    graph.eraseOutput(0)
    graph.registerOutput(together.output())
    function = torch._C._create_function_from_graph("forward", graph)
    with torch.inference_mode(), without_profiling():
        found: Sequence[list[int]] = function(module._c, images)
    return found


def _reorder(graph: Graph, node: Any, size: list[int]) -> None:
    values = list(node.inputs())
    weight, padding, stride, dilation, groups = (values[place].toIValue() for place in (1, 3, 4, 5, 6))
    reordered = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
    constant = graph.create("prim::Constant")
    constant.t_("value", reordered)
    constant.output().setType(values[1].type())
    constant.insertBefore(node)
    node.replaceInputWith(values[1], constant.output())
