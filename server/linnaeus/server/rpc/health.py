"""The health as gRPC's own service tells it, and whoever watches it is sent away before the server stops."""

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from linnaeus.server.errors import Unavailable

_RETRY_SECONDS = 1.0


class HealthServicer(health.aio.HealthServicer):
    """grpc.health.v1.Health, whose watches can be ended: by themselves they last as long as their callers.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches_ended = asyncio.Event()

    def end_watches(self) -> None:
        """Ends all watches, those that are still to come included."""
        self._watches_ended.set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Tells the health now, and again whenever it changes.

        Raises:
            Unavailable: the watches were ended.
        """
        watching = asyncio.ensure_future(super().Watch(request, context))
        ended = asyncio.ensure_future(self._watches_ended.wait())
        try:
            await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            ended.cancel()
        await asyncio.wait({watching})
        if watching.cancelled():
            raise Unavailable("the server is stopping; watch another one", _RETRY_SECONDS)
        watching.result()
