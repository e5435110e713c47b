"""Draining: while the server stops, answers are held until each connection has been sent GOAWAY, then released.

A gRPC server that stops sends GOAWAY on its connections, and from then on ends arriving calls with CANCELLED. A client
may send calls until GOAWAY reaches it. A caller that waits for each answer before its next call (a closed loop) sends
none while its answer is held. So answers are held for a moment first: then every such caller waits for one, no call is
on the wire, GOAWAY is sent, and the answers follow it on the same connections. Calls that arrive meanwhile are
answered like all others. No call is refused.

A client that sends calls without waiting for answers may still lose those that are on the wire at that moment.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from math import inf
from typing import Any

# A caller's next call, or its call at another server that is answered meanwhile, takes this long to arrive here.
_HOLD_SECONDS = 0.05
# GOAWAY is sent once for this long no call has arrived and no answer was let go before it, in turns of the event loop
# of its own: calls that wait for a busy event loop must be taken first.
_QUIET_TURNS = 3
_TURN_SECONDS = 0.005
# Callers that do not wait for answers never let it become quiet.
_MAX_HOLD_SECONDS = 0.25
# An answer is held for at most this share of the time left to its deadline, so that it still reaches its caller.
_HELD_SHARE = 0.5


class CallDrainer:
    """Counts the calls of the methods that it wraps, and holds their answers between `settle` and `release`.

    Belongs to the event loop's thread.

    Args:
        sleep: waits for a number of seconds.

    Attributes:
        in_flight: number of calls that have begun and not ended.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self.in_flight = 0
        self._is_holding = False
        self._hold_ends_at = 0.0
        self._is_quiet = True
        self._released = asyncio.Event()
        self._call_ended = asyncio.Event()

    def wrap(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a method's implementation whose answer, or error, is held while the server stops."""
        return self._wrap_generator(behaviour) if inspect.isasyncgenfunction(behaviour) else self._wrap(behaviour)

    async def settle(self) -> None:
        """Holds answers from now on; returns when GOAWAY is to be sent, after a quarter of a second at most."""
        loop = asyncio.get_running_loop()
        self._is_holding = True
        started_at, quiet_turns = loop.time(), 0
        self._hold_ends_at = started_at + _HOLD_SECONDS
        while loop.time() < started_at + _MAX_HOLD_SECONDS:
            if quiet_turns >= _QUIET_TURNS and loop.time() >= self._hold_ends_at:
                return
            self._is_quiet = True
            await self._sleep(_TURN_SECONDS)
            quiet_turns = quiet_turns + 1 if self._is_quiet else 0

    def release(self) -> None:
        """Lets go the answers that are held, and no longer holds any."""
        self._is_holding = False
        self._released.set()

    async def wait_ended(self) -> None:
        """Waits until no call is in flight."""
        while self.in_flight:
            self._call_ended.clear()
            await self._call_ended.wait()

    def _wrap(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def held(request: Any, context: Any) -> Any:
            self._begin_call()
            try:
                answer = await behaviour(request, context)
                if self._is_holding:
                    await self._hold(context)
                return answer
            except Exception:  # an error is an answer, too: its caller calls again
                if self._is_holding:
                    await self._hold(context)
                raise
            finally:
                self._end_call()

        return held

    def _wrap_generator(self, behaviour: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        """Wraps a method that yields its answers: only its end, after which a caller may call again, is held."""

        async def held(request: Any, context: Any) -> AsyncIterator[Any]:
            self._begin_call()
            try:
                answers: Any = behaviour(request, context)
                async with aclosing(answers):
                    async for answer in answers:
                        yield answer
                if self._is_holding:
                    await self._hold(context)
            except Exception:  # an error is an answer, too: its caller calls again
                if self._is_holding:
                    await self._hold(context)
                raise
            finally:
                self._end_call()

        return held

    def _begin_call(self) -> None:
        self.in_flight += 1
        self._is_quiet = False

    def _end_call(self) -> None:
        self.in_flight -= 1
        self._call_ended.set()

    async def _hold(self, context: Any) -> None:
        """Waits until `release`, or until the call's deadline forbids to wait longer."""
        remaining_seconds = context.time_remaining()
        longest = inf if remaining_seconds is None else remaining_seconds * _HELD_SHARE
        if longest <= self._seconds_to_release() or not await self._is_released_within(longest):
            # It would be let go before GOAWAY in any case. Its caller calls again, and is to do so early.
            self._is_quiet = False

    async def _is_released_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(None if seconds == inf else seconds):
                await self._released.wait()
        except TimeoutError:
            return False
        return True

    def _seconds_to_release(self) -> float:
        """Returns the least number of seconds until GOAWAY, if an answer is let go now."""
        return max(self._hold_ends_at - asyncio.get_running_loop().time(), _QUIET_TURNS * _TURN_SECONDS)
