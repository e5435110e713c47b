"""Faster convolutions on a CPU: fuses each with its activation, and with the batch norm before it, in oneDNN.

By default torch runs an activation as a separate pass over memory, and on a single thread takes a slow path without
oneDNN for batches below 16. A batch norm and a ReLU before a convolution, as in DenseNet, are folded by nothing: they
become one depthwise convolution of one weight per channel, which is a single pass, too. The results are the same
(docs/decisions/0006-fused-convolutions-and-streams.md and 0016-precision.md have the speeds).

The rewriting works on TorchScript's graph through private functions of torch. If a function is missing, or the graph
contains an unsupported convolution, the module stays unchanged. The weights keep torch's memory layout; see
`weight_layout`.
"""

import itertools
import logging
from collections.abc import Iterator
from textwrap import indent
from typing import Any, TypeAlias

import torch

logger = logging.getLogger(__name__)

Graph: TypeAlias = Any  # torch._C's types are only partly declared

_CONVOLUTION = "aten::conv2d"
FUSED = "mkldnn::_convolution_pointwise"
_OPERANDS = "%x, %weight, %bias, %stride : int[], %padding : int[], %dilation : int[], %groups : int"
# The activations that oneDNN fuses with a convolution: torch's name to oneDNN's name and arguments.
_ACTIVATIONS = {"relu": ("relu", ()), "hardtanh": ("hardtanh", ("%low", "%high")), "sigmoid": ("sigmoid", ())}
_RELUS = ("aten::relu", "aten::relu_")
_MIN_MAGNITUDE = 2.0**-10


def fuse_convolutions(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Fuses a frozen module's float32 convolutions in place, if all of them can be fused; returns the module.

    Args:
        module: frozen, on the CPU, never run before.
    """
    graph: Graph = module.graph
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return module
    try:
        _normalise_convolutions(graph)
        if all(map(_can_be_fused, graph.findAllNodes(_CONVOLUTION))):
            _convert_batch_norms(graph)
            _apply_rules(graph)
            torch._C._jit_pass_dce(graph)  # removes the constants of the batch norms
    except (AttributeError, RuntimeError) as error:
        logger.warning("convolutions are not fused, the model runs slower than it could: %s", error)
    return module


def remove_traced_settings(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Makes a frozen module's convolutions follow this process's cuDNN settings; returns the module.

    Tracing writes the settings of its own process into every convolution: whether to autotune, and whether to round to
    TF32.
    """
    try:
        _normalise_convolutions(module.graph)
    except (AttributeError, RuntimeError) as error:
        logger.warning("convolutions keep the settings they were traced with: %s", error)
    return module


def _normalise_convolutions(graph: Graph) -> None:
    """Replaces the `_convolution` of traced modules by `conv2d`, which scripted modules have."""
    for node in list(graph.findAllNodes("aten::_convolution")):
        inputs = list(node.inputs())
        if inputs[6].toIValue() or _rank(inputs[1]) != 4:  # transposed, or not two-dimensional
            continue
        plain = graph.create(_CONVOLUTION, [*inputs[:6], inputs[8]], 1)
        plain.insertBefore(node)
        plain.output().setType(node.output().type())
        node.output().replaceAllUsesWith(plain.output())
        node.destroy()


def _rank(value: Any) -> int | None:
    constant = value.toIValue()
    return constant.dim() if isinstance(constant, torch.Tensor) else None


def _can_be_fused(node: Any) -> bool:
    """Whether the weights are constant float32 on the CPU and the other arguments are constant numbers."""
    _, weight, _, *numbers = (value.toIValue() for value in node.inputs())
    known = isinstance(weight, torch.Tensor) and weight.dtype == torch.float32 and weight.device.type == "cpu"
    return known and None not in numbers and not any(isinstance(number, str) for number in numbers)


def _convert_batch_norms(graph: Graph) -> None:
    """Replaces each batch norm whose ReLU feeds only convolutions by a depthwise convolution of one weight per channel.

    That weight is 1 or -1, which every precision represents exactly; its magnitude is multiplied into the weights of
    the following convolutions, because ReLU commutes with a positive factor. A magnitude close to 0 is not moved, since
    dividing by it could overflow.
    """
    for node in list(graph.findAllNodes("aten::batch_norm")):
        convolutions = _convolutions_after(node)
        if convolutions and (known := _scale_and_shift(node)):
            scale, shift = known
            magnitude = torch.where(scale.abs() < _MIN_MAGNITUDE, 1.0, scale.abs())
            _replace_norm(graph, node, scale / magnitude, shift / magnitude)
            for convolution in convolutions:
                _scale_inputs(graph, convolution, magnitude)


def _convolutions_after(node: Any) -> list[Any]:
    """Returns the convolutions after a batch norm and its ReLU; empty if the result has any other use.

    Grouped convolutions are excluded: each of their weights belongs to only some of the channels.
    """
    activations = [use.user for use in node.output().uses()]
    if [each.kind() in _RELUS for each in activations] != [True]:
        return []
    users = [use.user for use in activations[0].output().uses()]
    plain = [user for user in users if user.kind() == _CONVOLUTION and list(user.inputs())[6].toIValue() == 1]
    return plain if len(plain) == len(users) else []


def _scale_and_shift(node: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Returns a batch norm's factor and offset per channel; None unless both are constant."""
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


def _scale_inputs(graph: Graph, convolution: Any, magnitude: torch.Tensor) -> None:
    weight = list(convolution.inputs())[1].toIValue()
    with graph.insert_point_guard(convolution):
        scaled = graph.insertConstant((weight * magnitude.view(1, -1, 1, 1)).to(memory_format=torch.channels_last))
    convolution.replaceInput(1, scaled)


def _apply_rules(graph: Graph) -> None:
    for pattern, replacement in _rewrite_rules():
        torch._C._jit_pass_custom_pattern_based_rewrite_graph(pattern, replacement, graph)


def _rewrite_rules() -> Iterator[tuple[str, str]]:
    """Yields patterns and replacements. A convolution whose result has another use does not match the fused ones."""
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
