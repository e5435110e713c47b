"""Stores the weights of oneDNN's convolutions in the order in which oneDNN reads them, once and for all.

Left alone, it reorders them at every call. Which order is best depends on the size of what a convolution is given, and
a graph does not say it: one run of a copy does. Without the size oneDNN guesses, and where it guesses wrong it reorders
at every call what should have been in order already: one of DenseNet-121's convolutions took 18 ms instead of 0.9.

Weights whose size did not turn up, and all of them where torch lacks what this needs, stay as they are: slower, not
wrong.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.fusing import FUSED, Graph

logger = logging.getLogger(__name__)


def order_weights(module: torch.jit.ScriptModule, images: Tensor) -> torch.jit.ScriptModule:
    """Changes a frozen module in place, and returns it.

    Args:
        module: with fused convolutions, on the CPU, never run before.
        images: uint8 [N, C, H, W], as it will be given.
    """
    graph: Graph = module.graph
    try:
        sizes = _sizes(module, images)
        for node in list(graph.findAllNodes(FUSED)):
            _reorder(graph, node, sizes)
        torch._C._jit_pass_dce(graph)  # the weights as they were
    except (AttributeError, RuntimeError, torch.jit.Error) as error:
        logger.warning("weights are not in oneDNN's order, the model runs slower than it could: %s", error)
    return module


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what size of input each weight was used with."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: dict[int, list[int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.mkldnn._convolution_pointwise.default:
            self.sizes[args[1].data_ptr()] = list(args[0].shape)
        return function(*args, **(kwargs or {}))


def _sizes(module: torch.jit.ScriptModule, images: Tensor) -> Mapping[int, list[int]]:
    """By the address of each weight; runs a copy, for a graph that was run can no longer be changed."""
    copy = torch._C._create_function_from_graph("forward", module.graph.copy())
    seen = _Seen()
    with torch.inference_mode(), without_profiling(), seen:
        copy(module._c, images)
    return seen.sizes


def _reorder(graph: Graph, node: Any, sizes: Mapping[int, list[int]]) -> None:
    values = list(node.inputs())
    weight, padding, stride, dilation, groups = (values[place].toIValue() for place in (1, 3, 4, 5, 6))
    if (size := sizes.get(weight.data_ptr())) is None:
        return
    reordered = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
    constant = graph.create("prim::Constant")
    constant.t_("value", reordered)
    constant.output().setType(values[1].type())
    constant.insertBefore(node)
    node.replaceInputWith(values[1], constant.output())
