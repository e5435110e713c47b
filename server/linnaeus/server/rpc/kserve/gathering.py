"""Many images of one request: each is an item in the queue, and one that fails fails them all."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from linnaeus.server.engine.decode import Picture
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.work import Classification, Request
from linnaeus.server.errors import InvalidArgument, RequestError

# Their admissions come in one turn of the event loop, which must not keep others waiting for long.
_MOST_IMAGES = 1024


async def classify_all(engine: Engine, pictures: Sequence[Picture], like: Request) -> list[Classification]:
    """Answers the pictures, in their order, each asked for as `like` is.

    Raises:
        RequestError: the first that failed, and which image that was.
        asyncio.CancelledError: the caller left.
    """
    if len(pictures) > _MOST_IMAGES:
        message = f"the request holds {len(pictures)} images, but {_MOST_IMAGES} are the most: send several requests"
        raise InvalidArgument("inputs", message)
    requests = [replace(like, image=picture) for picture in pictures]
    if len(requests) == 1:
        return [await engine.classify(requests[0])]
    return await _together(engine, requests)


async def _together(engine: Engine, requests: Sequence[Request]) -> list[Classification]:
    tasks = [asyncio.create_task(_one(engine, request, place, len(requests))) for place, request in enumerate(requests)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _one(engine: Engine, request: Request, place: int, count: int) -> Classification:
    try:
        return await engine.classify(request)
    except RequestError as error:
        error.args = (f"image {place} of {count} (from 0): {error}",)
        raise
