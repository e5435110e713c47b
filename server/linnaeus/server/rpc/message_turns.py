"""Streams take turns with each other while other calls come."""

import asyncio
from collections import deque

# gRPC takes one new call in an iteration of the event loop, and a call takes several. The messages of streams are there
# as soon as they are asked for, and a batch ends with many answers to write: with 32 busy streams an iteration took so
# long that calls with half a second to live were taken after their deadlines. Turns cost many streams together 15 % of
# what they can do, so they take none while they are alone.
_MESSAGES_AN_ITERATION = 1
_ALONE_AFTER_SECONDS = 1.0


class MessageTurns:
    """Lets one message of all streams be read or written in an iteration of the event loop, while other calls come.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._alone_at = 0.0
        self._left = _MESSAGES_AN_ITERATION
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def call_came(self) -> None:
        """Notes a call that is no stream."""
        self._alone_at = self._loop.time() + _ALONE_AFTER_SECONDS

    async def take(self) -> None:
        """Waits until it is the calling stream's turn."""
        if not self._waiting and self._loop.time() >= self._alone_at:
            return
        if not self._waiting and self._left:
            self._left -= 1
            self._schedule()
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._begin_iteration)

    def _begin_iteration(self) -> None:
        self._is_scheduled = False
        self._left = _MESSAGES_AN_ITERATION
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else the stream has ended meanwhile
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._schedule()
