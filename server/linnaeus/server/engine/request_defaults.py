"""What a request gets where it leaves a field empty: its deadline and its number of classes."""

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import Request
from linnaeus.server.runtime.model import Model

DEFAULT_TOP_K = 5


def with_default_deadline(request: Request, entry: Entry, now: float) -> Request:
    """Returns the request, with the default timeout of the model if it has no deadline."""
    if request.deadline is not None or not entry.default_timeout_seconds:
        return request
    return request._replace(deadline=now + entry.default_timeout_seconds)


def effective_top_k(request: Request, model: Model) -> int:
    """Returns how many classes the answer is to have.

    Raises:
        InvalidArgument: `top_k` is below 0 or above the number of classes.
    """
    name, classes = model.manifest.name, model.manifest.classes
    if not 0 <= request.top_k <= classes:
        message = f"top_k is {request.top_k}, but model {name} has {classes} classes; 0 means the default"
        raise InvalidArgument("top_k", message)
    return request.top_k or min(DEFAULT_TOP_K, classes)
