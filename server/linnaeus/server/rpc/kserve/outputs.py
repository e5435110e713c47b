"""Conversion of classifications to the requested outputs. Pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import InvalidArgument
from linnaeus.server.requests.refusals import no_features
from linnaeus.server.requests.request import Classification, ScoredClasses
from linnaeus.server.rpc.kserve import tensors
from linnaeus.server.rpc.kserve.model_names import ServedModel
from linnaeus.server.rpc.kserve.parameters import refuse_shared_memory, whole_number

OUTPUT_NAME = "probabilities"
FEATURES_NAME = "features"
# Per request: the probabilities have two forms, and each output that is asked for is written by itself.
_MAX_OUTPUTS = 4
# Per response: writing one as text takes about 2 microseconds of the event loop, which delays other calls.
_MAX_TEXTS = 1 << 15


class RequestedOutput(NamedTuple):
    """The form of one requested output.

    Attributes:
        classes: the number of classes per image; 0 for the features.
        as_text: whether the output is BYTES `probability:index:label` of the best classes, in descending order, rather
            than FP32 probabilities of all classes, by index. Classes below the request's `min_probability` are empty
            texts, or probabilities of 0.
        features: the number of features per image, if they are the output; otherwise 0.
    """

    classes: int
    as_text: bool
    features: int = 0


def output_sizes(manifest: Manifest) -> dict[str, int]:
    """Returns the outputs of a version by name, each with its numbers for an image."""
    features = {FEATURES_NAME: manifest.features} if manifest.features else {}
    return {OUTPUT_NAME: manifest.classes, **features}


def requested_outputs(message: kserve.ModelInferRequest, model: ServedModel) -> list[RequestedOutput]:
    """Returns the requested outputs; a request without outputs gets the probabilities.

    Raises:
        InvalidArgument: if the model has no such output, there are too many, or a parameter is invalid.
    """
    if not message.outputs:
        return [RequestedOutput(model.manifest.classes, False)]
    if len(message.outputs) > _MAX_OUTPUTS:
        text = f"the request wants {len(message.outputs)} outputs, but {_MAX_OUTPUTS} are the most: name one once"
        raise InvalidArgument("outputs", text)
    return [_requested_output(output, model) for output in message.outputs]


def check_size(requested: Sequence[RequestedOutput], images: int) -> None:
    """Checks the size of a response before its images are classified.

    Raises:
        InvalidArgument: if too many classes are wanted as text.
    """
    texts = images * sum(output.classes for output in requested if output.as_text)
    if texts > _MAX_TEXTS:
        field = f"outputs.{OUTPUT_NAME}.classification"
        text = f"{field} asks for {texts} texts in all, but {_MAX_TEXTS} are the most: ask for fewer classes or images"
        raise InvalidArgument(field, text)


def infer_response(
    message: kserve.ModelInferRequest,
    model: ServedModel,
    requested: Sequence[RequestedOutput],
    classifications: Sequence[Classification],
) -> kserve.ModelInferResponse:
    """Builds the response.

    Args:
        message: the request message.
        model: the version that classified the images.
        requested: the requested outputs.
        classifications: of the request's images, in their order, with as many classes as the largest output, or fewer
            if the request has a `min_probability`.
    """
    response = kserve.ModelInferResponse()  # set field by field, which takes a third of a constructor's time
    response.model_name = model.name
    response.model_version = model.version
    response.id = message.id
    for output in requested:
        tensor = response.outputs.add()
        tensor.name = FEATURES_NAME if output.features else OUTPUT_NAME
        tensor.datatype = "BYTES" if output.as_text else "FP32"
        tensor.shape.extend((len(classifications), output.features or output.classes))
        response.raw_output_contents.append(_contents(output, classifications))
    return response


def _requested_output(
    output: kserve.ModelInferRequest.InferRequestedOutputTensor, model: ServedModel
) -> RequestedOutput:
    if output.name == FEATURES_NAME:
        refuse_shared_memory(output.parameters, f"outputs.{FEATURES_NAME}")
        if not model.manifest.features:
            raise no_features(model.entry.name, f"outputs.{FEATURES_NAME}")
        return RequestedOutput(0, as_text=False, features=model.manifest.features)
    if output.name != OUTPUT_NAME:
        names = " and ".join(map(repr, output_sizes(model.manifest)))
        known = f"the outputs {names}" if model.manifest.features else f"one output, {names}"
        message = f"model {model.name} has {known}, but the request wants {output.name[:40]!r}"
        raise InvalidArgument("outputs", message)
    refuse_shared_memory(output.parameters, f"outputs.{OUTPUT_NAME}")
    count = whole_number(output.parameters, "classification", f"outputs.{OUTPUT_NAME}.classification")
    classes = model.manifest.classes
    return RequestedOutput(min(count, classes) or classes, as_text=count > 0)


def _contents(output: RequestedOutput, classifications: Sequence[Classification]) -> bytes:
    if output.features:
        return b"".join([each.ranking.features for each in classifications])
    return (_texts if output.as_text else _probabilities)(classifications, output.classes)


def _probabilities(classifications: Sequence[Classification], classes: int) -> bytes:
    return b"".join([tensors.raw_fp32(_by_index(each, classes)) for each in classifications])


def _by_index(classification: Classification, classes: int) -> list[float]:
    probabilities = [0.0] * classes
    for index, probability in zip(classification.ranking.indices, classification.ranking.probabilities, strict=True):
        probabilities[index] = probability
    return probabilities


def _texts(classifications: Sequence[Classification], classes: int) -> bytes:
    return tensors.raw_bytes(text for each in classifications for text in _best(each.classes, classes))


def _best(scored_classes: ScoredClasses, count: int) -> list[bytes]:
    texts = [
        f"{_decimal(each.probability)}:{each.index}:{each.label}".encode()
        for each in map(scored_classes.__getitem__, range(min(count, len(scored_classes))))
    ]
    return texts + [b""] * (count - len(texts))


def _decimal(probability: float) -> str:
    """Formats a float32 with the fewest digits that identify it, without an exponent, which some parsers lack."""
    return numpy.format_float_positional(numpy.float32(probability), trim="0")
