"""Converts arguments into request messages and checks that they fit their fields."""

from dataclasses import dataclass

from linnaeus.client.errors import InvalidRequest
from linnaeus.client.images.image_source import ImageSource, image_message
from linnaeus.client.transport.message_size import check_message_size
from linnaeus.v1 import classifier_pb2 as messages

_PRIORITIES = {
    "high": messages.PRIORITY_HIGH,
    "normal": messages.PRIORITY_NORMAL,
    "low": messages.PRIORITY_LOW,
}


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The fields of a request besides the image, as the caller passed them; checked with each request.

    Attributes:
        model: empty for the server's only model.
        version: a number or a label; None for the default version.
        top_k: 0 for the server's default.
        priority: "high", "normal" or "low"; None for normal.
        min_probability: between 0 and 1; 0 leaves out no class.
        features: whether the answer holds the features, too.
    """

    model: str
    version: int | str | None
    top_k: int = 0
    priority: str | None = None
    min_probability: float = 0.0
    features: bool = False


def classify_request(
    image: ImageSource, options: RequestOptions, *, image_id: str = "", limit_bytes: int
) -> messages.ClassifyRequest:
    """Returns a request that fits into one message of at most `limit_bytes`.

    Raises:
        InvalidImage: if the image cannot be read or is too large.
        InvalidRequest: if another argument does not fit its field.
    """
    message = image_message(image, image_id=_text("image_id", image_id), limit_bytes=limit_bytes)
    request = messages.ClassifyRequest(
        image=message,
        model=_text("model", options.model),
        version=_version(options.version),
        top_k=_top_k(options.top_k),
        priority=_priority(options.priority),
        min_probability=_probability(options.min_probability),
        want_features=options.features,
    )
    check_message_size(request.ByteSize(), limit_bytes)
    return request


def get_model_request(model: str, version: int | str | None) -> messages.GetModelRequest:
    """Returns a request to describe one model version.

    Raises:
        InvalidRequest: if an argument does not fit its field.
    """
    return messages.GetModelRequest(model=_text("model", model), version=_version(version))


def load_model_request(model: str) -> messages.LoadModelRequest:
    """Returns a request to load a model.

    Raises:
        InvalidRequest: if the argument does not fit its field.
    """
    return messages.LoadModelRequest(model=_text("model", model))


def reload_model_request(model: str) -> messages.ReloadModelRequest:
    """Returns a request to reload a model.

    Raises:
        InvalidRequest: if the argument does not fit its field.
    """
    return messages.ReloadModelRequest(model=_text("model", model))


def unload_model_request(model: str, version: int | str | None) -> messages.UnloadModelRequest:
    """Returns a request to unload one version of a model, or all versions if it is None.

    Raises:
        InvalidRequest: if an argument does not fit its field.
    """
    return messages.UnloadModelRequest(model=_text("model", model), version=_version(version))


def set_default_version_request(model: str, version: int | str | None) -> messages.SetDefaultVersionRequest:
    """Returns a request to set the version that answers calls without a version.

    Raises:
        InvalidRequest: if an argument does not fit its field.
    """
    return messages.SetDefaultVersionRequest(model=_text("model", model), version=_version(version))


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string, not {value!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidRequest(f"{name} must be text that UTF-8 can hold, not {value!r}")
    return value


def _version(version: int | str | None) -> str:
    """Returns the version as the contract has it. The server checks a string."""
    if version is None:
        return ""
    if isinstance(version, str):
        return _text("version", version)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidRequest(f"version must be a whole number from 1 or a label, not {version!r}")
    return str(version)


def _priority(priority: str | None) -> messages.Priority:
    """Returns the priority as the contract has it; the server takes UNSPECIFIED for normal."""
    if priority is None:
        return messages.PRIORITY_UNSPECIFIED
    if priority not in _PRIORITIES:
        raise InvalidRequest(f"priority must be high, normal or low, not {priority!r}")
    return _PRIORITIES[priority]


def _top_k(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 0 <= top_k < 2**31:
        raise InvalidRequest(f"top_k must be a whole number from 0, where 0 leaves it to the server, not {top_k!r}")
    return top_k


def _probability(probability: float) -> float:
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0.0 <= probability <= 1.0:
        raise InvalidRequest(f"min_probability must be a number between 0 and 1, not {probability!r}")
    return probability
