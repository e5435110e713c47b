"""ModelInfer: reads one inference request, classifies its images and builds the response."""

from collections.abc import Awaitable, Callable

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.engine.engine import Engine
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.rpc.kserve import inputs, model_names, outputs
from linnaeus.server.rpc.kserve.classify_images import classify_images
from linnaeus.server.rpc.kserve.parameters import probability, whole_number
from linnaeus.server.security.current_caller import current_caller

# The protocol's priority levels, from 1, the highest. Level 0 is the default; levels beyond the last mean the last.
PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
DEFAULT_PRIORITY = PRIORITIES.index(Priority.NORMAL) + 1
_SECONDS_PER_MICROSECOND = 1e-6


async def infer(
    engine: Engine,
    message: kserve.ModelInferRequest,
    now: float,
    deadline: float | None,
    charge: Callable[[int], Awaitable[None]],
) -> kserve.ModelInferResponse:
    """Answers an inference request; one version classifies all its images.

    Args:
        engine: classifies the images.
        message: the request message.
        now: the time on the engine's clock.
        deadline: the call's deadline on the engine's clock, None for no deadline; the request's timeout may be earlier.
        charge: charges the number of images to the caller's rate limit.

    Raises:
        RequestError: if the request fails; see `linnaeus.server.errors`.
    """
    model = model_names.resolve(engine.catalog, message.model_name, message.model_version)
    requested = outputs.requested_outputs(message, model)
    images = inputs.read_images(message, model)
    outputs.check_size(requested, len(images))
    await charge(len(images))
    caller, priority, min_probability = current_caller(), Priority.NORMAL, 0.0
    if message.parameters:  # looking up each parameter costs as much as reading a tensor
        priority = _priority(message)
        min_probability = probability(message.parameters, "min_probability", "parameters.min_probability")
        deadline = _earlier(deadline, _timeout_seconds(message), now)
    template = Request(
        image=images[0],
        model=model.entry.name,
        version=model.version,
        top_k=max([output.classes for output in requested]),
        deadline=deadline,
        priority=caller.capped(priority),
        caller=caller.name,
        min_probability=min_probability,
        want_features=any([output.features for output in requested]),
    )
    classifications = await classify_images(engine, images, template, model.input_name)
    return outputs.infer_response(message, model, requested, classifications)


def _earlier(deadline: float | None, timeout_seconds: float | None, now: float) -> float | None:
    if timeout_seconds is None:
        return deadline
    return now + timeout_seconds if deadline is None else min(deadline, now + timeout_seconds)


def _timeout_seconds(message: kserve.ModelInferRequest) -> float | None:
    """Returns the request's timeout; None if it is missing or 0."""
    return whole_number(message.parameters, "timeout", "parameters.timeout") * _SECONDS_PER_MICROSECOND or None


def _priority(message: kserve.ModelInferRequest) -> Priority:
    level = whole_number(message.parameters, "priority", "parameters.priority") or DEFAULT_PRIORITY
    return PRIORITIES[min(level, len(PRIORITIES)) - 1]
