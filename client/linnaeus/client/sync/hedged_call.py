"""One call as a race of at most two attempts: the first good answer wins, the other attempt is cancelled.

`hedging` decides when the second starts; what an attempt sends is its caller's business. An attempt that fails waits
for the other: only when both failed is there no answer, and then the first one says why.
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import grpc

from linnaeus.client.transport.hedging import Hedger

Response = TypeVar("Response")
Clock = Callable[[], float]


def hedged_call(send: Callable[[], Any], hedger: Hedger, model: str, clock: Clock = time.monotonic) -> Any:
    """Makes one blocking call.

    Args:
        send: starts an attempt and returns gRPC's future of it.
        hedger: the client's.
        model: whose latencies count.
        clock: monotonic, in seconds.

    Raises:
        grpc.RpcError: of the first attempt, when none has an answer.
    """
    race = _Race(send)
    started = clock()
    late_after_seconds = hedger.begin(model)
    try:
        race.start()
        if late_after_seconds is not None and not race.ends_within(late_after_seconds) and hedger.spend():
            race.start()
        winner = race.winner()
        if winner.code() is not grpc.StatusCode.OK:
            raise winner
        hedger.answered(model, clock() - started, by_second=winner is not race.attempts[0])
        return winner.result()
    finally:
        race.cancel()


class _Race:
    """Attempts under way; used by the one thread that waits for them."""

    def __init__(self, send: Callable[[], Any]) -> None:
        self._send = send
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.attempts: list[Any] = []
        self._first_ended: Any = None

    def start(self) -> None:
        attempt = self._send()
        self.attempts.append(attempt)
        attempt.add_done_callback(self._ended.put)

    def ends_within(self, seconds: float) -> bool:
        try:
            self._first_ended = self._ended.get(timeout=seconds)
        except queue.Empty:
            return False
        return True

    def winner(self) -> Any:
        """The first attempt that ended well; the first attempt of all where none did."""
        remaining = len(self.attempts)
        while remaining:
            ended = self._first_ended or self._ended.get()
            self._first_ended = None
            if ended.code() is grpc.StatusCode.OK:
                return ended
            remaining -= 1
        return self.attempts[0]

    def cancel(self) -> None:
        """Does nothing to those that ended."""
        for attempt in self.attempts:
            attempt.cancel()


async def hedged_call_async(
    send: Callable[[], Awaitable[Response]], hedger: Hedger, model: str, clock: Clock = time.monotonic
) -> Response:
    """Makes one asyncio call; the same contract, where `send` returns an awaitable of the answer."""
    attempts = _AsyncRace(send)
    started = clock()
    late_after_seconds = hedger.begin(model)
    try:
        attempts.start()
        if late_after_seconds is not None and not await attempts.ends_within(late_after_seconds) and hedger.spend():
            attempts.start()
        winner = await attempts.winner()
        response = winner.result()
        hedger.answered(model, clock() - started, by_second=winner is not attempts.tasks[0])
        return response
    finally:
        await attempts.cancel()


class _AsyncRace(Generic[Response]):
    """Attempts under way; belongs to the event loop."""

    def __init__(self, send: Callable[[], Awaitable[Response]]) -> None:
        self._send = send
        self.tasks: list[asyncio.Task[Response]] = []

    def start(self) -> None:
        self.tasks.append(asyncio.create_task(self._attempt()))

    async def _attempt(self) -> Response:
        return await self._send()

    async def ends_within(self, seconds: float) -> bool:
        ended, _ = await asyncio.wait(self.tasks, timeout=seconds)
        return bool(ended)

    async def winner(self) -> asyncio.Task[Response]:
        pending = set(self.tasks)
        while pending:
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            good = [task for task in self.tasks if task in ended and not task.cancelled() and task.exception() is None]
            if good:
                return good[0]
        return self.tasks[0]

    async def cancel(self) -> None:
        """Waits until gRPC has cancelled them, so that no failure is left that nobody looked at."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
