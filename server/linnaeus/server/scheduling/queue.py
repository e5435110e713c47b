"""A queue that decoders and devices pull from.

A device takes a batch at the last instant, when it is free: what arrived while it was busy rides together, and no
timer is needed. Decoders pull in the same way. Each model version has a lane of its own, for a batch is of one model.

One image is one ticket. It is admitted before any work is done for it, and only if its answer is expected in time;
decoded, put, and taken in a batch. Whoever holds a ticket may abandon it at any time. A ticket that was abandoned or
would be late is dropped when the batch is formed: it is never executed, and its neighbours never notice.

`ledger` keeps the tickets; this file adds the lock, the clock and the waiting.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.scheduling.admission import Arrival
from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.lanes import Lane, LaneLimits
from linnaeus.server.scheduling.queue_state import Ledger
from linnaeus.server.scheduling.thread_wakeup import DecoderThreads, Streams
from linnaeus.server.scheduling.tickets import (
    Batch,
    LaneClosed,
    Payload,
    Priority,
    QueueClosed,
    Stage,
    Ticket,
    Turn,
)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How well a lane's answers were predicted of late, in seconds; above 0 where answers came later than predicted.

    Attributes:
        median_error_seconds: the middle error.
        margin_seconds: what is now added to predictions, so that nearly all hold.
    """

    median_error_seconds: float
    margin_seconds: float


