"""Who sleeps before the queue and who is woken: no more threads than there is work for, and none too late.

Waking a thread costs as much as decoding a small picture, so none is woken for what another will see to just as soon.
Everything here belongs to the queue's lock; what there is to do, `queue_state` knows.
"""

import threading
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.queue_state import DECODE_TURN_SECONDS, QueueState
from linnaeus.server.scheduling.tickets import Payload

# A decoder that has been at its turn for longer than this has met a picture that takes much longer than it should.
_LONGEST_DECODE_TURN_SECONDS = 2 * DECODE_TURN_SECONDS


class _WaitingThreads:
    """Threads that wait for work. The last to fall asleep is woken first: its caches and its memory are still warm.

    Attributes:
        until: when the first of them wakes by itself.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.until = inf
        self._lock = lock
        self._conditions: list[threading.Condition] = []

    def __len__(self) -> int:
        return len(self._conditions)

    def wait(self, seconds: float | None) -> None:
        """Waits until woken, or for so long."""
        condition = threading.Condition(self._lock)
        self._conditions.append(condition)
        condition.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        if condition in self._conditions:
            self._conditions.remove(condition)
        self.until = inf  # whoever still waits may be woken in vain, but nobody too late

    def wake(self) -> None:
        """Wakes one, if any sleeps."""
        if self._conditions:
            self._conditions.pop().notify()

    def wake_all(self) -> None:
        """Wakes every one."""
        while self._conditions:
            self.wake()


class WorkerWakeup(Generic[Payload]):
    """The workers of all devices.

    Args:
        lock: the queue's.
        state: what there is to do.
        clock: the queue's.
    """

    def __init__(self, lock: threading.Lock, state: QueueState[Payload], clock: Callable[[], float]) -> None:
        self._lock = lock
        self._state = state
        self._clock = clock
        self._waiting: dict[str, _WaitingThreads] = {}

    def add(self, device: str) -> None:
        """Adds a device's workers, none of which sleeps yet."""
        self._waiting[device] = _WaitingThreads(self._lock)

    def wait(self, device: str) -> None:
        """Waits until woken, or until a batch is due."""
        waiting, now = self._waiting[device], self._clock()
        seconds = self._state.policy.wait_seconds(self._state.devices[device], now)
        waiting.until = inf if seconds is None else now + seconds
        waiting.wait(seconds)

    def wake(self, devices: Iterable[str] | None = None) -> None:
        """Wakes a worker of these devices, or of any, where there is work earlier than it knows."""
        now = self._clock()
        for name in self._waiting if devices is None else devices:
            waiting, device = self._waiting.get(name), self._state.devices.get(name)
            if waiting is None or device is None or not len(waiting):
                continue
            seconds = self._state.policy.wait_seconds(device, now)
            if seconds is not None and now + seconds < waiting.until:
                waiting.until = now + seconds
                waiting.wake()
                if seconds <= 0:
                    return  # who takes it wakes the next, if there is more

    def wake_all(self) -> None:
        """Has every worker look about."""
        for waiting in self._waiting.values():
            waiting.wake_all()


class DecoderWakeup(Generic[Payload]):
    """The threads that decode.

    Args:
        lock, state, clock: as above.
    """

    def __init__(self, lock: threading.Lock, state: QueueState[Payload], clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._waiting = _WaitingThreads(lock)
        self._turns_began: dict[int, float] = {}

    def begin_turn(self) -> None:
        """The calling thread has something to decode, and comes back for more."""
        self._turns_began[threading.get_ident()] = self._clock()

    def end_turn(self) -> None:
        """The calling thread is back."""
        self._turns_began.pop(threading.get_ident(), None)

    def wait(self) -> None:
        """Waits until woken, or until a ticket that is held back is not any more."""
        now = self._clock()
        seconds = self._state.next_release_seconds(now)
        self._waiting.until = inf if seconds is None else now + seconds
        self._waiting.wait(seconds)

    def wake(self, may_defer: bool = False) -> bool:
        """Wakes one, if there is need for another; who has more to do than one turn wakes the next.

        Args:
            may_defer: whether something small may be left to one that is at work and as good as back. That one may be
                held up by a picture that takes longer than it should, so only whoever asks again may say so.

        Returns:
            Whether it was.
        """
        if not len(self._waiting) or self._state.has_nothing_to_decode:
            return False
        now = self._clock()
        seconds = self._state.next_release_seconds(now)
        is_sooner = seconds is not None and now + seconds < self._waiting.until
        is_small = self._state.decodes_next_within(DECODE_TURN_SECONDS)
        if may_defer and is_small and not is_sooner and self._one_returns_soon(now):
            return True
        if is_sooner or is_small is not None:
            self._waiting.wake()
        return False

    def wake_all(self) -> None:
        """Has every one look about."""
        self._waiting.wake_all()

    def _one_returns_soon(self, now: float) -> bool:
        return any(now - began < _LONGEST_DECODE_TURN_SECONDS for began in self._turns_began.values())
