"""ClassifyBatch: many images in one message, and a response with a result or an error for each."""

from collections.abc import Sequence

from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import InvalidArgument, InvalidImage
from linnaeus.server.requests.request import Classification, Request
from linnaeus.server.rpc.messages import to_image_request, to_image_result
from linnaeus.server.security.current_caller import Caller, current_caller
from linnaeus.v1 import classifier_pb2 as v1


async def classify_batch(
    engine: Engine, message: v1.ClassifyBatchRequest, deadline: float | None, max_images: int
) -> v1.ClassifyBatchResponse:
    """Classifies the images of a ClassifyBatchRequest.

    Args:
        engine: classifies the images.
        message: the request message.
        deadline: on the engine's clock; None for no deadline.
        max_images: the maximum number of images in one message.

    Raises:
        RequestError: if the whole call fails; see the contract.
    """
    _check_count(len(message.images), max_images)
    caller = current_caller()
    requests = [_read(image, message, deadline, caller) for image in message.images]
    outcomes_of_valid = iter(await engine.classify_many([each for each in requests if isinstance(each, Request)]))
    outcomes: list[Outcome] = [each if isinstance(each, InvalidImage) else next(outcomes_of_valid) for each in requests]
    return _response(message, outcomes)


def _check_count(count: int, max_images: int) -> None:
    if not 1 <= count <= max_images:
        message = f"the call holds {count} images, but must hold from 1 to {max_images}; send several calls"
        raise InvalidArgument("images", message)


def _read(
    image: v1.Image, message: v1.ClassifyBatchRequest, deadline: float | None, caller: Caller
) -> Request | InvalidImage:
    try:
        return to_image_request(image, message, deadline, caller)
    except InvalidImage as error:
        return error


def _response(message: v1.ClassifyBatchRequest, outcomes: Sequence[Outcome]) -> v1.ClassifyBatchResponse:
    pairs = zip(message.images, outcomes, strict=True)
    response = v1.ClassifyBatchResponse(results=[to_image_result(outcome, image.id) for image, outcome in pairs])
    for outcome in outcomes:
        if isinstance(outcome, Classification):  # all results have the same model and version
            response.model, response.version = outcome.model, outcome.version
            break
    return response
