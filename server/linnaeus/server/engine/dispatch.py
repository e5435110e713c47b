"""Brings what was admitted before those who decode and run it, once for each step of the event loop.

Belongs to the event loop's thread. It must not know who asks, nor what is asked.
"""

import asyncio
from collections.abc import Callable

from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue

# What was left to a decoder at work is looked after again this much later.
_RETRY_SECONDS = 0.002
# Images that came one at a time, before another such is taken for alone. Of those one in so many goes to a thread all
# the same: where nothing is ever under way, nobody can be seen to come meanwhile.
_ALONE_IN_A_ROW = 32
_THREAD_EVERY = 16
# Who comes meanwhile waits. A model that takes so long, whatever it took at warm-up, is left to the threads for long.
_LONGEST_RUN_SECONDS = 0.01
_IMAGES_LEFT_TO_THREADS = 1_000


class Dispatcher:
    """Calls decoders and devices, or has an image that is alone in the server run at once, by the event loop itself.

    Waking a device's thread and being woken by it takes longer than the run of a small model. One caller that waits for
    each answer before it asks again gains by doing without; two such callers would lose, whose calls and runs can be
    side by side. So the event loop runs nothing while more than one image is in the server, nor soon after.

    Args:
        queue: where admitted images wait.
        run_inline: runs what waits for the device of that name on the calling thread; says whether there was anything.
        clock: seconds.
    """

    def __init__(
        self, queue: BatchQueue[RequestPayload], run_inline: Callable[[str], bool], clock: Callable[[], float]
    ) -> None:
        self._queue = queue
        self._run_inline = run_inline
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._is_retry_scheduled = False
        self._alone_in_a_row = 0
        self._inline_device: str | None = None

    def request_admitted(self, in_flight: int, inline_device: str | None) -> None:
        """An image waits; it will be seen to when this step of the event loop ends.

        Args:
            in_flight: images in the server, this one included.
            inline_device: the device that the event loop may run it on, because that takes little time; None for none.
        """
        self._alone_in_a_row = self._alone_in_a_row + 1 if in_flight == 1 else 0
        is_alone = self._alone_in_a_row > _ALONE_IN_A_ROW and self._alone_in_a_row % _THREAD_EVERY
        self._inline_device = inline_device if is_alone else None
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
        """Whether the image was there to be run, and was."""
        began = self._clock()
        ran = self._run_inline(device)
        if self._clock() - began > _LONGEST_RUN_SECONDS:
            self._alone_in_a_row = -_IMAGES_LEFT_TO_THREADS
        return ran

    def _notify_again(self) -> None:
        self._is_retry_scheduled = False
        self._inline_device = None
        self._notify()
