"""Finds what would hold a TorchScript module to one device.

A version folder serves every device, so nothing in it may name one. Tracing writes the device of every `.to(device)`
and every new tensor into the graph as a constant, and freezing turns parameters into constants, which `Module.to`
no longer moves.
"""

from collections.abc import Iterator

import torch

_CONSTANT = "prim::Constant"


def find_hardcoded_device(module: torch.jit.ScriptModule) -> str | None:
    """Says what in the module's graph, its children's included, is bound to a device; None if nothing is."""
    for node in _nodes(module.inlined_graph):
        if node.kind() != _CONSTANT or not node.hasAttribute("value"):
            continue
        if str(node.output().type()) == "Device":
            return f"its graph names the device {node.s('value')!r}"
        if node.kindOf("value") == "t" and node.t("value").dim() > 0:
            return (
                f"a tensor of {node.t('value').numel()} numbers is a constant (a frozen model, or one made in forward)"
            )
    return None


def _nodes(block: "torch._C.Graph | torch._C.Block") -> "Iterator[torch._C.Node]":
    """Every node of a graph, those in its branches and loops too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