class BatchQueue(Generic[Payload]):
    """Lanes of tickets, pulled from in batches. Every method may be called from any thread.

    Invariants:
        1. A ticket is handed out to be run at most once (again only if its device was removed), and never after
           `abandon`.
        2. A ticket handed out to be run had not passed its deadline at that moment.
        3. Of one priority of a lane, a batch takes those that are decoded in the order of their deadlines.
        4. A batch is of one lane and never larger than the lane allows.
        5. While a batch of a lane runs on a device, another is taken there only when it is full, or at the last instant
           that a deadline allows.
        6. After `close`, `take` hands out all that was put or is still to be decoded, then returns None.
        7. After `close_lane`, what the lane holds goes out as ever, at once; then the lane is gone.

    Args:
        clock: seconds.
        decoders: threads that pull with `next_to_decode`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, decoders: int = 1) -> None:
        self._clock = clock
        self._decoders = decoders
        self._ledger: Ledger[Payload] = Ledger(decoders)
        self._lock = threading.Lock()
        self._streams = Streams(self._lock, self._ledger, clock)
        self._decoder_threads = DecoderThreads(self._lock, self._ledger, clock)
        self._closed = False

    def add_device(self, name: str, streams: int) -> None:
        """Adds a device, so many streams of which are going to `take`."""
        with self._lock:
            self._ledger.add_device(name, streams)
            self._streams.add(name)

    def remove_device(self, name: str, unfinished: Batch[Payload] | None = None) -> list[Ticket[Payload]]:
        """Takes a device out for good: its streams find nothing more. Each stream may call it.

        Args:
            name: a device that was added.
            unfinished: what the stream took and could not run; its tickets wait for another device.

        Returns:
            The tickets that no other device can run; they have left the queue.
        """
        with self._lock:
            stranded = self._ledger.remove_device(name, unfinished, self._clock())
            self._ledger.remove_empty()
            self._wake_all()
            return stranded

    def open_lane(
        self,
        lane: Hashable,
        limits: LaneLimits,
        tables: Mapping[str, LatencyTable],
        learn_from: Hashable | None = None,
    ) -> None:
        """Adds a lane that the devices in `tables` may run.

        Args:
            lane: its key, which no other has.
            limits: see there.
            tables: how long its batches take, by device.
            learn_from: a lane of the same model, whose measurements are worth more than the tables; if it is open.
        """
        with self._lock:
            opened: Lane[Payload] = Lane(lane, limits, tables)
            if learn_from in self._ledger.lanes:
                opened.learn_from(self._ledger.lanes[learn_from])
            self._ledger.lanes[lane] = opened

    def close_lane(self, lane: Hashable, emptied: Callable[[], None]) -> None:
        """Takes no more tickets for a lane; what it holds is served without further delay, then the lane is gone.

        Args:
            lane: an open one that was not closed before.
            emptied: called once it is gone, from whichever thread finds that out; it must neither wait nor call the
                queue.
        """
        with self._lock:
            self._ledger.close_lane(self._ledger.lanes[lane], emptied)
            self._ledger.remove_empty()
            self._wake_all()

    def admit(
        self,
        lane: Hashable,
        payload: Payload,
        deadline: float | None = None,
        priority: Priority = Priority.NORMAL,
        size: int = 0,
        caller: str = "",
        is_decoded: bool = False,
    ) -> Ticket[Payload]:
        """Reserves a place, before any work is done; `call` is to follow.

        Args:
            lane: an open one.
            payload: what decoders and devices will need.
            deadline: the clock's time after which the answer is worth nothing; None for never.
            priority: who goes first.
            size: of what is to be decoded, in bytes.
            caller: who asks, as far as is known: those who usually leave are held back on a busy device.
            is_decoded: whether it goes to the devices as it is.

        Raises:
            QueueClosed: the queue is closed.
            LaneClosed: the lane is, or there is none.
            NoDevice: the lane's devices have all been taken out.
            QueueFull: the lane has no place left.
            TooLate: the deadline has passed, or will have by the time of the answer.
        """
        with self._lock:
            found = self._ledger.lanes.get(lane)
            if self._closed:
                raise QueueClosed
            if found is None or found.closing:
                raise LaneClosed
            arrival = Arrival(payload, deadline, priority, size, caller, is_decoded)
            return self._ledger.admit(arrival, found, self._clock())

    def call(self) -> bool:
        """Tells decoders and devices of what was admitted, once for any number of tickets; without it, none looks.

        Returns:
            Whether something was left to a decoder at work, which is as good as done. It may yet be held up: whoever
            called should do so again within milliseconds.
        """
        with self._lock:
            self._streams.wake()
            return self._decoder_threads.wake(may_leave=True)

    def next_to_decode(self) -> Turn[Payload] | None:
        """Waits until something should be decoded and returns it; None once the queue is closed and nothing is left."""
        with self._lock:
            self._decoder_threads.end_turn()
            while (turn := self._next_to_decode()) is None:
                if self._closed and self._ledger.is_decoded:
                    self._decoder_threads.wake_all()  # the others are to end, too
                    return None
                self._decoder_threads.sleep()
            self._decoder_threads.begin_turn()
            self._decoder_threads.wake()
            return turn

    def next_to_decode_nowait(self) -> Turn[Payload] | None:
        """Returns what `next_to_decode` would return at once, or None."""
        with self._lock:
            return self._next_to_decode()

    def put(self, decoded: Mapping[Ticket[Payload], float]) -> list[Ticket[Payload]]:
        """Queues decoded tickets for the devices, but for those that were abandoned meanwhile.

        Args:
            decoded: what `next_to_decode` returned, each with the processor time in seconds that decoding it took.

        Returns:
            Those that no device is left for; they stay where they are until they are abandoned.
        """
        with self._lock:
            now = self._clock()
            stranded = [ticket for ticket in decoded if self._ledger.is_stranded(ticket)]
            devices: set[str] = set()
            for ticket, seconds in decoded.items():
                if ticket not in stranded and self._ledger.put(ticket, seconds / self._decoders, now):
                    devices.update(self._ledger.lanes[ticket.lane].tables)
            self._streams.wake(devices)
            return stranded

    def abandon(self, ticket: Ticket[Payload], left: bool = True) -> Stage:
        """Gives a ticket up; returns where it stood, GONE if it had ended already.

        A ticket that was TAKEN is running and cannot be stopped: its result has to be thrown away.

        Args:
            ticket: one that was admitted.
            left: whether its caller left, which is held against those who usually do; False if it failed.
        """
        with self._lock:
            stood = self._ledger.abandon(ticket, left, self._clock())
            self._ledger.remove_empty()
            if stood in (Stage.DECODING, Stage.QUEUED):
                self._decoder_threads.wake()
            if self._closed:
                self._wake_all()  # a take may be waiting for this very ticket
            return stood

    def answered(self, tickets: Iterable[Ticket[Payload]]) -> None:
        """The callers of these tickets have their answers by now."""
        with self._lock:
            now = self._clock()
            for ticket in tickets:
                self._ledger.answered(ticket, now)

    def take(self, device: str, finished: Batch[Payload] | None = None, learn: bool = True) -> Batch[Payload] | None:
        """Waits for work and returns it; None once the queue is closed and empty, or the device was taken out.

        Args:
            device: who asks.
            finished: what this stream took before and has run.
            learn: whether the time it took tells of the next ones; that of a batch which failed does not.
        """
        with self._lock:
            self._finish(finished, learn)
            while device in self._ledger.devices:
                batch = self._form(device)
                if batch is not None:
                    return batch
                if self._closed and self._ledger.is_idle:
                    self._wake_all()  # the other streams are to end, too
                    return None
                self._streams.sleep(device)
            return None

    def take_nowait(
        self, device: str, finished: Batch[Payload] | None = None, learn: bool = True
    ) -> Batch[Payload] | None:
        """Returns the batch that `take` would return at once, or None."""
        with self._lock:
            self._finish(finished, learn)
            return self._form(device) if device in self._ledger.devices else None

    def depth(self, lane: Hashable) -> int:
        """Counts the lane's tickets that wait for a decoder or a device, or are being decoded."""
        with self._lock:
            return self._ledger.lanes[lane].depth if lane in self._ledger.lanes else 0

    def foreseen(self, lane: Hashable) -> Foreseen:
        """How well a lane's answers were predicted of late; of its kinds of tickets, the worst predicted.

        Zeros for a lane that is gone.
        """
        with self._lock:
            now = self._clock()
            if lane not in self._ledger.lanes:
                return Foreseen(0.0, 0.0)
            worst = [flow.foresight.worst(now) for flow in self._ledger.lanes[lane].flows]
            return Foreseen(max((median for median, _ in worst), key=abs), max((most for _, most in worst), key=abs))

    def batch_seconds(self, lane: Hashable) -> dict[str, dict[int, float]]:
        """How long nearly all batches of a lane now take with nothing beside them, by device and size.

        Nothing for a lane that is gone.
        """
        with self._lock:
            now = self._clock()
            if lane not in self._ledger.lanes:
                return {}
            tables = self._ledger.lanes[lane].tables.items()
            return {name: {size: table.longest(size, 0, now) for size in table.sizes} for name, table in tables}

    def close(self) -> None:
        """Admits nothing more; what is held still goes out."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def _next_to_decode(self) -> Turn[Payload] | None:
        are_held = self._ledger.holds_back
        turn = self._ledger.next_to_decode(self._clock(), self._closed)
        if are_held:
            self._streams.wake()  # one that is not any more may need no decoder
        self._ledger.remove_empty()
        return turn

    def _finish(self, batch: Batch[Payload] | None, learn: bool) -> None:
        if batch is not None:
            self._ledger.finish(batch, self._clock(), learn)
            self._ledger.remove_empty()
            if self._closed:
                self._wake_all()  # streams wait for the last batch, which might have come back

    def _form(self, name: str) -> Batch[Payload] | None:
        device = self._ledger.devices[name]
        batch = self._ledger.form(device, self._clock(), self._closed)
        self._ledger.remove_empty()
        if batch is None:
            return None
        self._streams.wake()
        self._decoder_threads.wake()
        return batch

    def _wake_all(self) -> None:
        self._decoder_threads.wake_all()
        self._streams.wake_all()
