"""Between the contract's messages and the engine's data; pure functions."""

from linnaeus.server.engine.catalog import Entry, State
from linnaeus.server.engine.decode import EncodedImage, RawPixels
from linnaeus.server.engine.work import Classification, Request
from linnaeus.server.errors import InvalidImage
from linnaeus.v1 import classifier_pb2 as v1

_STATES = {
    State.LOADING: v1.MODEL_STATE_LOADING,
    State.READY: v1.MODEL_STATE_READY,
    State.FAILED: v1.MODEL_STATE_FAILED,
}


def to_request(message: v1.ClassifyRequest, deadline: float | None) -> Request:
    """Reads a ClassifyRequest.

    Args:
        message: as it came.
        deadline: the engine clock's time, None for never.

    Raises:
        InvalidImage: it holds no image.
    """
    return Request(_image(message.image), message.model, message.version, message.top_k, deadline)


def to_classify_response(answer: Classification, image_id: str) -> v1.ClassifyResponse:
    """Writes an answer."""
    return v1.ClassifyResponse(
        classes=[
            v1.ScoredClass(index=each.index, label=each.label, probability=each.probability) for each in answer.classes
        ],
        model=answer.model,
        version=answer.version,
        batch_size=answer.batch_size,
        timings=v1.Timings(
            decode_seconds=answer.decode_seconds,
            queue_seconds=answer.queue_seconds,
            inference_seconds=answer.inference_seconds,
        ),
        image_id=image_id,
    )


def to_model(entry: Entry) -> v1.Model:
    """Describes a version as far as it is known."""
    described = v1.Model(name=entry.name, version=entry.version, state=_STATES[entry.state], state_reason=entry.reason)
    if entry.model is None:
        return described
    manifest, spec = entry.model.manifest, entry.model.manifest.input
    described.MergeFrom(
        v1.Model(
            architecture=manifest.architecture,
            input=v1.InputDescription(
                channels=spec.channels,
                height=spec.height,
                width=spec.width,
                resize=spec.resize,
                interpolation=spec.interpolation,
            ),
            class_count=manifest.classes,
            weights=v1.WeightsDescription(source=manifest.weights.source, trained=manifest.weights.trained),
            parameter_count=manifest.parameters,
            sha256=manifest.sha256,
            devices=[str(entry.model.device)],
            max_batch_size=entry.model.max_batch_size,
        )
    )
    return described


def _image(message: v1.Image) -> EncodedImage | RawPixels:
    match message.WhichOneof("content"):
        case "encoded":
            return EncodedImage(message.encoded)
        case "pixels":
            pixels = message.pixels
            return RawPixels(pixels.data, pixels.height, pixels.width, pixels.channels)
        case _:
            raise InvalidImage("image", "the request holds no image; set image.encoded or image.pixels")
