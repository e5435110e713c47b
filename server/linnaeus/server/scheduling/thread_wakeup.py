"""Who sleeps before the queue and who is woken: no more threads than there is work for, and none too late.

Waking a thread costs as much as decoding a small picture, so none is woken for what another will see to just as soon.
Everything here belongs to the queue's lock; what there is to do, the ledger says.
"""

import threading
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.queue_state import TURN_SECONDS, Ledger
from linnaeus.server.scheduling.tickets import Payload

# A decoder that has been at its turn for longer than this has met a picture that takes much longer than it should.
_LONGEST_TURN_SECONDS = 2 * TURN_SECONDS


class _Sleepers:
    """Threads that wait for work. The last to fall asleep is woken first: its caches and its memory are still warm.

    Attributes:
        until: when the first of them wakes by itself.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.until = inf
        self._lock = lock
        self._beds: list[threading.Condition] = []

    def __len__(self) -> int:
        return len(self._beds)

    def sleep(self, seconds: float | None) -> None:
        """Waits until woken, or for so long."""
        bed = threading.Condition(self._lock)
        self._beds.append(bed)
        bed.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        if bed in self._beds:
            self._beds.remove(bed)
        self.until = inf  # whoever still waits may be woken in vain, but nobody too late

    def wake(self) -> None:
        """Wakes one, if any sleeps."""
        if self._beds:
            self._beds.pop().notify()

    def wake_all(self) -> None:
        """Wakes every one."""
        while self._beds:
            self.wake()


class Streams(Generic[Payload]):
    """The streams of all devices.

    Args:
        lock: the queue's.
        ledger: what there is to do.
        clock: the queue's.
    """

    def __init__(self, lock: threading.Lock, ledger: Ledger[Payload], clock: Callable[[], float]) -> None:
        self._lock = lock
        self._ledger = ledger
        self._clock = clock
        self._sleepers: dict[str, _Sleepers] = {}

    def add(self, device: str) -> None:
        """Adds a device's streams, none of which sleeps yet."""
        self._sleepers[device] = _Sleepers(self._lock)

    def sleep(self, device: str) -> None:
        """Waits until woken, or until a batch is due."""
        sleepers, now = self._sleepers[device], self._clock()
        seconds = self._ledger.policy.wait_seconds(self._ledger.devices[device], now)
        sleepers.until = inf if seconds is None else now + seconds
        sleepers.sleep(seconds)

    def wake(self, devices: Iterable[str] | None = None) -> None:
        """Wakes a stream of these devices, or of any, where there is work earlier than it knows."""
        now = self._clock()
        for name in self._sleepers if devices is None else devices:
            sleepers, device = self._sleepers.get(name), self._ledger.devices.get(name)
            if sleepers is None or device is None or not len(sleepers):
                continue
            seconds = self._ledger.policy.wait_seconds(device, now)
            if seconds is not None and now + seconds < sleepers.until:
                sleepers.until = now + seconds
                sleepers.wake()
                if seconds <= 0:
                    return  # who takes it wakes the next, if there is more

    def wake_all(self) -> None:
        """Has every stream look about."""
        for sleepers in self._sleepers.values():
            sleepers.wake_all()


class DecoderThreads(Generic[Payload]):
    """The threads that decode.

    Args:
        lock, ledger, clock: as above.
    """

    def __init__(self, lock: threading.Lock, ledger: Ledger[Payload], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._sleepers = _Sleepers(lock)
        self._turns_began: dict[int, float] = {}

    def begin_turn(self) -> None:
        """The calling thread has something to decode, and comes back for more."""
        self._turns_began[threading.get_ident()] = self._clock()

    def end_turn(self) -> None:
        """The calling thread is back."""
        self._turns_began.pop(threading.get_ident(), None)

    def sleep(self) -> None:
        """Waits until woken, or until a ticket that is held back is not any more."""
        now = self._clock()
        seconds = self._ledger.release_in(now)
        self._sleepers.until = inf if seconds is None else now + seconds
        self._sleepers.sleep(seconds)

    def wake(self, may_leave: bool = False) -> bool:
        """Wakes one, if there is need for another; who has more to do than one turn wakes the next.

        Args:
            may_leave: whether something small may be left to one that is at work and as good as back. That one may be
                held up by a picture that takes longer than it should, so only whoever asks again may say so.

        Returns:
            Whether it was.
        """
        if not len(self._sleepers) or self._ledger.is_decoded:
            return False
        now = self._clock()
        seconds = self._ledger.release_in(now)
        is_sooner = seconds is not None and now + seconds < self._sleepers.until
        is_small = self._ledger.decodes_next_within(TURN_SECONDS)
        if may_leave and is_small and not is_sooner and self._one_is_soon_back(now):
            return True
        if is_sooner or is_small is not None:
            self._sleepers.wake()
        return False

    def wake_all(self) -> None:
        """Has every one look about."""
        self._sleepers.wake_all()

    def _one_is_soon_back(self, now: float) -> bool:
        return any(now - began < _LONGEST_TURN_SECONDS for began in self._turns_began.values())
