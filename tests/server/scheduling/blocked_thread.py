"""Threads that block in the queue, for tests: a clock that shows when a thread waits, and the thread itself."""

import threading
from collections.abc import Callable
from typing import Any

from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable

# Far more than any test takes; a forgotten thread would wait for ever.
TIMEOUT_SECONDS = 60


class CountingClock:
    """A clock that counts its readings. A thread reads it under the queue's lock before it waits."""

    def __init__(self) -> None:
        self.now = 1.0
        self._seen = threading.Semaphore(0)

    def __call__(self) -> float:
        self._seen.release()
        return self.now

    def wait(self) -> None:
        """Returns when the clock has been read once more."""
        assert self._seen.acquire(timeout=TIMEOUT_SECONDS)

    def forget(self) -> None:
        while self._seen.acquire(blocking=False):
            pass


class BlockedThread:
    """A thread in one blocking call of the queue, which is known to have begun."""

    def __init__(self, clock: CountingClock, call: Callable[[], Any]) -> None:
        self._returned: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._returned.append(call()), daemon=True)
        clock.forget()
        self._thread.start()
        clock.wait()  # it holds the lock now, and releases it only by waiting or returning

    def result(self) -> Any:
        self._thread.join(timeout=TIMEOUT_SECONDS)
        assert self._returned, "the thread was never woken"
        return self._returned[0]


def queue_and_clock(
    devices: dict[str, int] | None = None, size: int = 4, lanes: str = "ab"
) -> tuple[BatchQueue[str], CountingClock]:
    clock = CountingClock()
    queue: BatchQueue[str] = BatchQueue(clock)
    devices = devices or {"d": 2}
    for lane in lanes:
        queue.open_lane(lane, LaneLimits(size, 100), {device: LatencyTable({1: 1e-6}) for device in devices})
    for name, workers in devices.items():
        queue.add_device(name, workers)
    return queue, clock
