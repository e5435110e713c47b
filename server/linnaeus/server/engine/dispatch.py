"""Wakes decoders and workers for admitted requests, once per iteration of the event loop.

Belongs to the event loop's thread. This module must not know callers or the contents of requests.
"""

import asyncio

from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue

# Delay before the queue is notified again, if it left an image to a decoder that is already running.
_RETRY_SECONDS = 0.002


class Dispatcher:
    """Notifies the queue's decoders and workers of the requests that were admitted in this process.

    Args:
        queue: the queue of admitted requests.
    """

    def __init__(self, queue: BatchQueue[RequestPayload]) -> None:
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._is_retry_scheduled = False

    def request_admitted(self) -> None:
        """Schedules one dispatch for all requests admitted in this iteration of the event loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._is_scheduled = False
        if self._queue.notify() and not self._is_retry_scheduled:
            self._is_retry_scheduled = True
            self._loop.call_later(_RETRY_SECONDS, self._notify_again)

    def _notify_again(self) -> None:
        self._is_retry_scheduled = False
        self._notify()
