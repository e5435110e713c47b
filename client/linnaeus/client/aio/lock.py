"""A lock for tasks whose `acquire` takes a timeout, as that of `threading.Lock` does."""

import asyncio


class Lock:
    """An asyncio lock with a timeout."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def acquire(self, *, timeout: float) -> bool:
        """Acquires the lock; returns False if it is not free within the timeout in seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._lock.acquire()
        except TimeoutError:
            return False

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()
