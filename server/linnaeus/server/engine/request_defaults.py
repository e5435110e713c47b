"""Checks of a request's options, and defaults for its empty fields: its deadline and its number of classes."""

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.model_store.model_description import ModelDescription
from linnaeus.server.requests.refusals import no_features
from linnaeus.server.requests.request import Request

DEFAULT_TOP_K = 5


def with_default_deadline(request: Request, entry: Entry, now: float) -> Request:
    """Returns the request; if it has no deadline, with the model's default timeout from `now` (seconds)."""
    if request.deadline is not None or not entry.default_timeout_seconds:
        return request
    return request._replace(deadline=now + entry.default_timeout_seconds)


def effective_top_k(request: Request, model: ModelDescription) -> int:
    """Returns the number of classes to return, of which `min_probability` may leave out some.

    By default that are five, but all of them if `min_probability` already says which are wanted.

    Raises:
        InvalidArgument: if `top_k` is below 0 or above the model's number of classes, or as `_check_options`.
    """
    _check_options(request, model)
    name, classes = model.manifest.name, model.manifest.classes
    if not 0 <= request.top_k <= classes:
        message = f"top_k is {request.top_k}, but model {name} has {classes} classes; 0 means the default"
        raise InvalidArgument("top_k", message)
    return request.top_k or (classes if request.min_probability else min(DEFAULT_TOP_K, classes))


def _check_options(request: Request, model: ModelDescription) -> None:
    """Checks the options that the model's number of classes does not bound.

    Raises:
        InvalidArgument: if `min_probability` is not between 0 and 1, or the model has no features but they are wanted.
    """
    if not 0.0 <= request.min_probability <= 1.0:  # refuses NaN, too
        text = f"min_probability is {request.min_probability:.7g}, but must be between 0 and 1; 0 leaves out no class"
        raise InvalidArgument("min_probability", text)
    if request.want_features and not model.manifest.features:
        raise no_features(model.manifest.name, "want_features")
