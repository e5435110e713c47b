"""Parts of a network: its stages, its first stages as a module, its convolutions."""

from torch import fx, nn
from torch.fx.proxy import TraceError

# torchvision's names for the part before the pooling, which is a row of stages rather than one.
_TRUNK_NAMES = ("features", "trunk_output")


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """All its convolutions by their dotted names, in the order they are registered."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def stage_names(network: nn.Module) -> tuple[str, ...]:
    """The dotted names of its stages in order: its children, and in place of a trunk the trunk's children."""
    names: list[str] = []
    for name, child in network.named_children():
        inside = name in _TRUNK_NAMES and isinstance(child, nn.Sequential)
        names += [f"{name}.{part}" for part, _ in child.named_children()] if inside else [name]
    return tuple(names)


def first_stages(network: nn.Module, count: int) -> fx.GraphModule:
    """The network up to the end of its stage number `count`, as a module of its own that shares the weights.

    Whatever `forward` does between the stages is in it; layers that those stages do not need are not.

    Args:
        network: in the mode, training or evaluation, that the part is wanted for.
        count: 1 to the number of `stage_names(network)`.

    Raises:
        ValueError: there are not so many stages, or that stage is not run, or torch.fx cannot follow `forward`.
    """
    names = stage_names(network)
    if not 1 <= count <= len(names):
        raise ValueError(
            f"the network has {len(names)} stages, so {count} of them cannot be taken; say 1 to {len(names)}"
        )
    graph = _trace(network)
    inside = [node for node in graph.nodes if _belongs_to_stage(node, names[count - 1])]
    if not inside:
        raise ValueError(f"stage {count}, {names[count - 1]}, is not run in this mode; take another number of stages")
    end = next(node for node in graph.nodes if node.op == "output")
    end.args = (inside[-1],)
    part = fx.GraphModule(network, graph, f"First{count}StagesOf{type(network).__name__}")
    graph.eliminate_dead_code()
    part.recompile()
    part.delete_all_unused_submodules()
    return part


def _trace(network: nn.Module) -> fx.Graph:
    try:
        return fx.Tracer().trace(network)
    except (TraceError, TypeError) as error:
        raise ValueError(f"torch.fx cannot take {type(network).__name__} apart: {error}") from error


def _belongs_to_stage(node: fx.Node, stage: str) -> bool:
    """Whether the node belongs to the stage, itself a leaf of the trace or a module that was traced through."""
    return stage in node.meta.get("nn_module_stack", {}) or (node.op == "call_module" and node.target == stage)
