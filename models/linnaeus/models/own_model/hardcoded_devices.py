"""Finds what would bind a TorchScript module to one device.

A version folder can be served on any device, so its model must not name one. Tracing stores the device of every
`.to(device)` and of every new tensor in the graph as a constant. Freezing turns parameters into constants, which
`Module.to` does not move.
"""

from collections.abc import Iterator

import torch

_CONSTANT = "prim::Constant"


def find_hardcoded_device(module: torch.jit.ScriptModule) -> str | None:
    """Describes the first constant of the inlined graph that is bound to a device; None if there is none."""
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
    """Yields all nodes of a graph, including those in branches and loops."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
