"""The messages that both servers get, and those that only Linnaeus knows; answers are judged by their best class."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

from benchmarks.peers.stream_load import Job
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.v1 import classifier_pb2 as v1

_KSERVE = "/inference.GRPCInferenceService/"
_LINNAEUS = "/linnaeus.v1.ClassifierService/"
# Best classes, one an image, out of an answer.
Reader: TypeAlias = Callable[[bytes], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and what it is shown.

    Attributes:
        name: in Linnaeus's own API.
        pictures: encoded, or pixels in the order of channels, height, width.
        pixels: the shape [C, H, W] of those; None for encoded pictures.
        best: the class that each picture must get.
    """

    name: str
    pictures: tuple[bytes, ...]
    pixels: tuple[int, int, int] | None
    best: tuple[int, ...]

    def groups(self, images: int) -> list[list[int]]:
        """Places of the pictures, so many a message; every picture comes first in one of them."""
        count = len(self.pictures)
        return [[(start + step) % count for step in range(images)] for start in range(count)]


class WrongAnswer(RuntimeError):
    """A server named another class than both had agreed upon."""


def kserve_job(subject: Subject, images: int = 1, streaming: bool = False) -> Job:
    """ModelInfer, or messages in one ModelStreamInfer."""
    bodies = tuple(_kserve_request(subject, group).SerializeToString() for group in subject.groups(images))
    if not streaming:
        judge = _judge(subject, images, lambda message: _tops(kserve.ModelInferResponse.FromString(message)))
        return Job(_KSERVE + "ModelInfer", bodies, images, judge)
    return Job(
        _KSERVE + "ModelStreamInfer",
        bodies,
        images,
        _judge(subject, images, lambda message: _tops(_streamed(message))),
        streaming=True,
        numbered=_with_id,
        number_of=lambda message: int(_streamed(message).id),
    )


def classify_job(subject: Subject) -> Job:
    """Classify."""
    return Job(
        _LINNAEUS + "Classify",
        tuple(
            v1.ClassifyRequest(image=_image(subject, place), model=subject.name).SerializeToString()
            for (place,) in subject.groups(1)
        ),
        1,
        _judge(subject, 1, lambda message: [v1.ClassifyResponse.FromString(message).classes[0].index]),
    )


def batch_job(subject: Subject, images: int) -> Job:
    """ClassifyBatch."""
    requests = (
        v1.ClassifyBatchRequest(images=[_image(subject, place) for place in group], model=subject.name)
        for group in subject.groups(images)
    )

    def read(message: bytes) -> Sequence[int]:
        return [_best(result) for result in v1.ClassifyBatchResponse.FromString(message).results]

    bodies = tuple(request.SerializeToString() for request in requests)
    return Job(_LINNAEUS + "ClassifyBatch", bodies, images, _judge(subject, images, read))


def stream_job(subject: Subject) -> Job:
    """Messages in one StreamClassify."""
    one = replace(classify_job(subject), path=_LINNAEUS + "StreamClassify", streaming=True)
    return replace(
        one,
        bodies=tuple(
            v1.StreamClassifyRequest(image=_image(subject, place), model=subject.name).SerializeToString()
            for (place,) in subject.groups(1)
        ),
        judge=_judge(subject, 1, lambda message: [_best(v1.StreamClassifyResponse.FromString(message).result)]),
        numbered=lambda body, number: v1.StreamClassifyRequest(correlation_id=number).SerializeToString() + body,
        number_of=lambda message: v1.StreamClassifyResponse.FromString(message).correlation_id,
    )


def probabilities(message: kserve.ModelInferResponse) -> NDArray[numpy.float32]:
    """float32 [n, classes] of a KServe answer."""
    table = numpy.frombuffer(message.raw_output_contents[0], numpy.float32)
    return table.reshape(tuple(message.outputs[0].shape))


def kserve_requests(subject: Subject) -> list[kserve.ModelInferRequest]:
    """One for each picture."""
    return [_kserve_request(subject, group) for group in subject.groups(1)]


def _kserve_request(subject: Subject, group: Sequence[int]) -> kserve.ModelInferRequest:
    pictures = [subject.pictures[place] for place in group]
    if subject.pixels:
        name, raw, shape = subject.name + ".pixels", b"".join(pictures), [len(group), *subject.pixels]
    else:
        raw = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
        name, shape = subject.name, [len(group), 1]
    request = kserve.ModelInferRequest(model_name=name, raw_input_contents=[raw])
    tensor = ("pixels", "UINT8") if subject.pixels else ("image", "BYTES")
    request.inputs.add(name=tensor[0], datatype=tensor[1], shape=shape)
    return request


def _image(subject: Subject, place: int) -> v1.Image:
    picture = subject.pictures[place]
    if subject.pixels is None:
        return v1.Image(encoded=picture)
    channels, height, width = subject.pixels
    if channels != 1:
        raise ValueError(f"{subject.name}: pixels of {channels} channels would have to be put into another order")
    return v1.Image(pixels=v1.RawPixels(data=picture, height=height, width=width, channels=channels))


def _judge(subject: Subject, images: int, read: Reader) -> Callable[[int, bytes], None]:
    wanted = [[subject.best[place] for place in group] for group in subject.groups(images)]

    def judge(place: int, message: bytes) -> None:
        if list(read(message)) != wanted[place]:
            raise WrongAnswer(f"{subject.name}: the best classes must be {wanted[place]}, but are {read(message)}")

    return judge


def _tops(message: kserve.ModelInferResponse) -> list[int]:
    return [int(place) for place in probabilities(message).argmax(axis=1)]


def _streamed(message: bytes) -> kserve.ModelInferResponse:
    told = kserve.ModelStreamInferResponse.FromString(message)
    if told.error_message:
        raise WrongAnswer(f"a streamed message was refused: {told.error_message}")
    return told.infer_response


def _with_id(body: bytes, number: int) -> bytes:
    """Protobuf's messages merge when their bytes are put together."""
    return body + kserve.ModelInferRequest(id=str(number)).SerializeToString()


def _best(result: v1.ImageResult) -> int:
    if result.WhichOneof("outcome") != "classification":
        raise WrongAnswer(f"an image was refused: {result.error.message}")
    return result.classification.classes[0].index
