"""Stores the weights of oneDNN's convolutions in the order in which oneDNN reads them, once and for all.

Left alone, it reorders them at every call. Which order is best depends on the size of what a convolution is given, and
a graph does not say it: one run of a copy does. Without the size oneDNN guesses, and where it guesses wrong it reorders
at every call what should have been in order already: one of DenseNet-121's convolutions took 18 ms instead of 0.9.

Weights in a branch, and all of them where torch lacks what this needs, stay as they are: slower, not wrong.
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
    """Changes a frozen module in place, and returns it.

    Args:
        module: with fused convolutions, on the CPU, never run before.
        images: uint8 [N, C, H, W], as it will be given.
    """
    graph: Graph = module.graph
    try:
        sizes = _sizes(module, images)
        for node, size in zip(_convolutions(graph), sizes, strict=True):
            _reorder(graph, node, size)
        torch._C._jit_pass_dce(graph)  # the weights as they were
    except (AttributeError, RuntimeError, torch.jit.Error) as error:
        logger.warning("weights are not in oneDNN's order, the model runs slower than it could: %s", error)
    return module


def _convolutions(graph: Graph) -> list[Any]:
    """Those that every run comes by, in the graph's order."""
    return [node for node in graph.nodes() if node.kind() == FUSED]


def _sizes(module: torch.jit.ScriptModule, images: Tensor) -> Sequence[list[int]]:
    """What each convolution is given, in their order. Runs a copy, for a graph that was run is not to be changed.

    The copy answers with the sizes instead of probabilities. (Watching the run by one of torch's dispatch modes would
    import its compiler: a second and 180 MB.)
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
