"""From the engine's answers to the outputs that a request wants; pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument
from linnaeus.server.requests.request import Classification, ScoredClasses
from linnaeus.server.rpc.kserve import tensors
from linnaeus.server.rpc.kserve.parameters import refuse_shared_memory, whole_number
from linnaeus.server.rpc.kserve.subjects import Subject

OUTPUT_NAME = "probabilities"


class Wanted(NamedTuple):
    """What one requested output is to hold for each image.

    Attributes:
        classes: how many of the best.
        as_text: `value:index:label` of each, best first; otherwise the probabilities of all, by index.
    """

    classes: int
    as_text: bool


def wanted(message: kserve.ModelInferRequest, subject: Subject) -> list[Wanted]:
    """Reads the requested outputs; a request that names none wants the probabilities.

    Raises:
        InvalidArgument: the model has no such output, or its parameters make no sense.
    """
    if not message.outputs:
        return [Wanted(subject.manifest.classes, False)]
    return [_wanted(output, subject) for output in message.outputs]


def response(
    message: kserve.ModelInferRequest, subject: Subject, wants: Sequence[Wanted], answers: Sequence[Classification]
) -> kserve.ModelInferResponse:
    """Writes the answers to a request's images, in their order; each has as many classes as any output wants."""
    made = kserve.ModelInferResponse()  # field by field, for that takes a third of a constructor's time
    made.model_name = subject.name
    made.model_version = subject.version
    made.id = message.id
    for want in wants:
        datatype, contents = ("BYTES", _texts) if want.as_text else ("FP32", _probabilities)
        output = made.outputs.add()
        output.name = OUTPUT_NAME
        output.datatype = datatype
        output.shape.extend((len(answers), want.classes))
        made.raw_output_contents.append(contents(answers, want.classes))
    return made


def _wanted(output: kserve.ModelInferRequest.InferRequestedOutputTensor, subject: Subject) -> Wanted:
    if output.name != OUTPUT_NAME:
        message = f"model {subject.name} has one output, {OUTPUT_NAME!r}, but the request wants {output.name[:40]!r}"
        raise InvalidArgument("outputs", message)
    refuse_shared_memory(output.parameters, f"outputs.{OUTPUT_NAME}")
    count = whole_number(output.parameters, "classification", f"outputs.{OUTPUT_NAME}.classification")
    classes = subject.manifest.classes
    return Wanted(min(count, classes) or classes, as_text=count > 0)


def _probabilities(answers: Sequence[Classification], classes: int) -> bytes:
    return b"".join([tensors.raw_fp32(_by_index(answer, classes)) for answer in answers])


def _by_index(answer: Classification, classes: int) -> list[float]:
    probabilities = [0.0] * classes
    for index, probability in zip(answer.ranking.indices, answer.ranking.probabilities, strict=True):
        probabilities[index] = probability
    return probabilities


def _texts(answers: Sequence[Classification], classes: int) -> bytes:
    return tensors.join(text for answer in answers for text in _best(answer.classes, classes))


def _best(scored: ScoredClasses, count: int) -> list[bytes]:
    return [
        f"{_digits(each.probability)}:{each.index}:{each.label}".encode()
        for each in map(scored.__getitem__, range(count))
    ]


def _digits(probability: float) -> str:
    """As many digits as tell this float32 from every other, and no exponent, which not every reader knows."""
    return numpy.format_float_positional(numpy.float32(probability), trim="0")
