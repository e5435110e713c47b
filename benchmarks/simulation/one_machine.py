"""Simulates a queue under load: arrivals, decoders and devices are events on one clock, and nothing sleeps."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from linnaeus.server.scheduling import (
    UNKNOWN_WORK,
    Batch,
    BatchQueue,
    DecodeTurn,
    DecodeWork,
    LaneLimits,
    LatencyTable,
    NoDevice,
    Priority,
    QueueFull,
    Ticket,
    TooLate,
)


@dataclass(eq=False)
class Call:
    """A call and its outcome."""

    model: str
    sent_at: float
    deadline: float | None
    priority: Priority
    caller: str = ""
    work: DecodeWork = UNKNOWN_WORK
    decode_seconds: float = 0.0
    outcome: str = ""
    ended_at: float = 0.0
    ticket: Ticket["Call"] | None = None

    @property
    def in_time(self) -> bool:
        return self.outcome == "answered" and (self.deadline is None or self.ended_at <= self.deadline)


@dataclass(frozen=True)
class SimulatedModel:
    """A model: seconds per batch that runs alone, by size, and seconds to decode an image."""

    batch_seconds: dict[int, float]
    decode_seconds: float = 0.0


@dataclass(frozen=True)
class Sender:
    """How one caller's requests are.

    Attributes:
        name: the caller's identity.
        timeout: seconds until the deadline; None for none.
        patience: seconds after which it cancels; None if it waits.
        work: what its images' headers say; None for what the model's images are like.
        decode_seconds: how long decoding them takes in truth.
    """

    name: str = ""
    timeout: float | None = None
    priority: Priority = Priority.NORMAL
    patience: float | None = None
    work: DecodeWork | None = None
    decode_seconds: float = 0.0


@dataclass
class Simulation:
    """A machine with workers that share its cores: with `concurrent` other batches a run takes that much longer.

    Devices share only the decoders.

    Attributes:
        slowness: how much slower than at warm-up everything is, by time.
        pause: from when until when the whole machine stands still.
        speeds: the speed of each device relative to the model's times, already measured at warm-up.
    """

    models: dict[str, SimulatedModel]
    workers: int = 2
    decoders: int = 2
    devices: tuple[str, ...] = ("device",)
    limits: dict[str, LaneLimits] = field(default_factory=dict)
    slowness: Callable[[float], float] = lambda now: 1.0
    pause: tuple[float, float] = (inf, inf)
    noise: float = 0.1
    seed: int = 1
    speeds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.chance = random.Random(self.seed)
        self.queue: BatchQueue[Call] = BatchQueue(
            lambda: self.now, self.decoders, on_displaced=lambda ticket: self._dropped([ticket])
        )
        for name, model in self.models.items():
            limits = self.limits.get(name) or LaneLimits(max(model.batch_seconds), 512)
            self.queue.open_lane(name, limits, {each: self._warm_up(model, each) for each in self.devices})
        for each in self.devices:
            self.queue.add_device(each, self.workers)
        self.calls: list[Call] = []
        self.batches: list[Batch[Call]] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._idle_workers = [device for device in self.devices for _ in range(self.workers)]
        self._idle_decoders = self.decoders
        self._finished_turns: list[DecodeTurn[Call]] = []
        self._running = 0
        self._batches_on: dict[str, list[Batch[Call]]] = {}

    def _warm_up(self, model: SimulatedModel, device: str) -> LatencyTable:
        return LatencyTable({size: run / self._speed(device) for size, run in model.batch_seconds.items()})

    def _speed(self, device: str) -> float:
        return self.speeds.get(device, 1.0)

    def lose(self, device: str, at: float) -> None:
        """Schedules the failure of a device; its batches are requeued."""
        self._at(at, self._lose, device)

    def send(
        self, model: str, at: Iterable[float], timeout: float | None, priority: Priority = Priority.NORMAL
    ) -> None:
        self.send_as(Sender(timeout=timeout, priority=priority), model, at)

    def send_as(self, sender: Sender, model: str, at: Iterable[float]) -> None:
        for moment in at:
            self._at(moment, self._arrive, model, sender)

    def poisson(self, rate: float, start: float, end: float) -> list[float]:
        moments = []
        now = start
        while (now := now + self.chance.expovariate(rate)) < end:
            moments.append(now)
        return moments

    def run(self) -> None:
        while self._events:
            moment, _, what, arguments = heapq.heappop(self._events)
            self.now = self.pause[1] if self.pause[0] <= moment < self.pause[1] else max(moment, self.now)
            what(*arguments)
            self._pull()

    def goodput(self, start: float, end: float, model: str = "") -> float:
        """Returns the calls per second that were sent in this period and answered in time."""
        sent = (call for call in self.calls if start <= call.sent_at < end and call.model in (model or call.model))
        return sum(call.in_time for call in sent) / (end - start)

    def answered(self, start: float, end: float, model: str = "") -> float:
        """Returns the calls per second that were answered in this period, in time or not."""
        ended = (call for call in self.calls if call.outcome == "answered" and call.model in (model or call.model))
        return sum(start <= call.ended_at < end for call in ended) / (end - start)

    def _at(self, moment: float, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._order), what, arguments))

    def _arrive(self, model: str, sender: Sender) -> None:
        deadline = None if sender.timeout is None else self.now + sender.timeout
        work = sender.work or DecodeWork(model, 200_000)
        decode_seconds = sender.decode_seconds if sender.work else self.models[model].decode_seconds
        call = Call(model, self.now, deadline, sender.priority, sender.name, work, decode_seconds)
        self.calls.append(call)
        try:
            call.ticket = self.queue.admit(model, call, deadline, sender.priority, work, sender.name)
        except (TooLate, QueueFull, NoDevice) as refusal:
            call.outcome, call.ended_at = type(refusal).__name__, self.now
        else:
            if call.deadline is not None:
                self._at(call.deadline, self._expire, call)
            if sender.patience is not None:
                self._at(self.now + sender.patience, self._expire, call)

    def _expire(self, call: Call) -> None:
        """Cancels a call at its deadline, or when its caller's patience ends."""
        if not call.outcome and call.ticket is not None:
            self.queue.cancel(call.ticket)
            call.outcome, call.ended_at = "expired", self.now

    def _pull(self) -> None:
        while self._idle_decoders and (turn := self.queue.next_to_decode_nowait(self._finished_turn())) is not None:
            self._dropped(turn.late)
            if turn.tickets:
                self._idle_decoders -= 1
                stretch = self.slowness(self.now)
                decoded = {each: each.payload.decode_seconds * stretch for each in turn.tickets}
                seconds = sum(decoded.values()) * (1.0 + self._running / max(self.workers, 1))
                self._at(self.now + seconds, self._decoded, decoded, turn)
            else:
                self._finished_turns.append(turn)
        for device in list(self._idle_workers):
            self._take(device, None)

    def _finished_turn(self) -> DecodeTurn[Call] | None:
        return self._finished_turns.pop() if self._finished_turns else None

    def _decoded(self, decoded: dict[Ticket[Call], float], turn: DecodeTurn[Call]) -> None:
        self._idle_decoders += 1
        self._finished_turns.append(turn)
        for stranded in self.queue.put(decoded):
            self.queue.cancel(stranded)
            self._dropped([stranded])

    def _take(self, device: str, finished: Batch[Call] | None) -> None:
        batch = self.queue.take_nowait(device, finished)
        if batch is None:
            return
        self._dropped(batch.late)
        if not batch.tickets:
            return self._take(device, batch)
        self.batches.append(batch)
        self._idle_workers.remove(device)
        self._batches_on.setdefault(device, []).append(batch)
        self._running += 1
        self._at(self.now + self._run_seconds(batch), self._ran, batch)

    def _run_seconds(self, batch: Batch[Call]) -> float:
        model = self.models[str(batch.lane)]
        sizes = sorted(model.batch_seconds)
        above = next(size for size in sizes if size >= len(batch.tickets))
        below = max(size for size in sizes if size <= len(batch.tickets))
        share = 0.0 if above == below else (len(batch.tickets) - below) / (above - below)
        alone = model.batch_seconds[below] * (1 - share) + model.batch_seconds[above] * share
        slowness = (batch.concurrent + 1) * self.slowness(self.now) / self._speed(batch.device)
        return alone * slowness * self.chance.lognormvariate(0.0, self.noise)

    def _lose(self, device: str) -> None:
        self._idle_workers = [each for each in self._idle_workers if each != device]
        self._dropped(self.queue.remove_device(device))
        for batch in self._batches_on.pop(device, []):
            self._running -= 1
            self._dropped(self.queue.remove_device(device, batch))

    def _ran(self, batch: Batch[Call]) -> None:
        if batch not in self._batches_on.get(batch.device, []):
            return  # the device was lost
        self._batches_on[batch.device].remove(batch)
        self._running -= 1
        self._idle_workers.append(batch.device)
        for ticket in batch.tickets:
            if not ticket.payload.outcome:
                ticket.payload.outcome, ticket.payload.ended_at = "answered", self.now
        self.queue.mark_answered(batch.tickets)
        self._take(batch.device, batch)

    def _dropped(self, tickets: list[Ticket[Call]]) -> None:
        for ticket in tickets:
            ticket.payload.outcome, ticket.payload.ended_at = "dropped", self.now
