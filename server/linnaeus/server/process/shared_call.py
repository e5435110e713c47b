"""A call whose result all share that ask before it has ended."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class SharedCall(Generic[Result]):
    """Runs a call once at a time. Belongs to the event loop's thread.

    A caller that is cancelled leaves the call to the others.

    Args:
        call: returns the coroutine of one call.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._call = call
        self._running: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        """Returns the result of the call that runs, or of a new one.

        Raises:
            Exception: what the call raised.
        """
        if self._running is None:
            self._running = asyncio.create_task(self._call())
            self._running.add_done_callback(self._ended)
        return await asyncio.shield(self._running)

    def _ended(self, task: asyncio.Task[Result]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # those who waited have it; if all have left, it is no fault of a task
