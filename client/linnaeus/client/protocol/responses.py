"""Converts response messages into results; no other file reads their fields."""

from collections.abc import Iterable

from linnaeus.client.errors import ServerFailure
from linnaeus.client.results import (
    Classification,
    ModelInfo,
    ModelInput,
    ModelSpecialisation,
    ModelState,
    ModelWeights,
    ScoredClass,
    Timings,
)
from linnaeus.v1 import classifier_pb2 as messages

_STATES: dict[int, ModelState] = {
    messages.MODEL_STATE_LOADING: ModelState.LOADING,
    messages.MODEL_STATE_READY: ModelState.READY,
    messages.MODEL_STATE_FAILED: ModelState.FAILED,
    messages.MODEL_STATE_DRAINING: ModelState.DRAINING,
    messages.MODEL_STATE_UNLOADED: ModelState.UNLOADED,
}


def read_classification(response: messages.ClassifyResponse) -> Classification:
    """Converts the response of Classify.

    Raises:
        ServerFailure: if it names no model, which violates the contract.
    """
    return _read(response, response.model, response.version, response.image_id)


def read_image_result(result: messages.ImageResult, model: str, version: int) -> Classification:
    """Converts the result of one image of a batch or stream.

    Raises:
        ServerFailure: if it names no model, which violates the contract.
    """
    return _read(result.classification, model, version, result.image_id)


def _read(
    answer: messages.ClassifyResponse | messages.Classification, model: str, version: int, image_id: str
) -> Classification:
    if not model:
        raise ServerFailure("the server answered without the name of a model: is it a Linnaeus server?")
    return Classification(
        classes=tuple(ScoredClass(scored.index, scored.label, scored.probability) for scored in answer.classes),
        model=model,
        version=version,
        batch_size=answer.batch_size,
        timings=_read_timings(answer.timings),
        image_id=image_id,
        packed_features=answer.features,
    )


def read_listed_model(model: messages.Model) -> ModelInfo:
    """Converts one model version of a list, which has no labels."""
    return _read_model(model, ())


def read_models(models: Iterable[messages.Model]) -> tuple[ModelInfo, ...]:
    """Converts a list of model versions, in the server's order."""
    return tuple(map(read_listed_model, models))


def read_model(response: messages.GetModelResponse) -> ModelInfo:
    """Converts one model version with its labels."""
    return _read_model(response.model, tuple(response.labels))


def _read_timings(timings: messages.Timings) -> Timings:
    return Timings(timings.decode_seconds, timings.queue_seconds, timings.inference_seconds)


def _read_model(model: messages.Model, labels: tuple[str, ...]) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        version=model.version,
        # A newer server may have states that this client does not know.
        state=_STATES.get(model.state, ModelState.UNKNOWN),
        state_reason=model.state_reason,
        architecture=model.architecture,
        input=_read_input(model.input) if model.HasField("input") else None,
        weights=_read_weights(model.weights) if model.HasField("weights") else None,
        class_count=model.class_count,
        parameter_count=model.parameter_count,
        sha256=model.sha256,
        devices=tuple(model.devices),
        max_batch_size=model.max_batch_size,
        labels=labels,
        version_labels=tuple(model.version_labels),
        is_default=model.is_default,
        specialisations=tuple(map(_read_specialisation, model.specialisations)),
        feature_count=model.feature_count,
    )


def _read_specialisation(specialisation: messages.Specialisation) -> ModelSpecialisation:
    return ModelSpecialisation(
        specialisation.device,
        specialisation.precision,
        specialisation.precision_reason,
        specialisation.memory_format,
        specialisation.runtime,
        specialisation.runtime_reason,
    )


def _read_input(image: messages.InputDescription) -> ModelInput:
    return ModelInput(image.channels, image.height, image.width, image.resize, image.interpolation)


def _read_weights(weights: messages.WeightsDescription) -> ModelWeights:
    return ModelWeights(weights.source, weights.trained)
