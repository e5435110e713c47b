"""A queue that a device pulls batches from.

A device takes a batch at the last instant, when it is free: what arrived while it was busy rides together, and no
timer is needed. Each model version has a lane of its own, for a batch is of one model; the lane whose first image
has waited longest goes first.

Several streams of one device may take batches. While a batch of a lane runs, another stream takes from that lane only
a full one: what comes meanwhile rides together, instead of being torn into small batches by whoever is free. Another
lane does not wait for the one that runs.

One image is one ticket. It is admitted before any work is done for it (so a full queue costs nothing), put once it
is decoded, and taken in a batch. Whoever holds a ticket may abandon it at any time. A ticket that was abandoned or
whose deadline has passed is dropped when the batch is formed: it is never executed, and its neighbours never notice.

Stop reading here unless you change the queue.
"""

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

Payload = TypeVar("Payload")


class QueueFull(Exception):
    """The lane holds as many tickets as it may."""


class QueueClosed(Exception):
    """The queue, or the lane, takes no more tickets."""


class AlreadyLate(Exception):
    """The deadline had passed before the ticket was asked for."""


class Stage(Enum):
    """Where a ticket stands. It only ever moves forwards."""

    ADMITTED = "decode"
    QUEUED = "queue"
    TAKEN = "inference"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What a lane may hold.

    Attributes:
        max_batch_size: images in one batch at most.
        max_queue_size: tickets admitted and not yet taken, at most.
        max_queue_delay_seconds: how long a batch that is not full waits for more, counted from its first image's
            arrival. 0, the default, never lets a free device wait. A larger value trades latency at low load for
            fuller batches; more than one batch's run is never worth it.
    """

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Ticket(Generic[Payload]):
    """One image's place. Only the queue changes it.

    Attributes:
        lane: the lane it was admitted to.
        deadline: the clock's time after which the answer is worth nothing; None for never.
        payload: what the device needs, once it was put.
        stage: where it stands.
        put_at, taken_at: the clock's times of those two moves; 0.0 before.
    """

    lane: Hashable
    deadline: float | None
    payload: Payload | None = None
    stage: Stage = Stage.ADMITTED
    put_at: float = 0.0
    taken_at: float = 0.0
    order: int = 0

    @property
    def content(self) -> Payload:
        """The payload of a ticket that a device took."""
        if self.payload is None:
            raise LookupError("a ticket that was not put has no content")
        return self.payload


@dataclass(frozen=True, slots=True)
class Batch(Generic[Payload]):
    """What a device takes: tickets to run, in order of arrival, and those dropped because they were late.

    At least one of the two is not empty. `beside` counts the batches that were running when it was taken.
    """

    lane: Hashable
    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]
    beside: int


@dataclass(slots=True, eq=False)
class _Lane(Generic[Payload]):
    limits: LaneLimits
    # By order of arrival; ordered, so that any ticket may leave from the middle at no cost.
    waiting: OrderedDict[int, Ticket[Payload]] = field(default_factory=OrderedDict)
    decoding: int = 0
    running: int = 0

    @property
    def depth(self) -> int:
        return self.decoding + len(self.waiting)

    @property
    def head(self) -> Ticket[Payload]:
        return next(iter(self.waiting.values()))


class BatchQueue(Generic[Payload]):
    """Lanes of tickets, pulled from in batches. Every method may be called from any thread.

    Invariants:
        1. A ticket is handed out by `take` at most once, and never after `abandon`.
        2. A ticket handed out to be run had not passed its deadline at that moment.
        3. Within a lane, tickets are handed out in the order they were put.
        4. A batch is of one lane and never larger than the lane allows.
        5. While a batch of a lane runs, only full ones are taken from it.
        6. After `close`, `take` hands out all that was put or is still being decoded, then returns None.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lanes: dict[Hashable, _Lane[Payload]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._running = 0
        self._order = itertools.count()

    def open_lane(self, lane: Hashable, limits: LaneLimits) -> None:
        """Adds a lane."""
        with self._changed:
            self._lanes[lane] = _Lane(limits)

    def admit(self, lane: Hashable, deadline: float | None = None) -> Ticket[Payload]:
        """Reserves a place, before any work is done.

        Raises:
            QueueClosed: no such lane, or the queue is closed.
            QueueFull: the lane has no place left.
            AlreadyLate: the deadline has passed.
        """
        with self._changed:
            if self._closed or lane not in self._lanes:
                raise QueueClosed
            if deadline is not None and deadline <= self._clock():
                raise AlreadyLate
            held = self._lanes[lane]
            if held.depth >= held.limits.max_queue_size:
                raise QueueFull
            held.decoding += 1
            return Ticket(lane, deadline)

    def put(self, ticket: Ticket[Payload], payload: Payload) -> None:
        """Queues an admitted ticket for the device; does nothing if it was abandoned meanwhile."""
        with self._changed:
            if ticket.stage is not Stage.ADMITTED:
                return
            ticket.stage, ticket.payload = Stage.QUEUED, payload
            ticket.put_at, ticket.order = self._clock(), next(self._order)
            lane = self._lanes[ticket.lane]
            lane.decoding -= 1
            lane.waiting[ticket.order] = ticket
            self._wake_if_due(lane)

    def abandon(self, ticket: Ticket[Payload]) -> Stage:
        """Gives a ticket up; returns where it stood, GONE if it had ended already.

        A ticket that was TAKEN is running and cannot be stopped: its result has to be thrown away.
        """
        with self._changed:
            stood = ticket.stage
            ticket.stage = Stage.GONE
            lane = self._lanes[ticket.lane]
            if stood is Stage.ADMITTED:
                lane.decoding -= 1
            elif stood is Stage.QUEUED:
                del lane.waiting[ticket.order]
                ticket.payload = None  # frees the picture; a device that took the ticket still needs it
            if self._closed:
                self._changed.notify_all()  # a take may be waiting for this very ticket
            return stood

    def take(self, finished: Batch[Payload] | None = None) -> Batch[Payload] | None:
        """Waits for work and returns it; None once the queue is closed and empty.

        Args:
            finished: what this stream took before and has run.
        """
        with self._changed:
            self._finish(finished)
            while True:
                batch, wait_seconds = self._form()
                if batch is not None:
                    for lane in self._lanes.values():
                        self._wake_if_due(lane)
                    return batch
                if self._closed and not any(lane.depth for lane in self._lanes.values()):
                    self._changed.notify_all()  # the other streams are to end, too
                    return None
                self._changed.wait(wait_seconds)

    def take_nowait(self, finished: Batch[Payload] | None = None) -> Batch[Payload] | None:
        """Returns the batch that `take` would return at once, or None."""
        with self._changed:
            self._finish(finished)
            return self._form()[0]

    def depth(self, lane: Hashable) -> int:
        """Counts the lane's tickets that are being decoded or wait for the device."""
        with self._changed:
            return self._lanes[lane].depth if lane in self._lanes else 0

    def close(self) -> None:
        """Admits nothing more; what is held still goes out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wake_if_due(self, lane: _Lane[Payload]) -> None:
        """Wakes a stream only if it will find a batch: being woken for nothing costs others the interpreter."""
        if lane.waiting and self._due_in(lane, self._clock()) is not None:
            self._changed.notify()

    def _finish(self, batch: Batch[Payload] | None) -> None:
        if batch is not None:
            self._lanes[batch.lane].running -= 1
            self._running -= 1

    def _form(self) -> tuple[Batch[Payload] | None, float | None]:
        """Returns a batch if one is due, else the seconds after which one will be (None: not before a change)."""
        now = self._clock()
        wait_seconds: float | None = None
        occupied = [(name, lane) for name, lane in self._lanes.items() if lane.waiting]
        for name, lane in sorted(occupied, key=lambda entry: entry[1].head.order):
            due_in = self._due_in(lane, now)
            if due_in is None:
                continue
            if due_in <= 0:
                return self._pull(name, lane, now), None
            wait_seconds = due_in if wait_seconds is None else min(wait_seconds, due_in)
        return None, wait_seconds

    def _due_in(self, lane: _Lane[Payload], now: float) -> float | None:
        """Seconds until a batch is due; None: not before a change."""
        if self._closed or len(lane.waiting) >= lane.limits.max_batch_size:
            return 0.0
        if lane.running:
            return None
        return lane.head.put_at + lane.limits.max_queue_delay_seconds - now

    def _pull(self, name: Hashable, lane: _Lane[Payload], now: float) -> Batch[Payload]:
        batch: Batch[Payload] = Batch(name, [], [], self._running)
        lane.running += 1
        self._running += 1
        while lane.waiting and len(batch.tickets) < lane.limits.max_batch_size:
            _, ticket = lane.waiting.popitem(last=False)
            late = ticket.deadline is not None and ticket.deadline <= now
            (batch.late if late else batch.tickets).append(ticket)
            ticket.stage, ticket.taken_at = Stage.TAKEN, now
        return batch
