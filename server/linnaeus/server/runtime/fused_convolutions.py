"""Faster convolutions on a CPU: oneDNN, each with its activation in one step, and with the batch norm before it.

Left alone, torch runs an activation as a pass of its own over memory, and on a single thread takes a slow path without
oneDNN for batches below 16. Where a batch norm and a ReLU come before a convolution, as in DenseNet, nothing folds
them: the two become one convolution with a single number a channel, which is one pass, too. The numbers that come out
are the same (docs/decisions/0006-fused-convolutions-and-streams.md and 0016-precision.md have the speeds).

The rewriting works on TorchScript's own graph, through functions of torch that carry an underscore: where one is
missing, or a graph holds an unknown operation, the module stays as it is. Weights keep torch's order here: see
`weight_layout`.
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
FUSED = "mkldnn::_convolution_pointwise"
_OPERANDS = "%x, %weight, %bias, %stride : int[], %padding : int[], %dilation : int[], %groups : int"
# The activations that oneDNN computes with a convolution, as torch names them, with their arguments.
_ACTIVATIONS = {"relu": ("relu", ()), "hardtanh": ("hardtanh", ("%low", "%high")), "sigmoid": ("sigmoid", ())}
_RELUS = ("aten::relu", "aten::relu_")
_SMALLEST_SIZE = 2.0**-10


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
            _norms_to_convolutions(graph)
            _rewrite(graph)
            torch._C._jit_pass_dce(graph)  # what went into the batch norms
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


def _norms_to_convolutions(graph: Graph) -> None:
    """Writes each batch norm whose ReLU feeds convolutions only as a convolution by itself, of one number a channel.

    That number is 1 or -1, which every precision holds exactly, and its size goes into the convolutions behind: ReLU
    passes a positive factor on. A size that hardly differs from 0 stays, for dividing by it could overflow.
    """
    for node in list(graph.findAllNodes("aten::batch_norm")):
        convolutions = _consumers(node)
        if convolutions and (known := _scale_and_shift(node)):
            scale, shift = known
            size = torch.where(scale.abs() < _SMALLEST_SIZE, 1.0, scale.abs())
            _replace_norm(graph, node, scale / size, shift / size)
            for convolution in convolutions:
                _scale_inputs(graph, convolution, size)


def _consumers(node: Any) -> list[Any]:
    """The convolutions behind a batch norm and its ReLU, if there is nothing else: what they take has four dimensions.

    Those with groups are left out: each of their weights belongs to some of the channels.
    """
    activations = [use.user for use in node.output().uses()]
    if [each.kind() in _RELUS for each in activations] != [True]:
        return []
    users = [use.user for use in activations[0].output().uses()]
    plain = [user for user in users if user.kind() == _CONVOLUTION and list(user.inputs())[6].toIValue() == 1]
    return plain if len(plain) == len(users) else []


def _scale_and_shift(node: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What a batch norm multiplies each channel by, and what it then adds, if both are known numbers."""
    weight, bias, mean, variance, training, _, epsilon, _ = [value.toIValue() for value in node.inputs()][1:]
    tensors = (weight, bias, mean, variance)
    if training is not False or not isinstance(epsilon, float):
        return None
    if any(not isinstance(each, torch.Tensor) or each.dtype != torch.float32 for each in tensors):
        return None
    scale = weight / torch.sqrt(variance + epsilon)
    return scale, bias - mean * scale


def _replace_norm(graph: Graph, node: Any, scale: torch.Tensor, shift: torch.Tensor) -> None:
    known = (scale.view(-1, 1, 1, 1), shift, [1, 1], [0, 0], [1, 1], len(scale))
    with graph.insert_point_guard(node):
        constants = list(map(graph.insertConstant, known))
    convolution = graph.create(_CONVOLUTION, [next(node.inputs()), *constants], 1)
    convolution.insertBefore(node)
    convolution.output().setType(node.output().type())
    node.output().replaceAllUsesWith(convolution.output())
    node.destroy()


def _scale_inputs(graph: Graph, convolution: Any, size: torch.Tensor) -> None:
    weight = list(convolution.inputs())[1].toIValue()
    with graph.insert_point_guard(convolution):
        scaled = graph.insertConstant((weight * size.view(1, -1, 1, 1)).to(memory_format=torch.channels_last))
    convolution.replaceInput(1, scaled)


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
%z = {FUSED}(%x, %weight, %bias, %padding, %stride, %dilation, %groups, %activation, %arguments, %algorithm)"""
