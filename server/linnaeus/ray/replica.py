"""A replica as Ray sees it: a class with a method for each RPC, and the hooks of Ray's controller."""

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import ray

from linnaeus.ray.methods import served_methods
from linnaeus.ray.outcome import Outcome
from linnaeus.server.process.openmp import limit_spinning

if TYPE_CHECKING:
    from linnaeus.ray.replica_server import ReplicaServer


class Replica:
    """A server on Ray. Ready, for Ray, when its models are loaded and warm.

    It has a method of the name of each RPC, which Ray's proxy calls with the message as bytes.

    Args:
        arguments: settings by their names; see `linnaeus.ray.app`.
    """

    _server: "ReplicaServer"

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        # Imported here, since Ray's controller and the proxies import this class and should do without torch.
        limit_spinning()
        from linnaeus.ray.replica_server import start_replica

        reserved = ray.get_runtime_context().get_assigned_resources()
        self._server = await start_replica(arguments, os.environ, reserved.get("CPU", 0), reserved.get("GPU", 0))

    async def check_health(self) -> None:
        """Has Ray replace this replica once it is not ready: a model has no device left, or a part keeps failing.

        Raises:
            RuntimeError: with the reason.
        """
        if self._server.unready_reason:
            raise RuntimeError(self._server.unready_reason)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Returns what `linnaeus.ray.autoscaling` decides by."""
        load = self._server.load_meter.load()
        return {"queue_seconds": load.queue_seconds, "refused": load.refused, "busy": load.busy}

    async def __del__(self) -> None:  # Ray awaits it, when the last call has been answered
        if hasattr(self, "_server"):
            await self._server.close()


def _unary(name: str) -> Any:
    async def call(self: Replica, request: bytes, grpc_context: Any) -> Outcome:
        return await self._server.unary(name, request, grpc_context)

    return call


def _stream(name: str) -> Any:
    async def call(self: Replica, requests: Any, grpc_context: Any) -> AsyncIterator[Outcome]:
        async for outcome in self._server.stream(name, requests, grpc_context):
            yield outcome

    return call


for _method in served_methods():
    setattr(Replica, _method.name, (_stream if _method.handler.response_streaming else _unary)(_method.name))
