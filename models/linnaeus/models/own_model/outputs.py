"""Judges what a network gives: logits, probabilities, or independent scores; and which activation belongs after it."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from linnaeus.models.activation import Activation
from linnaeus.models.own_model.finding import Finding, note, ok, problem

# Rounding, also of a network that computes in half precision.
_TOLERANCE = 1e-3
# Operations that pass their first input on, behind an activation; of a tuple that are the logits.
_PASS_ON = (
    "prim::TupleConstruct",
    "aten::to",
    "aten::squeeze",
    "aten::flatten",
    "aten::view",
    "aten::reshape",
    "aten::clone",
    "aten::detach",
)
_SIGMOIDS = ("aten::sigmoid", "aten::hardsigmoid")


class OutputKind(StrEnum):
    """What outputs look like, in words that complete "it gives …"."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "logarithms of probabilities"
    PROBABILITIES = "probabilities, which lie between 0 and 1 and sum to 1"
    SCORES = "independent scores (sigmoid), which lie between 0 and 1 and do not sum to 1"


def judge_outputs(outputs: Tensor) -> OutputKind:
    """Says what outputs, float32 [N, classes] of several different images, look like."""
    # only zeros are the logits of a head that was never trained
    if outputs.min() >= 0 and 0 < outputs.max() <= 1 + _TOLERANCE:
        return OutputKind.PROBABILITIES if _sum_to_one(outputs) else OutputKind.SCORES
    if outputs.max() <= _TOLERANCE and _sum_to_one(outputs.exp()):
        return OutputKind.LOG_PROBABILITIES
    return OutputKind.LOGITS


def _sum_to_one(outputs: Tensor) -> bool:
    return bool((outputs.sum(1) - 1).abs().max() <= _TOLERANCE)


def ends_in_sigmoid(module: torch.jit.ScriptModule) -> bool:
    """Whether the last operation of the inlined graph is a sigmoid."""
    graph = module.inlined_graph  # its values live no longer than it does
    value: Any = next(graph.outputs())
    while value.node().kind() in _PASS_ON:
        value = next(value.node().inputs())
    return value.node().kind() in _SIGMOIDS


def judge_activation(outputs: Tensor, has_sigmoid: bool, wanted: Activation | None) -> Finding:
    """Says whether the wanted activation, None for an unstated one, gives true probabilities.

    Args:
        outputs: float32 [N, classes] of several different images.
        has_sigmoid: whether the network ends in a sigmoid.
        wanted: what the user said.
    """
    kind = judge_outputs(outputs)
    single = outputs.shape[1] == 1
    if kind is OutputKind.PROBABILITIES:
        return _single_probability() if single else _judge_probabilities(wanted)
    if kind is OutputKind.SCORES:
        return _judge_scores(has_sigmoid, wanted)
    if wanted is Activation.NONE:
        low, high = outputs.min().item(), outputs.max().item()
        return problem(
            f"gives numbers from {low:.3g} to {high:.3g}, which are no probabilities",
            "say --activation softmax if one label fits a picture, or --activation sigmoid if several may",
        )
    if kind is OutputKind.LOG_PROBABILITIES and wanted is Activation.SIGMOID:
        return problem(f"gives {kind}, which a sigmoid does not turn into probabilities", "say --activation softmax")
    if single and wanted is not Activation.SIGMOID:
        return problem(
            "gives a single number for a picture, and the softmax of one number is always 100 %",
            "say --activation sigmoid, with one label that says what a high number means",
        )
    if wanted is Activation.SIGMOID:
        return ok(f"gives {kind}; a sigmoid makes a probability of each, independent of the others")
    return ok(f"gives {kind}; a softmax makes probabilities of them, which sum to 1")


def _single_probability() -> Finding:
    return problem(
        "gives the single number 1 for every picture, as the softmax of one number is",
        "leave that softmax out, and say --activation sigmoid",
    )


def _judge_probabilities(wanted: Activation | None) -> Finding:
    if wanted is Activation.NONE:
        return ok(f"gives {OutputKind.PROBABILITIES}; they are served as they are")
    return problem(
        f"gives {OutputKind.PROBABILITIES}; {_another(wanted)} would make something else of them",
        "say --activation none",
    )


def _judge_scores(has_sigmoid: bool, wanted: Activation | None) -> Finding:
    """Judges numbers between 0 and 1: they may be logits by chance, unless a sigmoid made them."""
    if wanted is Activation.NONE:
        return ok(f"gives {OutputKind.SCORES}; each is served as the probability of its own label")
    if wanted is None or has_sigmoid:
        otherwise = "" if has_sigmoid else ", or --activation softmax if they are logits that happen to be so small"
        return problem(
            f"gives {OutputKind.SCORES}; {_another(wanted)} would make something else of them",
            f"say --activation none{otherwise}",
        )
    return note(f"gives numbers between 0 and 1; they are taken for logits, as --activation {wanted} says")


def _another(wanted: Activation | None) -> str:
    return f"a {'softmax' if wanted is None else wanted}"


def judge_labels(classes: int, labels: Sequence[str] | None) -> Finding:
    """Says whether there is a label for each class."""
    if labels is None:
        return note(f"tells {classes} classes apart", "write one label a line, by class index, and say --labels FILE")
    if classes != len(labels):
        return problem(
            f"tells {classes} classes apart, but there are {len(labels)} labels", _labels_advice(classes - len(labels))
        )
    doubles = [label for label, times in Counter(labels).items() if times > 1]
    if doubles:
        return note(f"tells {classes} classes apart, and the label {doubles[0]!r} stands for several of them")
    return ok(f"tells {classes} classes apart, and there are as many labels")


def _labels_advice(missing: int) -> str:
    advice = "write one label a line, by class index"
    if missing == 1:
        return f"{advice}; some networks begin with a class for background, which is then the first line"
    return advice
