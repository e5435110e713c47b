"""Wakes decoders and workers for admitted requests, once per iteration of the event loop.

Belongs to the event loop's thread. This module must not know callers or the contents of requests.
"""

import asyncio
from collections.abc import Callable

from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue

# Delay before the queue is notified again, if it left an image to a decoder that is already running.
_RETRY_SECONDS = 0.002
# The event loop runs images itself only after this many requests in a row that were alone in the server. One in
# `_THREAD_EVERY` still goes to a worker: while the event loop runs a batch it cannot see another request arrive.
_ALONE_IN_A_ROW = 32
_THREAD_EVERY = 16
# A run on the event loop delays every other request. After a run longer than this, the next images go to the workers.
_LONGEST_RUN_SECONDS = 0.01
_IMAGES_LEFT_TO_THREADS = 1_000


class Dispatcher:
    """Notifies the queue's decoders and workers, or runs a request that is alone in the server on the event loop.

    Waking a worker and being woken by it takes longer than the run of a small model. A single caller that waits for
    each answer before its next request therefore gains from a run on the event loop. With two such callers it would be
    a loss, because the runs for one can overlap with the calls of the other. So the event loop runs nothing while more
    than one request is in the server, nor soon after.

    Args:
        queue: the queue of admitted requests.
        inline_device: returns the device of a lane on which the event loop may run an image; None if it must not.
        run_inline: runs the batches that wait for the named device on the calling thread; returns whether there were
            any.
        clock: the engine's clock, in seconds.
    """

    def __init__(
        self,
        queue: BatchQueue[RequestPayload],
        inline_device: Callable[[LaneKey], str | None],
        run_inline: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._inline_device_of = inline_device
        self._run_inline = run_inline
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._is_retry_scheduled = False
        self._alone_in_a_row = 0
        self._inline_device: str | None = None

    def request_admitted(self, in_flight: int, lane_with_pixels: LaneKey | None) -> None:
        """Schedules one dispatch for all requests admitted in this iteration of the event loop.

        Args:
            in_flight: number of requests in the server, including this one.
            lane_with_pixels: lane of a request whose image is ready to run; None for an image to decode.
        """
        self._alone_in_a_row = self._alone_in_a_row + 1 if in_flight == 1 else 0
        is_alone = self._alone_in_a_row > _ALONE_IN_A_ROW and self._alone_in_a_row % _THREAD_EVERY
        self._inline_device = self._inline_device_of(lane_with_pixels) if is_alone and lane_with_pixels else None
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._is_scheduled = False
        if self._inline_device is not None and self._ran_inline(self._inline_device):
            return
        if self._queue.notify() and not self._is_retry_scheduled:
            self._is_retry_scheduled = True
            self._loop.call_later(_RETRY_SECONDS, self._notify_again)

    def _ran_inline(self, device: str) -> bool:
        """Runs the request on the event loop; returns whether the queue had anything to run."""
        began = self._clock()
        ran = self._run_inline(device)
        if self._clock() - began > _LONGEST_RUN_SECONDS:
            self._alone_in_a_row = -_IMAGES_LEFT_TO_THREADS
        return ran

    def _notify_again(self) -> None:
        self._is_retry_scheduled = False
        self._inline_device = None
        self._notify()
