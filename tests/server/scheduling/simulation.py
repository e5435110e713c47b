"""A queue under load in simulated time: arrivals, decoders and devices are events on one clock, nothing sleeps."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from linnaeus.server.scheduling import (
    Batch,
    BatchQueue,
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
    """One call and what became of it."""

    model: str
    sent_at: float
    deadline: float | None
    priority: Priority
    outcome: str = ""
    ended_at: float = 0.0
    ticket: Ticket["Call"] | None = None

    @property
    def in_time(self) -> bool:
        return self.outcome == "answered" and (self.deadline is None or self.ended_at <= self.deadline)


@dataclass(frozen=True)
class SimulatedModel:
    """A model: what a batch takes alone on the machine, by size, and what decoding takes."""

    batch_seconds: dict[int, float]
    decode_seconds: float = 0.0


@dataclass
class Simulation:
    """A machine with workers that share its cores: `concurrent` others make a run that much longer.

    Devices share nothing but the decoders. `slowness` says how much slower than measured at warm-up everything is, at a
    time; `speeds` how fast each device really is and is known to be, against the model's times.
    """

    models: dict[str, SimulatedModel]
    workers: int = 2
    decoders: int = 2
    devices: tuple[str, ...] = ("device",)
    limits: dict[str, LaneLimits] = field(default_factory=dict)
    slowness: Callable[[float], float] = lambda now: 1.0
    noise: float = 0.1
    seed: int = 1
    speeds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.chance = random.Random(self.seed)
        self.queue: BatchQueue[Call] = BatchQueue(lambda: self.now, self.decoders)
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
        self._running = 0
        self._batches_on: dict[str, list[Batch[Call]]] = {}

    def _warm_up(self, model: SimulatedModel, device: str) -> LatencyTable:
        return LatencyTable({size: run / self._speed(device) for size, run in model.batch_seconds.items()})

    def _speed(self, device: str) -> float:
        return self.speeds.get(device, 1.0)

    def lose(self, device: str, at: float) -> None:
        """Lets a device fail then: what runs on it is given back."""
        self._at(at, self._lose, device)

    def send(
        self, model: str, at: Iterable[float], timeout: float | None, priority: Priority = Priority.NORMAL
    ) -> None:
        for moment in at:
            self._at(moment, self._arrive, model, timeout, priority)

    def poisson(self, rate: float, start: float, end: float) -> list[float]:
        moments = []
        now = start
        while (now := now + self.chance.expovariate(rate)) < end:
            moments.append(now)
        return moments

    def run(self) -> None:
        while self._events:
            self.now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)
            self._pull()

    def goodput(self, start: float, end: float, model: str = "") -> float:
        """Calls a second that were sent and answered in time."""
        sent = (call for call in self.calls if start <= call.sent_at < end and call.model in (model or call.model))
        return sum(call.in_time for call in sent) / (end - start)

    def answered(self, start: float, end: float, model: str = "") -> float:
        """Calls a second that were answered, in time or not."""
        ended = (call for call in self.calls if call.outcome == "answered" and call.model in (model or call.model))
        return sum(start <= call.ended_at < end for call in ended) / (end - start)

    def _at(self, moment: float, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._order), what, arguments))

    def _arrive(self, model: str, timeout: float | None, priority: Priority) -> None:
        call = Call(model, self.now, None if timeout is None else self.now + timeout, priority)
        self.calls.append(call)
        try:
            call.ticket = self.queue.admit(model, call, call.deadline, priority, size=1)
        except (TooLate, QueueFull, NoDevice) as refusal:
            call.outcome, call.ended_at = type(refusal).__name__, self.now
        else:
            if call.deadline is not None:
                self._at(call.deadline, self._expire, call)

    def _expire(self, call: Call) -> None:
        """The caller gives up at its deadline."""
        if not call.outcome and call.ticket is not None:
            self.queue.cancel(call.ticket)
            call.outcome, call.ended_at = "expired", self.now

    def _pull(self) -> None:
        while self._idle_decoders and (turn := self.queue.next_to_decode_nowait()) is not None:
            self._dropped(turn.late)
            if turn.tickets:
                self._idle_decoders -= 1
                stretch = self.slowness(self.now)
                decoded = {each: self.models[str(each.lane)].decode_seconds * stretch for each in turn.tickets}
                seconds = sum(decoded.values()) * (1.0 + self._running / max(self.workers, 1))
                self._at(self.now + seconds, self._decoded, decoded)
        for device in list(self._idle_workers):
            self._take(device, None)

    def _decoded(self, decoded: dict[Ticket[Call], float]) -> None:
        self._idle_decoders += 1
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
            return  # the device is lost
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
