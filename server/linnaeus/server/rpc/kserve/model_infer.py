"""One inference request: read, classified, answered."""

from collections.abc import Callable

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.engine.engine import Engine
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.rpc.kserve import inputs, model_names, outputs
from linnaeus.server.rpc.kserve.classify_images import classify_images
from linnaeus.server.rpc.kserve.parameters import whole_number

# The protocol's priorities: 1 goes first, 0 is as if there were none; what is beyond the last is the last.
PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
DEFAULT_PRIORITY = PRIORITIES.index(Priority.NORMAL) + 1
_MICROSECONDS = 1e-6


async def infer(
    engine: Engine,
    message: kserve.ModelInferRequest,
    now: float,
    deadline: float | None,
    caller: str,
    charge: Callable[[int], None],
) -> kserve.ModelInferResponse:
    """Answers a request; all its images by the same version.

    Args:
        engine: who classifies.
        message: as it came.
        now: the engine clock's time.
        deadline: that of the call, None for never; the request's own timeout may be earlier.
        caller: who asks, as gRPC knows them.
        charge: counts the images.

    Raises:
        RequestError: there is no answer; see `linnaeus.server.errors`.
    """
    model = model_names.resolve(engine.catalog, message.model_name, message.model_version)
    requested = outputs.requested_outputs(message, model)
    pictures = inputs.read_pictures(message, model)
    charge(len(pictures))
    priority = Priority.NORMAL
    if message.parameters:  # looking for each of them costs as much as reading a tensor
        priority = _priority(message)
        deadline = _earlier(deadline, _timeout_seconds(message), now)
    template = Request(
        image=pictures[0],
        model=model.entry.name,
        version=model.version,
        top_k=max([output.classes for output in requested]),
        deadline=deadline,
        priority=priority,
        caller=caller,
    )
    answers = await classify_images(engine, pictures, template, model.input_name)
    return outputs.infer_response(message, model, requested, answers)


def _earlier(deadline: float | None, timeout_seconds: float | None, now: float) -> float | None:
    if timeout_seconds is None:
        return deadline
    return now + timeout_seconds if deadline is None else min(deadline, now + timeout_seconds)


def _timeout_seconds(message: kserve.ModelInferRequest) -> float | None:
    """The request's own; 0 is none, as is a missing one."""
    return whole_number(message.parameters, "timeout", "parameters.timeout") * _MICROSECONDS or None


def _priority(message: kserve.ModelInferRequest) -> Priority:
    level = whole_number(message.parameters, "priority", "parameters.priority") or DEFAULT_PRIORITY
    return PRIORITIES[min(level, len(PRIORITIES)) - 1]
