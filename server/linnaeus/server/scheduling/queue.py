"""A queue that decoders and devices pull from.

A device takes a batch at the last instant, when it is free: what arrived while it was busy rides together, and no
timer is needed. Decoders pull in the same way. Each model version has a lane of its own, for a batch is of one model.

One image is one ticket. It is admitted before any work is done for it, and only if its answer is expected in time;
decoded, put, and taken in a batch. Whoever holds a ticket may cancel it at any time. A ticket that was cancelled or
would be late is dropped when the batch is formed: it is never executed, and its neighbours never notice.

`queue_state` and `running_batches` keep the tickets and batches; this file adds the lock, the clock and the waiting.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.scheduling.admission import Arrival
from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.lanes import Lane, LaneLimits
from linnaeus.server.scheduling.queue_state import QueueState
from linnaeus.server.scheduling.running_batches import RunningBatches
from linnaeus.server.scheduling.thread_wakeup import DecoderWakeup, WorkerWakeup
from linnaeus.server.scheduling.tickets import (
    Batch,
    DecodeTurn,
    LaneClosed,
    Payload,
    Priority,
    QueueClosed,
    Stage,
    Ticket,
)


@dataclass(frozen=True, slots=True)
class PredictionError:
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
           `cancel`.
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
        self._state: QueueState[Payload] = QueueState(decoders)
        self._batches: RunningBatches[Payload] = RunningBatches(self._state)
        self._lock = threading.Lock()
        self._worker_wakeup = WorkerWakeup(self._lock, self._state, clock)
        self._decoder_wakeup = DecoderWakeup(self._lock, self._state, clock)
        self._closed = False

    def add_device(self, name: str, workers: int) -> None:
        """Adds a device, so many workers of which are going to `take`."""
        with self._lock:
            self._state.add_device(name, workers)
            self._worker_wakeup.add(name)

    def remove_device(self, name: str, unfinished: Batch[Payload] | None = None) -> list[Ticket[Payload]]:
        """Takes a device out for good: its workers find nothing more. Each worker may call it.

        Args:
            name: a device that was added.
            unfinished: what the worker took and could not run; its tickets wait for another device.

        Returns:
            The tickets that no other device can run; they have left the queue.
        """
        with self._lock:
            stranded = self._batches.remove_device(name, unfinished, self._clock())
            self._state.remove_drained_lanes()
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
            if learn_from in self._state.lanes:
                opened.learn_from(self._state.lanes[learn_from])
            self._state.lanes[lane] = opened

    def close_lane(self, lane: Hashable, on_drained: Callable[[], None]) -> None:
        """Takes no more tickets for a lane; what it holds is served without further delay, then the lane is gone.

        Args:
            lane: an open one that was not closed before.
            on_drained: called once it is gone, from whichever thread finds that out; it must neither wait nor call the
                queue.
        """
        with self._lock:
            self._state.close_lane(self._state.lanes[lane], on_drained)
            self._state.remove_drained_lanes()
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
            found = self._state.lanes.get(lane)
            if self._closed:
                raise QueueClosed
            if found is None or found.closing:
                raise LaneClosed
            arrival = Arrival(payload, deadline, priority, size, caller, is_decoded)
            return self._state.admit(arrival, found, self._clock())

    def notify(self) -> bool:
        """Tells decoders and devices of what was admitted, once for any number of tickets; without it, none looks.

        Returns:
            Whether something was left to a decoder at work, which is as good as done. It may yet be held up: whoever
            called should do so again within milliseconds.
        """
        with self._lock:
            self._worker_wakeup.wake()
            return self._decoder_wakeup.wake(may_defer=True)

    def next_to_decode(self) -> DecodeTurn[Payload] | None:
        """Waits until something should be decoded and returns it; None once the queue is closed and nothing is left."""
        with self._lock:
            self._decoder_wakeup.end_turn()
            while (turn := self._next_to_decode()) is None:
                if self._closed and self._state.has_nothing_to_decode:
                    self._decoder_wakeup.wake_all()  # the others are to end, too
                    return None
                self._decoder_wakeup.wait()
            self._decoder_wakeup.begin_turn()
            self._decoder_wakeup.wake()
            return turn

    def next_to_decode_nowait(self) -> DecodeTurn[Payload] | None:
        """Returns what `next_to_decode` would return at once, or None."""
        with self._lock:
            return self._next_to_decode()

    def put(self, decoded: Mapping[Ticket[Payload], float]) -> list[Ticket[Payload]]:
        """Queues decoded tickets for the devices, but for those that were cancelled meanwhile.

        Args:
            decoded: what `next_to_decode` returned, each with the processor time in seconds that decoding it took.

        Returns:
            Those that no device is left for; they stay where they are until they are cancelled.
        """
        with self._lock:
            now = self._clock()
            stranded = [ticket for ticket in decoded if self._state.is_stranded(ticket)]
            devices: set[str] = set()
            for ticket, seconds in decoded.items():
                if ticket not in stranded and self._state.put(ticket, seconds / self._decoders, now):
                    devices.update(self._state.lanes[ticket.lane].tables)
            self._worker_wakeup.wake(devices)
            return stranded

    def cancel(self, ticket: Ticket[Payload], by_caller: bool = True) -> Stage:
        """Cancels a ticket; returns where it stood, ENDED if it had ended already.

        A ticket that was TAKEN is running and cannot be stopped: its result has to be thrown away.

        Args:
            ticket: one that was admitted.
            by_caller: whether its caller cancelled it, which counts against those who usually do; False if it failed.
        """
        with self._lock:
            stood = self._state.cancel(ticket, by_caller, self._clock())
            self._state.remove_drained_lanes()
            if stood in (Stage.DECODING, Stage.QUEUED):
                self._decoder_wakeup.wake()
            if self._closed:
                self._wake_all()  # a take may be waiting for this very ticket
            return stood

    def mark_answered(self, tickets: Iterable[Ticket[Payload]]) -> None:
        """The callers of these tickets have their answers by now."""
        with self._lock:
            now = self._clock()
            for ticket in tickets:
                self._state.mark_answered(ticket, now)

    def take(self, device: str, finished: Batch[Payload] | None = None, learn: bool = True) -> Batch[Payload] | None:
        """Waits for work and returns it; None once the queue is closed and empty, or the device was taken out.

        Args:
            device: who asks.
            finished: what this worker took before and has run.
            learn: whether the time it took tells of the next ones; that of a batch which failed does not.
        """
        with self._lock:
            self._finish_batch(finished, learn)
            while device in self._state.devices:
                batch = self._form_batch(device)
                if batch is not None:
                    return batch
                if self._closed and self._state.is_idle:
                    self._wake_all()  # the other workers are to end, too
                    return None
                self._worker_wakeup.wait(device)
            return None

    def take_nowait(
        self, device: str, finished: Batch[Payload] | None = None, learn: bool = True
    ) -> Batch[Payload] | None:
        """Returns the batch that `take` would return at once, or None."""
        with self._lock:
            self._finish_batch(finished, learn)
            return self._form_batch(device) if device in self._state.devices else None

    def depth(self, lane: Hashable) -> int:
        """Counts the lane's tickets that wait for a decoder or a device, or are being decoded."""
        with self._lock:
            return self._state.lanes[lane].depth if lane in self._state.lanes else 0

    def prediction_error(self, lane: Hashable) -> PredictionError:
        """How well a lane's answers were predicted of late; of its kinds of tickets, the worst predicted.

        Zeros for a lane that is gone.
        """
        with self._lock:
            now = self._clock()
            if lane not in self._state.lanes:
                return PredictionError(0.0, 0.0)
            worst = [flow.margin.worst(now) for flow in self._state.lanes[lane].flows]
            return PredictionError(
                max((median for median, _ in worst), key=abs), max((most for _, most in worst), key=abs)
            )

    def batch_seconds(self, lane: Hashable) -> dict[str, dict[int, float]]:
        """How long nearly all batches of a lane now take with nothing beside them, by device and size.

        Nothing for a lane that is gone.
        """
        with self._lock:
            now = self._clock()
            if lane not in self._state.lanes:
                return {}
            tables = self._state.lanes[lane].tables.items()
            return {name: {size: table.longest(size, 0, now) for size in table.sizes} for name, table in tables}

    def close(self) -> None:
        """Admits nothing more; what is held still goes out."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def _next_to_decode(self) -> DecodeTurn[Payload] | None:
        are_held = self._state.has_held_tickets
        turn = self._state.next_to_decode(self._clock(), self._closed)
        if are_held:
            self._worker_wakeup.wake()  # one that is not any more may need no decoder
        self._state.remove_drained_lanes()
        return turn

    def _finish_batch(self, batch: Batch[Payload] | None, learn: bool) -> None:
        if batch is not None:
            self._batches.finish_batch(batch, self._clock(), learn)
            self._state.remove_drained_lanes()
            if self._closed:
                self._wake_all()  # workers wait for the last batch, which might have come back

    def _form_batch(self, name: str) -> Batch[Payload] | None:
        device = self._state.devices[name]
        batch = self._batches.form_batch(device, self._clock(), self._closed)
        self._state.remove_drained_lanes()
        if batch is None:
            return None
        self._worker_wakeup.wake()
        self._decoder_wakeup.wake()
        return batch

    def _wake_all(self) -> None:
        self._decoder_wakeup.wake_all()
        self._worker_wakeup.wake_all()
