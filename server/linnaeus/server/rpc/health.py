"""The servicer of grpc.health.v1.Health, with `List`, and with watches that the server can end before it stops."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from linnaeus.server.errors import Unavailable
from linnaeus.server.rpc.standard_protocols import HealthListRequest, HealthListResponse

_RETRY_SECONDS = 1.0
# As many as gRPC's Go server lists; a server has its services and its devices.
_MOST_LISTED = 100


class HealthServicer(health.aio.HealthServicer):
    """The standard health servicer with watches that can be ended; otherwise they last until their callers cancel.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches_ended = asyncio.Event()

    def end_watches(self) -> None:
        """Ends all watches, current and future."""
        self._watches_ended.set()

    async def List(self, request: Any, context: Any) -> Any:
        """Returns the health of the server, of each service and of each device, by name.

        Aborts with RESOURCE_EXHAUSTED if there are more than `_MOST_LISTED`, as the protocol has it.
        """
        known: dict[str, int] = self._server_status  # type: ignore[attr-defined]  # missing in the published types
        if len(known) > _MOST_LISTED:
            reason = f"there are more than {_MOST_LISTED} names; ask for each with Check"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        statuses = {name: {"status": status} for name, status in known.items()}
        return HealthListResponse(statuses=statuses)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Streams the health of a service: now, and whenever it changes.

        Raises:
            Unavailable: if `end_watches` was called.
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


def add_health(servicer: HealthServicer, server: Any) -> None:
    """Adds the service to a server, `List` included, which the generated function does not know.

    Args:
        servicer: implements the methods.
        server: an `InterceptedServer`, or anything with its methods.
    """
    check, response = health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
    handlers = {
        "Check": grpc.unary_unary_rpc_method_handler(servicer.Check, check, response),
        "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, check, response),
        "List": grpc.unary_unary_rpc_method_handler(
            servicer.List, HealthListRequest.FromString, HealthListResponse.SerializeToString
        ),
    }
    server.add_registered_method_handlers(health.SERVICE_NAME, handlers)
