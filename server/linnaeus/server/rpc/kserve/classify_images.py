"""The images of one inference request: each is queued by itself, and the first failure fails them all."""

from collections.abc import Sequence

from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidArgument, RequestError
from linnaeus.server.requests.picture import Picture
from linnaeus.server.requests.request import Classification, Request


async def classify_images(
    engine: Engine, images: Sequence[Picture], template: Request, input_name: str
) -> Sequence[Classification]:
    """Classifies images, in their order.

    Args:
        engine: classifies the images.
        images: at least one.
        template: the request of the first image; the others differ only in their image.
        input_name: the name of the input that contains the images.

    Raises:
        RequestError: if an image fails: the error of the first one, which names the image.
        asyncio.CancelledError: if the caller cancels.
    """
    if len(images) == 1:
        try:
            return [await engine.classify(template)]
        except InvalidArgument as error:
            error.field = _field(input_name, 0)
            raise
    outcomes = await engine.classify_many([template._replace(image=image) for image in images])
    return [
        _classification_or_raise(outcome, index, len(outcomes), input_name) for index, outcome in enumerate(outcomes)
    ]


def _field(input_name: str, index: int) -> str:
    return f"inputs.{input_name}[{index}]"


def _classification_or_raise(
    outcome: Classification | RequestError, index: int, count: int, input_name: str
) -> Classification:
    if isinstance(outcome, Classification):
        return outcome
    if isinstance(outcome, InvalidArgument):
        outcome.field = _field(input_name, index)
    outcome.args = (f"image {index} of {count}, counted from 0: {outcome}",)
    raise outcome
