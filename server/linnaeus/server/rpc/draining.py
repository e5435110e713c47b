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


class Door:
    """Leads calls to their methods, and from `close` on to `turn_away`, which holds them until `release`.

    An open door costs a call nothing but one attribute: gRPC looks each method up by name in any case.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._rooms: list[_Room] = []
        self._knocked = asyncio.Event()
        self._released = asyncio.Event()

    def lead(self, methods: Any, held: Any) -> Any:
        """Returns a handler to add to the server.

        Args:
            methods: the service, as a generic handler.
            held: the same methods, each with `turn_away` as its behaviour.
        """
        room = _Room(methods, held)
        self._rooms.append(room)
        return room

    def close(self) -> None:
        """Holds every call that comes from now on."""
        for room in self._rooms:
            room.close()

    async def settled(self, in_flight: "asyncio.Future[None]") -> None:
        """Waits until the calls in flight have ended and no further one comes, or a quarter of a second at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _HOLD_SECONDS
        await asyncio.wait({in_flight}, timeout=_HOLD_SECONDS)
        with contextlib.suppress(TimeoutError):
            while (left := until - loop.time()) > 0:
                self._knocked.clear()
                await asyncio.wait_for(self._knocked.wait(), min(_QUIET_SECONDS, left))

    def release(self) -> None:
        """Refuses what was held, and what still comes."""
        self._released.set()

    async def turn_away(self, request: Any, context: Any) -> NoReturn:
        """Holds one call, of any kind, and refuses it.

        Raises:
            Unavailable: always.
        """
        self._knocked.set()
        await self._released.wait()
        raise Unavailable("the server is stopping; another one may answer at once", 0.0)


class _Room:
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
