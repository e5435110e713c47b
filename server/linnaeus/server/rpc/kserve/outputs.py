"""From the engine's answers to the outputs that a request wants; pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument
from linnaeus.server.requests.request import Classification, ScoredClasses
from linnaeus.server.rpc.kserve import tensors
from linnaeus.server.rpc.kserve.model_names import ServedModel
from linnaeus.server.rpc.kserve.parameters import refuse_shared_memory, whole_number

OUTPUT_NAME = "probabilities"


class RequestedOutput(NamedTuple):
    """What one requested output is to hold for each image.

    Attributes:
        classes: how many of the best.
        as_text: `value:index:label` of each, best first; otherwise the probabilities of all, by index.
    """

    classes: int
    as_text: bool


def requested_outputs(message: kserve.ModelInferRequest, model: ServedModel) -> list[RequestedOutput]:
    """Reads the requested outputs; a request that names none wants the probabilities.

    Raises:
        InvalidArgument: the model has no such output, or its parameters make no sense.
    """
    if not message.outputs:
        return [RequestedOutput(model.manifest.classes, False)]
    return [_requested_output(output, model) for output in message.outputs]


def infer_response(
    message: kserve.ModelInferRequest,
    model: ServedModel,
    requested: Sequence[RequestedOutput],
    answers: Sequence[Classification],
) -> kserve.ModelInferResponse:
    """Writes the answers to a request's images, in their order; each has as many classes as any output wants."""
    made = kserve.ModelInferResponse()  # field by field, for that takes a third of a constructor's time
    made.model_name = model.name
    made.model_version = model.version
    made.id = message.id
    for output in requested:
        datatype, contents = ("BYTES", _texts) if output.as_text else ("FP32", _probabilities)
        tensor = made.outputs.add()
        tensor.name = OUTPUT_NAME
        tensor.datatype = datatype
        tensor.shape.extend((len(answers), output.classes))
        made.raw_output_contents.append(contents(answers, output.classes))
    return made


def _requested_output(
    output: kserve.ModelInferRequest.InferRequestedOutputTensor, model: ServedModel
) -> RequestedOutput:
    if output.name != OUTPUT_NAME:
        message = f"model {model.name} has one output, {OUTPUT_NAME!r}, but the request wants {output.name[:40]!r}"
        raise InvalidArgument("outputs", message)
    refuse_shared_memory(output.parameters, f"outputs.{OUTPUT_NAME}")
    count = whole_number(output.parameters, "classification", f"outputs.{OUTPUT_NAME}.classification")
    classes = model.manifest.classes
    return RequestedOutput(min(count, classes) or classes, as_text=count > 0)


def _probabilities(answers: Sequence[Classification], classes: int) -> bytes:
    return b"".join([tensors.raw_fp32(_by_index(answer, classes)) for answer in answers])


def _by_index(answer: Classification, classes: int) -> list[float]:
    probabilities = [0.0] * classes
    for index, probability in zip(answer.ranking.indices, answer.ranking.probabilities, strict=True):
        probabilities[index] = probability
    return probabilities


def _texts(answers: Sequence[Classification], classes: int) -> bytes:
    return tensors.raw_bytes(text for answer in answers for text in _best(answer.classes, classes))


def _best(scored: ScoredClasses, count: int) -> list[bytes]:
    return [
        f"{_digits(each.probability)}:{each.index}:{each.label}".encode()
        for each in map(scored.__getitem__, range(count))
    ]


def _digits(probability: float) -> str:
    """As many digits as tell this float32 from every other, and no exponent, which not every reader knows."""
    return numpy.format_float_positional(numpy.float32(probability), trim="0")
