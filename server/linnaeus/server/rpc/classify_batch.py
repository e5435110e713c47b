"""ClassifyBatch: one message of many images, one answer with a result or an error for each."""

from collections.abc import Sequence

from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import InvalidArgument, InvalidImage
from linnaeus.server.requests.request import Classification, Request
from linnaeus.server.rpc.messages import to_image_request, to_image_result
from linnaeus.v1 import classifier_pb2 as v1


async def classify_batch(
    engine: Engine, message: v1.ClassifyBatchRequest, deadline: float | None, caller: str, max_images: int
) -> v1.ClassifyBatchResponse:
    """Answers a ClassifyBatchRequest.

    Args:
        engine: who answers.
        message: as it came.
        deadline: the engine clock's time, None for never.
        caller: who asks, as gRPC knows them.
        max_images: that one message may hold.

    Raises:
        RequestError: of the whole call; see the contract.
    """
    _check_count(len(message.images), max_images)
    read = [_read(image, message, deadline, caller) for image in message.images]
    answered = iter(await engine.classify_many([each for each in read if isinstance(each, Request)]))
    outcomes: list[Outcome] = [each if isinstance(each, InvalidImage) else next(answered) for each in read]
    return _response(message, outcomes)


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        message = f"the call holds {count} images, but must hold from 1 to {most}; send several calls"
        raise InvalidArgument("images", message)


def _read(
    image: v1.Image, message: v1.ClassifyBatchRequest, deadline: float | None, caller: str
) -> Request | InvalidImage:
    try:
        return to_image_request(image, message, deadline, caller)
    except InvalidImage as error:
        return error


def _response(message: v1.ClassifyBatchRequest, outcomes: Sequence[Outcome]) -> v1.ClassifyBatchResponse:
    pairs = zip(message.images, outcomes, strict=True)
    response = v1.ClassifyBatchResponse(results=[to_image_result(outcome, image.id) for image, outcome in pairs])
    for outcome in outcomes:
        if isinstance(outcome, Classification):  # all have the same
            response.model, response.version = outcome.model, outcome.version
            break
    return response
