"""Which threads wait for the queue and which are woken: as few as possible, and none too late.

Waking a thread costs as much as decoding a small image, so no thread is woken for work that a running thread does just
as soon. Everything here is guarded by the queue's lock; `queue_state` holds the work.
"""

import threading
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.queue_state import DECODE_TURN_SECONDS, QueueState
from linnaeus.server.scheduling.tickets import Payload

# A decoder whose turn has lasted longer than this decodes an image that takes longer than expected.
_LONGEST_DECODE_TURN_SECONDS = 2 * DECODE_TURN_SECONDS


class _WaitingThreads:
    """Threads that wait for work. The last one to wait is woken first: its caches and memory are still warm.

    Attributes:
        wakes_at: when the first of them wakes by its timeout, as a time of the clock.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.wakes_at = inf
        self._lock = lock
        self._conditions: list[threading.Condition] = []

    def __len__(self) -> int:
        return len(self._conditions)

    def wait(self, seconds: float | None) -> None:
        """Blocks until woken, or for `seconds`; None for no timeout."""
        condition = threading.Condition(self._lock)
        self._conditions.append(condition)
        condition.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        if condition in self._conditions:
            self._conditions.remove(condition)
        self.wakes_at = inf  # a waiting thread may now be woken needlessly, but never too late

    def wake(self) -> None:
        """Wakes one thread, if any waits."""
        if self._conditions:
            self._conditions.pop().notify()

    def wake_all(self) -> None:
        """Wakes every thread."""
        while self._conditions:
            self.wake()


class WorkerWakeup(Generic[Payload]):
    """Waits and wake-ups of the workers of all devices.

    Args:
        lock: the queue's lock.
        state: the queue's state.
        clock: the queue's clock.
    """

    def __init__(self, lock: threading.Lock, state: QueueState[Payload], clock: Callable[[], float]) -> None:
        self._lock = lock
        self._state = state
        self._clock = clock
        self._waiting: dict[str, _WaitingThreads] = {}

    def add(self, device: str) -> None:
        """Adds a device, none of whose workers waits yet."""
        self._waiting[device] = _WaitingThreads(self._lock)

    def wait(self, device: str) -> None:
        """Blocks until woken, or until a batch is due on the device."""
        waiting, now = self._waiting[device], self._clock()
        seconds = self._state.policy.wait_seconds(self._state.devices[device], now)
        waiting.wakes_at = inf if seconds is None else now + seconds
        waiting.wait(seconds)

    def wake(self, devices: Iterable[str] | None = None) -> None:
        """Wakes a worker where a batch is due earlier than its workers' timeouts.

        Args:
            devices: names of the devices to look at; None for all.
        """
        now = self._clock()
        for name in self._waiting if devices is None else devices:
            waiting, device = self._waiting.get(name), self._state.devices.get(name)
            if waiting is None or device is None or not len(waiting):
                continue
            seconds = self._state.policy.wait_seconds(device, now)
            if seconds is not None and now + seconds < waiting.wakes_at:
                waiting.wakes_at = now + seconds
                waiting.wake()
                if seconds <= 0:
                    return  # the woken worker wakes the next one if there is more

    def wake_all(self) -> None:
        """Wakes every worker."""
        for waiting in self._waiting.values():
            waiting.wake_all()


class DecoderWakeup(Generic[Payload]):
    """Waits and wake-ups of the decoder threads.

    Args:
        lock: the queue's lock.
        state: the queue's state.
        clock: the queue's clock.
    """

    def __init__(self, lock: threading.Lock, state: QueueState[Payload], clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._waiting = _WaitingThreads(lock)
        self._turn_started_at: dict[int, float] = {}

    def begin_turn(self) -> None:
        """Records that the calling thread starts to decode and will come back."""
        self._turn_started_at[threading.get_ident()] = self._clock()

    def end_turn(self) -> None:
        """Records that the calling thread has come back."""
        self._turn_started_at.pop(threading.get_ident(), None)

    def wait(self) -> None:
        """Blocks until woken, or until a held ticket is released."""
        now = self._clock()
        seconds = self._state.next_release_seconds(now)
        self._waiting.wakes_at = inf if seconds is None else now + seconds
        self._waiting.wait(seconds)

    def wake(self, may_defer: bool = False) -> bool:
        """Wakes one decoder if another one is needed; a decoder that finds more than one turn's work wakes the next.

        Args:
            may_defer: whether a small image may be left to a decoder that is expected back soon. That decoder may be
                delayed, so only a caller that repeats the call may pass True.

        Returns:
            Whether the work was left to a busy decoder.
        """
        if not len(self._waiting) or self._state.has_nothing_to_decode:
            return False
        now = self._clock()
        seconds = self._state.next_release_seconds(now)
        is_sooner = seconds is not None and now + seconds < self._waiting.wakes_at
        is_small = self._state.next_decode_fits(DECODE_TURN_SECONDS, now)
        if may_defer and is_small and not is_sooner and self._any_decoder_returns_soon(now):
            return True
        if is_sooner or is_small is not None:
            self._waiting.wake()
        return False

    def wake_all(self) -> None:
        """Wakes every decoder."""
        self._waiting.wake_all()

    def _any_decoder_returns_soon(self, now: float) -> bool:
        return any(now - started < _LONGEST_DECODE_TURN_SECONDS for started in self._turn_started_at.values())
