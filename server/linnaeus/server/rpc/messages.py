"""Conversion between the contract's messages and the engine's data. Pure functions."""

from collections.abc import Mapping

from linnaeus.server.errors import InvalidImage, RequestError
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState, Specialisation
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.requests.request import Classification, PredictionError, Priority, Request
from linnaeus.server.rpc.status import to_rpc_status
from linnaeus.server.security.current_caller import Caller
from linnaeus.v1 import classifier_pb2 as v1

_STATES = {
    ModelState.LOADING: v1.MODEL_STATE_LOADING,
    ModelState.READY: v1.MODEL_STATE_READY,
    ModelState.FAILED: v1.MODEL_STATE_FAILED,
    ModelState.DRAINING: v1.MODEL_STATE_DRAINING,
    ModelState.UNLOADED: v1.MODEL_STATE_UNLOADED,
}


_PRIORITIES = {
    v1.PRIORITY_HIGH: Priority.HIGH,
    v1.PRIORITY_NORMAL: Priority.NORMAL,
    v1.PRIORITY_LOW: Priority.LOW,
}


def to_request(message: v1.ClassifyRequest, deadline: float | None, caller: Caller) -> Request:
    """Converts a ClassifyRequest.

    Args:
        message: the request message.
        deadline: on the engine's clock; None for no deadline.
        caller: whose rights bound the priority.

    Raises:
        InvalidImage: if the message contains no image.
    """
    priority = caller.capped(_PRIORITIES.get(message.priority, Priority.NORMAL))
    return Request(
        _image(message.image),
        message.model,
        message.version,
        message.top_k,
        deadline,
        priority,
        caller.name,
        message.min_probability,
        message.want_features,
    )


def to_classify_response(answer: Classification, image_id: str) -> v1.ClassifyResponse:
    """Converts a classification to the response of a single-image call."""
    response = v1.ClassifyResponse()
    response.model = answer.model
    response.version = answer.version
    response.image_id = image_id
    _write_classification(answer, response)
    return response


def to_image_request(
    image: v1.Image,
    options: v1.ClassifyBatchRequest | v1.StreamClassifyRequest,
    deadline: float | None,
    caller: Caller,
) -> Request:
    """Converts one image of a batch or a stream.

    Args:
        image: the image.
        options: the message with the image's model, version, priority, and what to return.
        deadline: on the engine's clock; None for no deadline.
        caller: whose rights bound the priority.

    Raises:
        InvalidImage: if the message contains no image.
    """
    priority = caller.capped(_PRIORITIES.get(options.priority, Priority.NORMAL))
    return Request(
        _image(image),
        options.model,
        options.version,
        options.top_k,
        deadline,
        priority,
        caller.name,
        options.min_probability,
        options.want_features,
    )


def to_image_result(outcome: Classification | RequestError, image_id: str) -> v1.ImageResult:
    """Converts the outcome of one image of a batch or a stream."""
    if isinstance(outcome, RequestError):
        status = to_rpc_status(outcome)
        error = v1.ImageError(code=status.code, message=status.message, details=status.details)
        return v1.ImageResult(image_id=image_id, error=error)
    result = v1.ImageResult()
    result.image_id = image_id
    _write_classification(outcome, result.classification)
    return result


def to_model(entry: Entry, catalog: Catalog) -> v1.Model:
    """Describes a version. The fields of its manifest are set only if the version is loaded."""
    model = v1.Model(
        name=entry.name,
        version=entry.version,
        state=_STATES[entry.state],
        state_reason=entry.reason,
        version_labels=sorted(name for name, number in catalog.labels(entry.name).items() if number == entry.version),
        is_default=catalog.is_default(entry),
    )
    if entry.model is None:
        return model
    manifest, spec = entry.model.manifest, entry.model.manifest.input
    model.MergeFrom(
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
            feature_count=manifest.features,
            weights=v1.WeightsDescription(source=manifest.weights.source, trained=manifest.weights.trained),
            parameter_count=manifest.parameters,
            sha256=manifest.sha256,
            devices=entry.devices,
            max_batch_size=entry.max_batch_size,
            specialisations=map(_specialisation, entry.specialisations),
        )
    )
    return model


def _specialisation(specialisation: Specialisation) -> v1.Specialisation:
    return v1.Specialisation(
        device=specialisation.device,
        precision=specialisation.precision,
        precision_reason=specialisation.precision_reason,
        memory_format=specialisation.memory_format,
        runtime=specialisation.runtime,
        runtime_reason=specialisation.runtime_reason,
    )


def to_latencies(seconds_by_device: Mapping[str, Mapping[int, float]]) -> list[v1.BatchLatency]:
    """Converts the expected seconds of batches, by device and batch size."""
    return [
        v1.BatchLatency(device=device, batch_size=size, seconds=seconds)
        for device, by_size in seconds_by_device.items()
        for size, seconds in by_size.items()
    ]


def to_prediction_error(error: PredictionError) -> v1.PredictionError:
    """Converts the error of completion estimates."""
    return v1.PredictionError(median_seconds=error.median_error_seconds, margin_seconds=error.margin_seconds)


def _write_classification(answer: Classification, message: v1.ClassifyResponse | v1.Classification) -> None:
    """Sets the fields that both messages share, one by one: that takes a third of a constructor's time."""
    message.batch_size = answer.batch_size
    timings, labels, add = message.timings, answer.labels, message.classes.add
    timings.decode_seconds = answer.decode_seconds
    timings.queue_seconds = answer.queue_seconds
    timings.inference_seconds = answer.inference_seconds
    if answer.ranking.features:
        message.features = answer.ranking.features
    for index, probability in zip(answer.ranking.indices, answer.ranking.probabilities, strict=True):
        scored = add()
        scored.index = index
        scored.label = labels[index]
        scored.probability = probability


def _image(message: v1.Image) -> EncodedImage | RawPixels:
    match message.WhichOneof("content"):
        case "encoded":
            return EncodedImage(message.encoded)
        case "pixels":
            pixels = message.pixels
            return RawPixels(pixels.data, pixels.height, pixels.width, pixels.channels)
        case _:
            raise InvalidImage("image", "the request holds no image; set image.encoded or image.pixels")
