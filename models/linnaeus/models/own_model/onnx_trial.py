"""Runs a user's ONNX graph on a few images by onnxruntime and says what was found out, as `trial_run` for TorchScript.

A graph must take one input of pictures and give one tensor [N, classes]; features may be taken from it besides. Its
output for an image must not depend on the other images of the batch, nor on chance.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from linnaeus.models.own_model.finding import Finding, Unusable, note, ok, problem
from linnaeus.models.own_model.onnx_batch import with_variable_batch
from linnaeus.models.own_model.onnx_features import judge_features, with_features
from linnaeus.models.own_model.onnx_graph import (
    Layout,
    PictureInput,
    picture_input,
    require_one_logits_output,
    unusable_batch,
)
from linnaeus.models.own_model.onnx_packages import import_onnxruntime, onnxruntime_errors, quiet_options
from linnaeus.models.own_model.outputs import judge_activation, judge_labels
from linnaeus.models.own_model.trial_images import trial_images
from linnaeus.models.own_model.trial_run import Usage, dtype_name, is_close, output_faults, wrong_shape
from linnaeus.models.pixel_classifier import normalize

_THREE = 3
_NUMBER = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
# Operations that pass values on, behind an activation.
_PASS_ON = ("Cast", "Identity", "Flatten", "Reshape", "Squeeze")
_SIGMOIDS = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """A graph whose batch is variable.

    Attributes:
        model: the ModelProto; its outputs are the logits, and the features if some are taken.
        input: its input.
    """

    model: Any
    input: PictureInput


def usable_network(model: Any, usage: Usage) -> OnnxNetwork:
    """Returns the graph with a variable batch, and with the features as its second output if the usage names them.

    Raises:
        Unusable: if it cannot take such pictures, has no such features, or does not compute the same in batches of
            other sizes.
    """
    found = picture_input(model, usage.input)
    if usage.features is not None:
        model = with_features(model, usage.features)
    require_one_logits_output(model.graph.output[: -1 if usage.features else None])
    if found.batch is None:
        return OnnxNetwork(model, found)
    variable = with_variable_batch(model, found.name, found.batch)
    images = _prepare(trial_images(usage.input), found, usage)
    fixed = images[torch.arange(found.batch) % len(images)]
    expected = _outputs(_session(model), found, fixed, usage)
    try:
        session = _session(variable)
        rows = min(found.batch, len(images))
        same = is_close(expected[:rows], _outputs(session, found, images, usage)[:rows])
    except Unusable:
        raise Unusable(unusable_batch(found.batch)) from None
    if not same:
        raise Unusable(unusable_batch(found.batch))
    return OnnxNetwork(variable, found)


def try_onnx(model: Any, usage: Usage) -> Iterator[Finding]:
    """Yields what is found out, in an order in which each makes sense after the ones before."""
    try:
        yield from _run(model, usage)
    except Unusable as stopped:
        yield stopped.finding


def _run(model: Any, usage: Usage) -> Iterator[Finding]:
    network = usable_network(model, usage)
    session, images = _session(network.model), _prepare(trial_images(usage.input), network.input, usage)
    alone = _outputs(session, network.input, images[:1], usage)
    three = _outputs(session, network.input, images[:_THREE], usage)
    gives = f"gives {dtype_name(three)} {list(alone.shape)} for one picture, {list(three.shape)} for three"
    yield ok(f"takes {network.input.description} and {gives}")
    if network.input.batch is not None:
        yield note(f"was exported for a batch of {network.input.batch}, which is made variable")
    again = _outputs(session, network.input, images[:_THREE], usage)
    rest = _outputs(session, network.input, images[_THREE:], usage)
    outputs = torch.cat([three, rest]).to(torch.float32)
    yield from output_faults(alone, three, again, outputs)
    if torch.isfinite(outputs).all():
        yield judge_activation(outputs, _ends_in_sigmoid(network.model.graph), usage.activation)
    yield judge_labels(three.shape[1], usage.labels)


def _prepare(pixels: Tensor, found: PictureInput, usage: Usage) -> Tensor:
    """Returns pixels, uint8 [N, C, H, W], as the graph's input takes them."""
    images = pixels if found.takes_pixels else normalize(pixels, usage.mean, usage.std)
    ordered = images.permute(0, 2, 3, 1) if found.layout is Layout.NHWC else images
    wanted: torch.dtype = getattr(torch, found.dtype)
    return ordered.to(wanted).contiguous()


def _session(model: Any) -> Any:
    try:
        return import_onnxruntime().InferenceSession(
            model.SerializeToString(), quiet_options(), providers=["CPUExecutionProvider"]
        )
    except onnxruntime_errors() as error:
        text = f"cannot be run by onnxruntime {import_onnxruntime().__version__}: {_reason(error)}"
        raise Unusable(problem(text, "export it again with operators and an opset that it knows")) from error


def _outputs(session: Any, found: PictureInput, images: Tensor, usage: Usage) -> Tensor:
    """Runs the graph and returns the logits; trailing dimensions of size 1 are dropped.

    Raises:
        Unusable: if it does not give [N, classes], and the features.
    """
    count = len(images)
    try:
        outputs, *features = map(torch.from_numpy, session.run(None, {found.name: images.numpy()}))
    except onnxruntime_errors() as error:
        text = f"fails for a batch of {count} picture{'s' * (count > 1)}, {found.description}: {_reason(error)}"
        raise Unusable(problem(text, "check --size and --channels against what it was exported with")) from error
    except TypeError as error:  # an output that is no tensor of numbers, such as a list of dictionaries
        raise Unusable(problem("gives something else than a tensor of numbers", "export its logits")) from error
    if not outputs.dtype.is_floating_point:
        text = f"gives {dtype_name(outputs)}, which are no logits"
        raise Unusable(problem(text, "export the logits, not the index of the best class"))
    squeezed = outputs.flatten(1) if outputs.dim() > 2 and outputs[0].numel() == outputs.shape[1] else outputs
    if squeezed.dim() != 2 or squeezed.shape[0] != count:
        raise Unusable(wrong_shape(outputs, count))
    if usage.features is not None and (fault := judge_features(features[0], usage.features, count)):
        raise Unusable(fault)
    return squeezed


def _ends_in_sigmoid(graph: Any) -> bool:
    """Whether the last operation of the graph is a sigmoid."""
    made_by = {output: node for node in graph.node for output in node.output}
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in _PASS_ON:
        node = made_by.get(node.input[0])
    return node is not None and node.op_type in _SIGMOIDS


def _reason(error: Exception) -> str:
    """Returns the first line of an error of onnxruntime, without its number; the lines after it repeat it."""
    return _NUMBER.sub("", str(error).strip().partition("\n")[0]) or "no reason given"
