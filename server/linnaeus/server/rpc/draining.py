"""The moment in which a server stops: calls that come too late are held until their callers know where else to go.

A gRPC server that stops tells its connections so (GOAWAY), and from that instant drops calls that come with the status
CANCELLED, which nobody's retry policy expects. Between the two is the time that the word takes to each caller. So new
calls are held for a moment first: a caller that waits for an answer sends no further call, and the word reaches it
before its refusal does, for both go the same way. It then tries again elsewhere, and nothing was dropped.

A caller that sends without waiting for answers may still lose what is on its way at that instant.
"""

import asyncio
import contextlib
from typing import Any, NoReturn

from linnaeus.server.errors import Unavailable

# Without a new call for so long, all that were on their way have come.
_QUIET_SECONDS = 0.03
# No call is held longer, for its own time runs on.
_HOLD_SECONDS = 0.25


class CallDrainer:
    """Passes calls to their methods, and from `hold_calls` on to `hold_and_refuse`, which holds them until `release`.

    Before `hold_calls` a call costs nothing but one attribute: gRPC looks each method up by name in any case.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._handlers: list[_SwitchableHandler] = []
        self._call_arrived = asyncio.Event()
        self._released = asyncio.Event()

    def wrap(self, methods: Any, held: Any) -> Any:
        """Returns a handler to add to the server.

        Args:
            methods: the service, as a generic handler.
            held: the same methods, each with `hold_and_refuse` as its behaviour.
        """
        handler = _SwitchableHandler(methods, held)
        self._handlers.append(handler)
        return handler

    def hold_calls(self) -> None:
        """Holds every call that comes from now on."""
        for handler in self._handlers:
            handler.close()

    async def wait_quiet(self, in_flight: "asyncio.Future[None]") -> None:
        """Waits until the calls in flight have ended and no further one comes, or a quarter of a second at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _HOLD_SECONDS
        await asyncio.wait({in_flight}, timeout=_HOLD_SECONDS)
        with contextlib.suppress(TimeoutError):
            while (left := until - loop.time()) > 0:
                self._call_arrived.clear()
                await asyncio.wait_for(self._call_arrived.wait(), min(_QUIET_SECONDS, left))

    def release(self) -> None:
        """Refuses what was held, and what still comes."""
        self._released.set()

    async def hold_and_refuse(self, request: Any, context: Any) -> NoReturn:
        """Holds one call, of any kind, and refuses it.

        Raises:
            Unavailable: always.
        """
        self._call_arrived.set()
        await self._released.wait()
        raise Unavailable("the server is stopping; another one may answer at once", 0.0)


class _SwitchableHandler:
    """One service as a generic handler of gRPC: its methods, or later those that stand in for them.

    Attributes:
        service: finds a method by the details of a call; gRPC asks for each call.
    """

    __slots__ = ("_held", "service")

    def __init__(self, methods: Any, held: Any) -> None:
        self._held = held
        self.service = methods.service

    def close(self) -> None:
        """Has the methods stood in for from now on."""
        self.service = self._held.service
