"""Many images of one request: each is an item in the queue, and one that fails fails them all."""

from collections.abc import Sequence

from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidArgument, RequestError
from linnaeus.server.requests.picture import Picture
from linnaeus.server.requests.request import Classification, Request


async def classify_images(
    engine: Engine, pictures: Sequence[Picture], template: Request, input_name: str
) -> Sequence[Classification]:
    """Answers the pictures, in their order.

    Args:
        engine: who classifies.
        pictures: at least one.
        template: how each is asked for; the request of the first.
        input_name: of the request's input that holds them.

    Raises:
        RequestError: that of the first that failed; it says which image that was.
        asyncio.CancelledError: the caller left.
    """
    if len(pictures) == 1:
        try:
            return [await engine.classify(template)]
        except InvalidArgument as error:
            error.field = _field(input_name, 0)
            raise
    outcomes = await engine.classify_many([template._replace(image=picture) for picture in pictures])
    return [
        _classification_or_raise(outcome, place, len(outcomes), input_name) for place, outcome in enumerate(outcomes)
    ]


def _field(input_name: str, place: int) -> str:
    return f"inputs.{input_name}[{place}]"


def _classification_or_raise(
    outcome: Classification | RequestError, place: int, count: int, input_name: str
) -> Classification:
    if isinstance(outcome, Classification):
        return outcome
    if isinstance(outcome, InvalidArgument):
        outcome.field = _field(input_name, place)
    outcome.args = (f"image {place} of {count}, counted from 0: {outcome}",)
    raise outcome
