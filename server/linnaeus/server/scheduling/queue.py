"""The batch queue, which decoders and devices pull from.

A worker takes a batch when it is free, as late as possible, so requests that arrive meanwhile join the next batch and
no timer is needed. Decoders pull in the same way. Each loaded model version has its own lane, because a batch is of one
model.

One image is one ticket. It is admitted before any work is done for it, and only if its answer is expected in time; then
it is decoded, put, and taken in a batch. A ticket may be cancelled at any time. A ticket that was cancelled or would be
late is dropped when the batch is formed: it is not executed and does not affect the rest of the batch.

`queue_state` and `running_batches` hold the tickets and batches; this module adds the lock, the clock and the waiting.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.scheduling.admission import Arrival
from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.decode_costs import UNKNOWN_WORK, DecodeWork
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
    """The recent error of a lane's predictions, in seconds; positive where answers came later than predicted.

    Attributes:
        median_error_seconds: the median error.
        margin_seconds: what is added to estimates at present, so that nearly all hold.
    """

    median_error_seconds: float
    margin_seconds: float


class BatchQueue(Generic[Payload]):
    """Lanes of tickets, pulled from in batches. Every method may be called from any thread.

    Invariants:
        1. A ticket is handed out to run at most once (again only if its device was removed), and never after `cancel`.
        2. A ticket is handed out to run only before its deadline.
        3. Within one priority of a lane, a batch takes decoded tickets in the order of their deadlines.
        4. A batch is of one lane and never larger than the lane allows.
        5. While a batch of a lane runs on a device, the device takes another one of it only when that is full, or at
            the last moment that a deadline allows.
        6. After `close`, `take` hands out all tickets that were put or are still to be decoded, then returns None.
        7. After `drain`, no batch waits for more tickets.
        8. After `close_lane`, the lane's tickets are served without delay; then the lane is removed.

    Args:
        clock: monotonic time, in seconds.
        decoders: number of threads that call `next_to_decode`.
        on_displaced: receives a ticket that had to leave a full lane, on the thread that called `admit`, without the
            lock.
        runs_short_apart: whether batches of lanes with short runs are handed out by `take_short` alone.

    Attributes:
        on_decodable: called, with the lock held, when there may be something for `next_to_decode_nowait`; None if
            decoders block in `next_to_decode`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        decoders: int = 1,
        on_displaced: Callable[[Ticket[Payload]], None] = lambda ticket: None,
        runs_short_apart: bool = False,
    ) -> None:
        self._clock = clock
        self._on_displaced = on_displaced
        self._state: QueueState[Payload] = QueueState(decoders, runs_short_apart)
        self._batches: RunningBatches[Payload] = RunningBatches(self._state)
        self._lock = threading.Lock()
        self._worker_wakeup = WorkerWakeup(self._lock, self._state, clock)
        self._decoder_wakeup = DecoderWakeup(self._lock, self._state, clock)
        self.on_decodable: Callable[[], None] | None = None
        self._draining = False
        self._closed = False

    def add_device(self, name: str, workers: int, of_one_lane: int = 0) -> None:
        """Adds a device.

        Args:
            name: unique.
            workers: number of threads that call `take`.
            of_one_lane: how many of them may run one lane at once; 0 for all.
        """
        with self._lock:
            self._state.add_device(name, workers, of_one_lane)
            self._worker_wakeup.add(name)

    def remove_device(self, name: str, unfinished: Batch[Payload] | None = None) -> list[Ticket[Payload]]:
        """Removes a device for good; its workers receive no more batches. Each of its workers may call this.

        Args:
            name: a device that was added.
            unfinished: the batch that the calling worker took and could not run; its tickets wait for another device.

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
            lane: the lane's key; unique.
            limits: the lane's limits.
            tables: batch latencies, by device.
            learn_from: a lane of the same model whose measurements replace those in `tables`; ignored if it is not
                open.
        """
        with self._lock:
            opened: Lane[Payload] = Lane(lane, limits, tables)
            if learn_from in self._state.lanes:
                opened.learn_from(self._state.lanes[learn_from])
            self._state.lanes[lane] = opened

    def close_lane(self, lane: Hashable, on_drained: Callable[[], None]) -> None:
        """Stops admission to a lane; its tickets are served without further delay, then the lane is removed.

        Args:
            lane: an open lane that was not closed before.
            on_drained: called when the lane is removed, on the thread that removes it, with the lock held; it must
                neither block nor call the queue.
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
        work: DecodeWork | None = UNKNOWN_WORK,
        caller: str = "",
    ) -> Ticket[Payload]:
        """Admits a request before any work is done for it; the caller then calls `notify`.

        Args:
            lane: an open lane.
            payload: what decoders and devices need.
            deadline: time of the clock after which the answer is useless; None for no deadline.
            priority: the priority class.
            work: what the image's header says of the work of decoding it; None if the payload needs no decoder.
            caller: identity of the caller, empty if unknown; callers share a full queue, and those that usually cancel
                are held back on a busy device.

        Raises:
            QueueClosed: if the queue is closed.
            LaneClosed: if the lane is closed or does not exist.
            NoDevice: if all devices of the lane have been removed.
            QueueFull: if the lane is full, and no ticket in it may be displaced.
            TooLate: if the deadline has passed, or is before the expected answer.
        """
        with self._lock:
            opened = self._state.lanes.get(lane)
            if self._closed:
                raise QueueClosed
            if opened is None or opened.closing:
                raise LaneClosed
            arrival = Arrival(payload, deadline, priority, work, caller)
            ticket, displaced = self._state.admit(arrival, opened, self._clock())
        if displaced is not None:
            self._on_displaced(displaced)
        return ticket

    def notify(self) -> bool:
        """Wakes decoders and workers for the tickets that were admitted; one call covers any number of tickets.

        Returns:
            Whether a ticket was left to a decoder that is busy but expected to return soon. The decoder may be delayed,
            so the caller repeats the call within milliseconds.
        """
        with self._lock:
            self._worker_wakeup.wake()
            return self._decoder_wakeup.wake(may_defer=True)

    def next_to_decode(self, finished: DecodeTurn[Payload] | None = None) -> DecodeTurn[Payload] | None:
        """Blocks until there is something to decode, and returns it; None if the queue is closed and all is decoded.

        Args:
            finished: the calling decoder's previous turn.
        """
        with self._lock:
            self._decoder_wakeup.end_turn()
            self._end_turn(finished)
            while (turn := self._next_to_decode()) is None:
                if self._closed and self._state.has_nothing_to_decode:
                    self._decoder_wakeup.wake_all()  # the other decoders must return, too
                    return None
                self._decoder_wakeup.wait()
            self._decoder_wakeup.begin_turn()
            self._decoder_wakeup.wake()
            return turn

    def next_to_decode_nowait(self, finished: DecodeTurn[Payload] | None = None) -> DecodeTurn[Payload] | None:
        """Returns what `next_to_decode` would return without blocking, or None."""
        with self._lock:
            self._end_turn(finished)
            return self._next_to_decode()

    def put(self, decoded: Mapping[Ticket[Payload], float]) -> list[Ticket[Payload]]:
        """Queues decoded tickets for the devices, except those that were cancelled meanwhile.

        Args:
            decoded: tickets from `next_to_decode`, each with the CPU seconds that decoding it took.

        Returns:
            The tickets that no device is left for; they stay in the queue until they are cancelled.
        """
        with self._lock:
            now = self._clock()
            stranded = [ticket for ticket in decoded if self._state.is_stranded(ticket)]
            devices: set[str] = set()
            for ticket, seconds in decoded.items():
                if ticket not in stranded and self._state.put(ticket, seconds, now):
                    devices.update(self._state.lanes[ticket.lane].tables)
            self._worker_wakeup.wake(devices)
            return stranded

    def give_back(self, tickets: Iterable[Ticket[Payload]]) -> list[Ticket[Payload]]:
        """Returns tickets from `next_to_decode` that the caller has not begun to the queue, for any decoder to take.

        Returns:
            The tickets that no device is left for; they stay in the queue until they are cancelled.
        """
        with self._lock:
            stranded = [ticket for ticket in tickets if not self._state.give_back(ticket)]
            self._decoder_wakeup.wake()
            return stranded

    def cancel(self, ticket: Ticket[Payload], by_caller: bool = True) -> Stage:
        """Cancels a ticket.

        Args:
            ticket: a ticket that was admitted.
            by_caller: whether the caller cancelled it, which counts towards `cancelling_callers`; False if it failed.

        Returns:
            The stage that the ticket was at. TAKEN: it is running and cannot be stopped, so its result must be
            discarded. ENDED: it had ended already.
        """
        with self._lock:
            stood = self._state.cancel(ticket, by_caller, self._clock())
            self._state.remove_drained_lanes()
            if stood in (Stage.DECODING, Stage.QUEUED):
                self._decoder_wakeup.wake()
                if self.on_decodable is not None and not self._state.has_nothing_to_decode:
                    self.on_decodable()
            if self._closed:
                self._wake_all()  # `take` may be waiting for this ticket
            return stood

    def mark_answered(self, tickets: Iterable[Ticket[Payload]]) -> None:
        """Records that these tickets have been answered."""
        with self._lock:
            now = self._clock()
            for ticket in tickets:
                self._state.mark_answered(ticket, now)

    def take(self, device: str, finished: Batch[Payload] | None = None, learn: bool = True) -> Batch[Payload] | None:
        """Blocks until a batch is due and returns it; None once the queue is closed and empty or the device is removed.

        Args:
            device: the calling worker's device.
            finished: the worker's previous batch, which has run.
            learn: whether to record the previous batch's duration; False for a batch that failed.
        """
        with self._lock:
            self._finish_batch(finished, learn)
            while device in self._state.devices:
                batch = self._form_batch(device)
                if batch is not None:
                    return batch
                if self._closed and self._state.is_idle:
                    self._wake_all()  # the other workers must return, too
                    return None
                self._worker_wakeup.wait(device)
            return None

    def take_nowait(
        self, device: str, finished: Batch[Payload] | None = None, learn: bool = True
    ) -> Batch[Payload] | None:
        """Returns the batch that `take` would return without blocking, or None."""
        with self._lock:
            self._finish_batch(finished, learn)
            return self._form_batch(device) if device in self._state.devices else None

    def take_short(self, device: str) -> Batch[Payload] | None:
        """Returns a batch of a lane with short runs that is due; the caller runs it and calls `finish`.

        Returns:
            None if none is due, or lanes with short runs are run by `take` like others.
        """
        with self._lock:
            if not self._state.policy.runs_short_apart or device not in self._state.devices:
                return None
            return self._form_batch(device, short=True)

    def finish(self, batch: Batch[Payload], learn: bool = True) -> None:
        """Records the end of a batch that `take_short` returned; `learn` as in `take`."""
        with self._lock:
            self._finish_batch(batch, learn)

    def seconds_until_work(self) -> float | None:
        """Returns the seconds until `take_short` or `next_to_decode_nowait` have work; None until something changes."""
        with self._lock:
            now = self._clock()
            devices = self._state.devices.values() if self._state.policy.runs_short_apart else ()
            waits = [self._state.policy.wait_seconds(device, now, True, self._draining) for device in devices]
            waits.append(self._state.next_release_seconds(now))
            return min((seconds for seconds in waits if seconds is not None), default=None)

    def end_turn(self, turn: DecodeTurn[Payload]) -> None:
        """Records that a decoder that does not call `next_to_decode` has come back from a turn."""
        with self._lock:
            self._end_turn(turn)

    def depth(self, lane: Hashable) -> int:
        """Returns the number of the lane's tickets that no device has taken; 0 for a lane that does not exist."""
        with self._lock:
            return self._state.lanes[lane].depth if lane in self._state.lanes else 0

    def prediction_error(self, lane: Hashable) -> PredictionError:
        """Returns the recent prediction error of the lane's worst predicted flow; zeros if there is no such lane."""
        with self._lock:
            now = self._clock()
            if lane not in self._state.lanes:
                return PredictionError(0.0, 0.0)
            worst = [flow.margin.worst(now) for flow in self._state.lanes[lane].flows]
            return PredictionError(
                max((median for median, _ in worst), key=abs), max((most for _, most in worst), key=abs)
            )

    def batch_seconds(self, lane: Hashable) -> dict[str, dict[int, float]]:
        """Returns the 90th percentile of batch seconds for a batch that runs alone, by device and batch size.

        Empty for a lane that does not exist.
        """
        with self._lock:
            now = self._clock()
            if lane not in self._state.lanes:
                return {}
            tables = self._state.lanes[lane].tables.items()
            return {name: {size: table.longest(size, 0, now) for size in table.sizes} for name, table in tables}

    def drain(self) -> None:
        """Serves tickets without further delay from now on; admission goes on."""
        with self._lock:
            self._draining = True
            self._wake_all()

    def close(self) -> None:
        """Stops admission; the tickets in the queue are still served, without further delay."""
        with self._lock:
            self._draining = self._closed = True
            self._wake_all()

    def _next_to_decode(self) -> DecodeTurn[Payload] | None:
        are_held = self._state.has_held_tickets
        turn = self._state.next_to_decode(self._clock(), self._draining)
        if are_held:
            self._worker_wakeup.wake()  # a ticket that is no longer held may need no decoder
        self._state.remove_drained_lanes()
        return turn

    def _end_turn(self, turn: DecodeTurn[Payload] | None) -> None:
        if turn is not None:
            self._state.end_turn(turn)

    def _finish_batch(self, batch: Batch[Payload] | None, learn: bool) -> None:
        if batch is not None:
            self._batches.finish_batch(batch, self._clock(), learn)
            self._state.remove_drained_lanes()
            if self._closed:
                self._wake_all()  # the workers wait for the last batch, whose tickets might have been requeued

    def _form_batch(self, name: str, short: bool = False) -> Batch[Payload] | None:
        device = self._state.devices[name]
        batch = self._batches.form_batch(device, self._clock(), self._draining, short)
        self._state.remove_drained_lanes()
        if batch is None:
            return None
        self._worker_wakeup.wake()
        self._decoder_wakeup.wake()
        if self.on_decodable is not None and not self._state.has_nothing_to_decode:
            self.on_decodable()
        return batch

    def _wake_all(self) -> None:
        self._decoder_wakeup.wake_all()
        self._worker_wakeup.wake_all()
