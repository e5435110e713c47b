"""Streams take turns with each other, and leave cores to other calls, while other calls are open."""

import asyncio
from collections import deque

from linnaeus.server.process.cores import usable_cores

# A stream's messages are there as soon as they are asked for. 32 busy streams held up the event loop until calls with
# half a second to live were taken after their deadlines, and what they ran left a large model too little of two cores.
_MESSAGES_A_CORE = 8
_PART_OF_WAIT = 5
_LEAST_PAUSE_SECONDS = 0.001
# Calls count for this long: some take for ever, such as watches of the health.
_RECENT_SECONDS = 1.0


class MessageTurns:
    """Lets all streams together read or write 8 messages a core and then pause, while other calls are open.

    The pause is a fifth of the time that the oldest open call of the last second has waited for its answer, and 1 ms
    at least: the longer others wait, the less streams do. Streams take no turns while no call of the last second is
    open.

    Belongs to the event loop's thread.

    Args:
        cores: that streams share with other calls.
    """

    def __init__(self, cores: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: dict[object, float] = {}  # when each came that has not ended; the oldest first
        self._messages = self._left = _MESSAGES_A_CORE * (cores or usable_cores())
        self._waiting: deque[asyncio.Future[None]] = deque()

    def call_came(self, call: object) -> None:
        """Notes a call that is no stream, once its message is there."""
        self._calls[call] = self._loop.time()

    def call_ended(self, call: object) -> None:
        """Notes the end of a call; any other is ignored."""
        self._calls.pop(call, None)

    async def take(self) -> None:
        """Waits until it is the calling stream's turn."""
        if not self._left:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn
        else:
            self._use_turn()

    def _use_turn(self) -> None:
        """Counts a message, unless streams are alone; the last one of a turn begins the pause."""
        waited = self._longest_wait()
        if waited is None:
            return
        self._left -= 1
        if not self._left:
            self._loop.call_later(max(waited / _PART_OF_WAIT, _LEAST_PAUSE_SECONDS), self._end_pause)

    def _end_pause(self) -> None:
        self._left = self._messages
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else the stream has ended meanwhile
                turn.set_result(None)
                self._use_turn()

    def _longest_wait(self) -> float | None:
        """Returns how long the oldest open call of the last second has waited; None if there is none."""
        now = self._loop.time()
        while self._calls:
            call, came_at = next(iter(self._calls.items()))
            if came_at > now - _RECENT_SECONDS:
                return now - came_at
            del self._calls[call]
        return None
