"""Calls that are cancelled together; `sync/call_group.py` has the same names for threads."""

import asyncio
from typing import TypeVar

Method = TypeVar("Method")


class CallGroup:
    """Calls that are cancelled together. Each belongs to a task, and cancelling the task cancels its call."""

    def __init__(self) -> None:
        self._cancelled = asyncio.Event()

    def wrap(self, method: Method) -> Method:
        """Returns the method as it is."""
        return method

    def cancel(self) -> None:
        """Ends every pause. Calls in flight end with their task, or with the channel."""
        self._cancelled.set()

    async def pause(self, seconds: float) -> bool:
        """Waits before a call is sent again; returns False, at once, if the calls are cancelled."""
        try:
            async with asyncio.timeout(seconds):
                await self._cancelled.wait()
        except TimeoutError:
            return True
        return False
