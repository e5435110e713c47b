"""Runs a user's TorchScript on a few images and says what it takes, what it gives, and what would go wrong.

A network must map float32 [N, C, H, W] to one tensor [N, classes], or to a tuple of that and features; its output for
an image must not depend on the other images of the batch, nor on chance.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from linnaeus.models.activation import Activation
from linnaeus.models.feature_classifier import FeatureClassifier, TwoOutputClassifier
from linnaeus.models.manifest import InputSpec
from linnaeus.models.own_model.feature_output import judge_features
from linnaeus.models.own_model.finding import Finding, Severity, Unusable, note, ok, problem
from linnaeus.models.own_model.graph_constants import find_named_device
from linnaeus.models.own_model.input_precision import FAILURES, Float32Network, accept_float32, call, run
from linnaeus.models.own_model.outputs import ends_in_sigmoid, judge_activation, judge_labels
from linnaeus.models.own_model.trial_images import other_channels, trial_images
from linnaeus.models.pixel_classifier import PixelClassifier, normalize

_TOLERANCE = 1e-3
_ROUNDINGS = 8
_THREE = 3
_NAME_NO_DEVICE = "to serve it elsewhere, script it, or trace it without naming a device"
_EVALUATE = "call .eval() on the network before it is traced"


@dataclass(frozen=True, slots=True)
class Usage:
    """How a network is meant to be used.

    Attributes:
        input: how images are prepared for it.
        mean, std: normalization per channel, for pixels scaled to 0..1.
        labels: one label per class; None if they are not known yet.
        activation: what is put after it; None if the user did not say.
        features: names the features, see `feature_place` and `onnx_features`; None if none are taken.
    """

    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...] | None
    activation: Activation | None
    features: str | None = None


_OWN_CLASSIFIERS = [each.__name__ for each in (PixelClassifier, FeatureClassifier, TwoOutputClassifier)]


def prepare_network(module: torch.jit.ScriptModule, spec: InputSpec) -> Float32Network:
    """Returns a network that takes float32 of one in another precision, if it can be had; see `accept_float32`."""
    return accept_float32(module, torch.zeros(1, spec.channels, spec.height, spec.width))


def try_network(module: torch.jit.ScriptModule, usage: Usage) -> Iterator[Finding]:
    """Yields what is found out about a prepared network, in an order in which each makes sense after those before."""
    if str(module.original_name) in _OWN_CLASSIFIERS:
        yield problem(
            "is the model.pt of a version folder, which takes pixels and gives probabilities already",
            "copy that folder with its manifest.json and labels.txt to <repository>/<name>/<version>",
        )
        return
    try:
        yield from _run(module, usage)
    except Unusable as stopped:
        yield stopped.finding


def _run(module: torch.jit.ScriptModule, usage: Usage) -> Iterator[Finding]:
    images = normalize(trial_images(usage.input), usage.mean, usage.std)
    alone = _outputs(module, images[:1], usage)
    three = _outputs(module, images[:_THREE], usage)
    spec = usage.input
    takes = f"takes float32 [N, {spec.channels}, {spec.height}, {spec.width}]"
    yield ok(
        f"{takes} and gives {dtype_name(three)} {list(alone.shape)} for one picture, {list(three.shape)} for three"
    )
    again = _outputs(module, images[:_THREE], usage)
    outputs = torch.cat([three, _outputs(module, images[_THREE:], usage)]).to(torch.float32)
    yield from output_faults(alone, three, again, outputs)
    if torch.isfinite(outputs).all():
        yield judge_activation(outputs, ends_in_sigmoid(module), usage.activation)
    yield judge_labels(three.shape[1], usage.labels)
    if device := find_named_device(module):
        yield note(f"names the device {device!r}, and may run on no other", _NAME_NO_DEVICE)


def output_faults(alone: Tensor, three: Tensor, again: Tensor, outputs: Tensor) -> Iterator[Finding]:
    """Says whether outputs are finite, repeatable, independent of the batch, and different for different pictures.

    Args:
        alone: of the first picture.
        three: of the first three in one batch.
        again: of the same batch once more.
        outputs: of all pictures, float32.
    """
    if not torch.isfinite(outputs).all():
        yield problem("gives numbers that are not finite", "look for a division by 0, or weights that are NaN")
    elif not is_close(three, again):
        yield problem("answers differently when it is asked again: dropout is still on", _EVALUATE)
    elif not is_close(alone[0], three[0]):
        yield problem(
            "answers differently when another picture is in the batch",
            f"{_EVALUATE}; batch normalization of a network in training depends on the batch",
        )
    else:
        yield ok("answers the same for a picture alone and among others")
        if is_close(outputs, outputs[:1].expand_as(outputs)):
            yield note("gives the same for six very different pictures", "check --mean and --std, and the weights")


def is_close(one: Tensor, other: Tensor) -> bool:
    """Whether outputs agree within a few roundings of their precision, as those of other batch sizes do."""
    tolerance = max(_TOLERANCE, _ROUNDINGS * torch.finfo(one.dtype).eps)
    return torch.allclose(one.float(), other.float(), rtol=tolerance, atol=tolerance)


def _outputs(module: torch.jit.ScriptModule, images: Tensor, usage: Usage) -> Tensor:
    """Runs the network and returns the logits; raises Unusable if it does not give [N, classes], and the features."""
    count, spec = len(images), usage.input
    try:
        outputs = call(module, images)
    except FAILURES as error:
        pictures = f"{count} picture{'s' * (count > 1)} of {spec.channels}x{spec.height}x{spec.width}"
        text = f"fails for a batch of {pictures}, float32: {_reason(error)}"
        raise Unusable(problem(text, _remedy(module, images, spec))) from error
    if usage.features is not None:
        if found := judge_features(outputs, usage.features, count):
            raise Unusable(found)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    if not isinstance(outputs, Tensor):
        raise Unusable(_not_a_tensor(outputs))
    if outputs.dim() != 2 or outputs.shape[0] != count:
        raise Unusable(wrong_shape(outputs, count))
    return outputs


def _not_a_tensor(outputs: object) -> Finding:
    size = f" of {len(outputs)}" if isinstance(outputs, tuple | list | dict) else ""
    return problem(
        f"gives a {type(outputs).__name__}{size}, but must give one tensor of logits",
        "put it into a module whose forward returns the logits alone, and trace that"
        + (", or say --features 1 if its second output are features" if isinstance(outputs, tuple) else ""),
    )


def wrong_shape(outputs: Tensor, count: int) -> Finding:
    """Returns the problem of outputs that are not [count, classes]."""
    shape = list(outputs.shape)
    text = f"gives the shape {shape} for {count} picture{'s' * (count > 1)}, but must give [{count}, classes]"
    if outputs.dim() == 1 and outputs.shape[0] == count:
        return problem(text, "leave out its squeeze: one number a picture is the shape [N, 1]")
    if outputs.dim() == 2:
        return problem(text, "keep the batch dimension variable in forward, as x.flatten(1) does")
    if outputs.dim() == 4:
        return problem(
            text, "this is a map, not a classification: add pooling and the last layer, or trace another network"
        )
    return problem(text, "return one row of logits for each picture")


def _remedy(module: torch.jit.ScriptModule, images: Tensor, spec: InputSpec) -> str:
    """Tries what else the network may take; returns what to do."""
    if (device := find_named_device(module)) and device != "cpu":
        return f"it names the device {device!r}: trace it on a CPU"
    if len(images) > 1:
        return "it takes one picture only: keep the batch dimension variable in forward, as x.flatten(1) does"
    other = other_channels(spec)
    for candidate, advice in (
        (torch.zeros(1, other.channels, spec.height, spec.width), f"it takes --channels {other.channels}"),
        (
            torch.zeros(1, spec.height, spec.width, spec.channels),
            "it takes [N, H, W, C]: begin forward with x.permute(0, 2, 3, 1)",
        ),
    ):
        if run(module, candidate) is not None:
            return advice
    return "check --size and --channels against what it was traced or trained with"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def dtype_name(tensor: Tensor) -> str:
    """Returns a tensor's element type, such as "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def _reason(error: Exception) -> str:
    """Returns the last line of a TorchScript error, which has the reason; the lines before it are code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^RuntimeError: ", "", lines[-1]) if lines else "no reason given"


def first_problem(findings: Iterator[Finding]) -> Finding | None:
    """Returns the first finding that keeps a model from being imported; None if there is none."""
    return next((each for each in findings if each.severity is Severity.PROBLEM), None)
