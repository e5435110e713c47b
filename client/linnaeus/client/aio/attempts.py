"""The attempts of one hedged call as tasks; `sync/attempts.py` has the same names for gRPC's futures."""

import asyncio
from collections.abc import Callable
from typing import Any


class Attempts:
    """The attempts in flight; belongs to the event loop.

    Args:
        send: starts an attempt; returns an awaitable of the response.
    """

    def __init__(self, send: Callable[[], Any]) -> None:
        self._send = send
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def first(self) -> "asyncio.Task[Any]":
        """The attempt that was started first."""
        return self._tasks[0]

    def start(self) -> None:
        """Starts another attempt."""
        self._tasks.append(asyncio.create_task(self._attempt()))

    async def ended_within(self, seconds: float) -> bool:
        """Waits for an attempt to end; returns False if none does in time."""
        ended, _ = await asyncio.wait(self._tasks, timeout=seconds)
        return bool(ended)

    async def winner(self) -> "asyncio.Task[Any]":
        """Returns the first attempt that succeeds, or the first attempt if all fail."""
        pending = set(self._tasks)
        while pending:
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task in ended and not task.cancelled() and task.exception() is None:
                    return task
        return self.first

    async def cancel(self) -> None:
        """Cancels what has not ended. Waits for it, so that every exception is retrieved."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _attempt(self) -> Any:
        return await self._send()
