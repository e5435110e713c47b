"""Parts of a network: its stages, its first k stages as a module, and its convolutions."""

from torch import fx, nn
from torch.fx.proxy import TraceError

# torchvision's names for the module before the pooling, whose children are the stages.
_TRUNK_NAMES = ("features", "trunk_output")


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Returns all convolutions by dotted name, in order of registration."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def stage_names(network: nn.Module) -> tuple[str, ...]:
    """Returns the dotted names of the stages: the network's children, with a trunk replaced by its own children."""
    names: list[str] = []
    for name, child in network.named_children():
        is_trunk = name in _TRUNK_NAMES and isinstance(child, nn.Sequential)
        names += [f"{name}.{part}" for part, _ in child.named_children()] if is_trunk else [name]
    return tuple(names)


def first_stages(network: nn.Module, count: int) -> fx.GraphModule:
    """Returns the network up to the end of its stage number `count`, as a module that shares the weights.

    It includes what `forward` computes between the stages, and excludes layers that those stages do not need.

    Args:
        network: in the mode (training or evaluation) that the result is needed for.
        count: from 1 to the number of `stage_names(network)`.

    Raises:
        ValueError: if there are fewer stages, if the stage does not run, or if torch.fx cannot trace `forward`.
    """
    names = stage_names(network)
    if not 1 <= count <= len(names):
        raise ValueError(
            f"the network has {len(names)} stages, so {count} of them cannot be taken; say 1 to {len(names)}"
        )
    graph = _trace(network)
    stage_nodes = [node for node in graph.nodes if _belongs_to_stage(node, names[count - 1])]
    if not stage_nodes:
        raise ValueError(f"stage {count}, {names[count - 1]}, is not run in this mode; take another number of stages")
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = (stage_nodes[-1],)
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
    """Returns whether the node is the stage, if that is a leaf of the trace, or was traced inside of it."""
    return stage in node.meta.get("nn_module_stack", {}) or (node.op == "call_module" and node.target == stage)
