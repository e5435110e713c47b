"""Many images of one request: each is an item in the queue, and one that fails fails them all."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from linnaeus.server.engine.decode import Picture
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.work import Classification, Request
from linnaeus.server.errors import InvalidArgument, RequestError


async def classify_all(
    engine: Engine, pictures: Sequence[Picture], like: Request, field: str
) -> Sequence[Classification]:
    """Answers the pictures, in their order.

    Args:
        engine: who classifies.
        pictures: at least one.
        like: how each is asked for.
        field: the request's field that holds them.

    Raises:
        RequestError: that of the first that failed; it says which image that was.
        asyncio.CancelledError: the caller left.
    """
    requests = [replace(like, image=picture) for picture in pictures]
    if len(requests) == 1:
        return [await _one(engine, requests, 0, field)]
    tasks = [asyncio.create_task(_one(engine, requests, place, field)) for place in range(len(requests))]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _one(engine: Engine, requests: Sequence[Request], place: int, field: str) -> Classification:
    try:
        return await engine.classify(requests[place])
    except RequestError as error:
        if isinstance(error, InvalidArgument):
            error.field = f"{field}[{place}]"
        if len(requests) > 1:
            error.args = (f"image {place} of {len(requests)}, counted from 0: {error}",)
        raise
