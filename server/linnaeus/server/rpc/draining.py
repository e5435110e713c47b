"""Draining: while the server stops, new calls are held until their clients have received GOAWAY, then refused.

A gRPC server that stops sends GOAWAY on its connections, and from then on ends arriving calls with the status
CANCELLED, which no retry policy covers. A client may send such calls until GOAWAY reaches it. So new calls are held for
a moment first: a client that waits for the answer sends no further call, and GOAWAY reaches it before the refusal,
since both use the same connection. The client then retries at another server, and no call is dropped.

A client that sends calls without waiting for answers may still lose those that are on the wire at that moment.
"""

import asyncio
import contextlib
from typing import Any, NoReturn

from linnaeus.server.errors import Unavailable

# After this time without a new call, no further calls are expected on the wire.
_QUIET_SECONDS = 0.03
# The maximum time for which a call is held: its deadline keeps running.
_HOLD_SECONDS = 0.25


class CallDrainer:
    """A switch that passes calls to their methods and, after `hold_calls`, holds them until `release` refuses them.

    Before `hold_calls`, the cost per call is one attribute access: gRPC looks up each method by name in any case.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._handlers: list[_SwitchableHandler] = []
        self._call_arrived = asyncio.Event()
        self._released = asyncio.Event()

    def wrap(self, methods: Any, held: Any) -> Any:
        """Returns a generic handler to add to the server.

        Args:
            methods: a generic handler with the service's methods.
            held: a generic handler with the same methods, each with `hold_and_refuse` as its behaviour.
        """
        handler = _SwitchableHandler(methods, held)
        self._handlers.append(handler)
        return handler

    def hold_calls(self) -> None:
        """Holds every call that arrives from now on."""
        for handler in self._handlers:
            handler.switch_to_held()

    async def wait_quiet(self, in_flight: "asyncio.Future[None]") -> None:
        """Waits until the calls in flight have ended and no new call arrives, for at most a quarter of a second."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _HOLD_SECONDS
        await asyncio.wait({in_flight}, timeout=_HOLD_SECONDS)
        with contextlib.suppress(TimeoutError):
            while (left := until - loop.time()) > 0:
                self._call_arrived.clear()
                await asyncio.wait_for(self._call_arrived.wait(), min(_QUIET_SECONDS, left))

    def release(self) -> None:
        """Refuses the held calls and all later ones."""
        self._released.set()

    async def hold_and_refuse(self, request: Any, context: Any) -> NoReturn:
        """Holds one call of any kind until `release`, then refuses it.

        Raises:
            Unavailable: always.
        """
        self._call_arrived.set()
        await self._released.wait()
        raise Unavailable("the server is stopping; another one may answer at once", 0.0)


class _SwitchableHandler:
    """A generic handler of one service that can be switched to the held methods.

    Attributes:
        service: returns the method for a call's details; gRPC calls it for each call.
    """

    __slots__ = ("_held", "service")

    def __init__(self, methods: Any, held: Any) -> None:
        self._held = held
        self.service = methods.service

    def switch_to_held(self) -> None:
        """Replaces the methods by the held ones."""
        self.service = self._held.service
