"""Finds out what the constants of a TorchScript graph are: a device that it names, and how many weights it has.

Tracing stores the device of every `.to(device)` and of every new tensor in the graph, and `torch.jit.load` does not
replace it. The tensors of a graph, such as the weights of a frozen module, it moves to its `map_location`.
"""

from collections.abc import Iterator

import torch


def find_named_device(module: torch.jit.ScriptModule) -> str | None:
    """Returns the first device that the inlined graph names, such as "cpu" or "cuda:0"; None if there is none."""
    for node in _constants(module):
        if str(node.output().type()) == "Device":
            device: str = node.s("value")
            return device
    return None


def count_parameters(module: torch.jit.ScriptModule) -> int:
    """Counts the parameters; of a frozen module, which has none, the numbers in the tensors of its graph.

    The module must not have been wrapped and run: torch then shows its graph without what it calls.
    """
    tensors = (node.t("value") for node in _constants(module) if node.kindOf("value") == "t")
    return sum(each.numel() for each in module.parameters()) or sum(each.numel() for each in tensors)


def _constants(module: torch.jit.ScriptModule) -> "Iterator[torch._C.Node]":
    for node in _nodes(module.inlined_graph):
        if node.kind() == "prim::Constant" and node.hasAttribute("value"):
            yield node


def _nodes(block: "torch._C.Graph | torch._C.Block") -> "Iterator[torch._C.Node]":
    """Yields all nodes of a graph, including those in branches and loops."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
