"""The health that a server publishes: SERVING or why not, for the whole server, its services and its devices."""

from collections.abc import Iterable

from grpc_health.v1 import health_pb2

from linnaeus.server.rpc.health import HealthServicer

_LOADING = "the models are loading"
_STOPPING = "the server is stopping"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class PublishedHealth:
    """The health of one server, NOT_SERVING until `set_serving`.

    Belongs to the event loop's thread; any thread may read `unready_reason`.

    Attributes:
        servicer: answers health checks.
        unready_reason: why the published health is NOT_SERVING, in a sentence; empty if it is SERVING.
        is_stopping: whether the server is in its lame-duck time or stops; its health is NOT_SERVING for good.
    """

    def __init__(self) -> None:
        self.servicer = HealthServicer()
        self.unready_reason = _LOADING
        self.is_stopping = False
        self._services = [""]  # "" is the health of the whole server

    @property
    def is_serving(self) -> bool:
        """Whether the published health is SERVING."""
        return not self.unready_reason

    async def add_services(self, names: Iterable[str]) -> None:
        """Publishes NOT_SERVING for the whole server and for services by their full names."""
        self._services += names
        await self._set_status(_NOT_SERVING)

    async def set_device_status(self, name: str, is_working: bool) -> None:
        """Publishes the health of a device as that of the service `device/NAME`."""
        await self.servicer.set(f"device/{name}", _SERVING if is_working else _NOT_SERVING)

    async def set_not_serving(self, reason: str) -> None:
        """Publishes NOT_SERVING, for a reason in a sentence, such as a model that has no working device."""
        if not self.is_stopping:
            self.unready_reason = reason
            await self._set_status(_NOT_SERVING)

    async def set_serving(self) -> None:
        """Publishes SERVING: models are ready."""
        if not self.is_stopping:
            self.unready_reason = ""
            await self._set_status(_SERVING)

    async def set_stopping(self) -> None:
        """Publishes NOT_SERVING for good."""
        self.is_stopping, self.unready_reason = True, _STOPPING
        await self.servicer.enter_graceful_shutdown()

    async def _set_status(self, status: int) -> None:
        for service in self._services:
            await self.servicer.set(service, status)
