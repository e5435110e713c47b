"""Requests that both servers know, and those that only Linnaeus knows; answers are checked by their top class."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.v1 import classifier_pb2 as v1

_KSERVE = "/inference.GRPCInferenceService/"
_LINNAEUS = "/linnaeus.v1.ClassifierService/"
# Reads the top class of each image from a serialized response.
TopClassReader: TypeAlias = Callable[[bytes], Sequence[int]]


@dataclass(frozen=True, slots=True)
class RequestSet:
    """Serialized requests of one method, and how their answers are checked.

    Attributes:
        path: of the method, /SERVICE/METHOD.
        messages: the serialized requests.
        images: in each message.
        check: takes the place of a message and its answer; raises WrongAnswer if that is not right.
        streaming: whether all messages are sent in one call, whose answers come in any order.
        with_id: returns a streamed message with an id.
        id_of: returns the id of a streamed answer.
    """

    path: str
    messages: tuple[bytes, ...]
    images: int
    check: Callable[[int, bytes], None]
    streaming: bool = False
    with_id: Callable[[bytes, int], bytes] = lambda message, _: message
    id_of: Callable[[bytes], int] = lambda _: 0


@dataclass(frozen=True, slots=True)
class Samples:
    """A model and the images that are sent to it.

    Attributes:
        model: its name in Linnaeus's own API.
        images: encoded, or uint8 pixels [C, H, W].
        shape: [C, H, W] of the pixels; None for encoded images.
        expected: the top class of each image.
    """

    model: str
    images: tuple[bytes, ...]
    shape: tuple[int, int, int] | None
    expected: tuple[int, ...]

    def groups(self, size: int) -> list[list[int]]:
        """Returns the places of the images in each message of `size` images; each image is the first of one message."""
        count = len(self.images)
        return [[(start + step) % count for step in range(size)] for start in range(count)]


class WrongAnswer(RuntimeError):
    """The top class of an answer is not the expected one."""


def kserve_requests(samples: Samples, images: int = 1) -> RequestSet:
    """Returns requests of `ModelInfer`."""
    messages = tuple(_kserve_request(samples, group).SerializeToString() for group in samples.groups(images))
    check = _checker(samples, images, lambda answer: _top_classes(kserve.ModelInferResponse.FromString(answer)))
    return RequestSet(_KSERVE + "ModelInfer", messages, images, check)


def kserve_stream_requests(samples: Samples) -> RequestSet:
    """Returns messages of one `ModelStreamInfer`."""
    return replace(
        kserve_requests(samples),
        path=_KSERVE + "ModelStreamInfer",
        check=_checker(samples, 1, lambda answer: _top_classes(_streamed(answer))),
        streaming=True,
        with_id=_with_id,
        id_of=lambda answer: int(_streamed(answer).id),
    )


def classify_requests(samples: Samples) -> RequestSet:
    """Returns requests of `Classify`."""
    return RequestSet(
        _LINNAEUS + "Classify",
        tuple(
            v1.ClassifyRequest(image=_image(samples, place), model=samples.model).SerializeToString()
            for (place,) in samples.groups(1)
        ),
        1,
        _checker(samples, 1, lambda answer: [v1.ClassifyResponse.FromString(answer).classes[0].index]),
    )


def classify_batch_requests(samples: Samples, images: int) -> RequestSet:
    """Returns requests of `ClassifyBatch`."""
    requests = (
        v1.ClassifyBatchRequest(images=[_image(samples, place) for place in group], model=samples.model)
        for group in samples.groups(images)
    )

    def read(answer: bytes) -> Sequence[int]:
        return [_top_class(result) for result in v1.ClassifyBatchResponse.FromString(answer).results]

    messages = tuple(request.SerializeToString() for request in requests)
    return RequestSet(_LINNAEUS + "ClassifyBatch", messages, images, _checker(samples, images, read))


def stream_classify_requests(samples: Samples) -> RequestSet:
    """Returns messages of one `StreamClassify`."""
    return RequestSet(
        _LINNAEUS + "StreamClassify",
        tuple(
            v1.StreamClassifyRequest(image=_image(samples, place), model=samples.model).SerializeToString()
            for (place,) in samples.groups(1)
        ),
        1,
        _checker(samples, 1, lambda answer: [_top_class(v1.StreamClassifyResponse.FromString(answer).result)]),
        streaming=True,
        with_id=lambda message, number: message + v1.StreamClassifyRequest(correlation_id=number).SerializeToString(),
        id_of=lambda answer: v1.StreamClassifyResponse.FromString(answer).correlation_id,
    )


def probabilities(response: kserve.ModelInferResponse) -> NDArray[numpy.float32]:
    """Returns float32 [N, classes] of a KServe response."""
    table = numpy.frombuffer(response.raw_output_contents[0], numpy.float32)
    return table.reshape(tuple(response.outputs[0].shape))


def _kserve_request(samples: Samples, group: Sequence[int]) -> kserve.ModelInferRequest:
    images = [samples.images[place] for place in group]
    if samples.shape:
        name, raw, shape = samples.model + ".pixels", b"".join(images), [len(group), *samples.shape]
    else:
        raw = b"".join(struct.pack("<I", len(image)) + image for image in images)
        name, shape = samples.model, [len(group), 1]
    request = kserve.ModelInferRequest(model_name=name, raw_input_contents=[raw])
    tensor = ("pixels", "UINT8") if samples.shape else ("image", "BYTES")
    request.inputs.add(name=tensor[0], datatype=tensor[1], shape=shape)
    return request


def _image(samples: Samples, place: int) -> v1.Image:
    """Returns an image of Linnaeus's own API.

    Raises:
        ValueError: if pixels of several channels would have to be transposed to [H, W, C].
    """
    image = samples.images[place]
    if samples.shape is None:
        return v1.Image(encoded=image)
    channels, height, width = samples.shape
    if channels != 1:
        raise ValueError(f"{samples.model}: pixels of {channels} channels would have to be transposed")
    return v1.Image(pixels=v1.RawPixels(data=image, height=height, width=width, channels=channels))


def _checker(samples: Samples, images: int, read: TopClassReader) -> Callable[[int, bytes], None]:
    groups = samples.groups(images)

    def check(place: int, answer: bytes) -> None:
        expected, found = [samples.expected[each] for each in groups[place]], list(read(answer))
        if found != expected:
            raise WrongAnswer(f"{samples.model}: the top classes must be {expected}, but are {found}")

    return check


def _top_classes(response: kserve.ModelInferResponse) -> list[int]:
    return [int(place) for place in probabilities(response).argmax(axis=1)]


def _streamed(answer: bytes) -> kserve.ModelInferResponse:
    response = kserve.ModelStreamInferResponse.FromString(answer)
    if response.error_message:
        raise WrongAnswer(f"a streamed message was refused: {response.error_message}")
    return response.infer_response


def _with_id(message: bytes, number: int) -> bytes:
    """Adds an id: concatenated protobuf messages are merged when they are parsed."""
    return message + kserve.ModelInferRequest(id=str(number)).SerializeToString()


def _top_class(result: v1.ImageResult) -> int:
    if result.WhichOneof("outcome") != "classification":
        raise WrongAnswer(f"an image was refused: {result.error.message}")
    return result.classification.classes[0].index
