"""Simulates one machine under load, as the tests of scheduling look at it."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from benchmarks.simulation import arrivals
from benchmarks.simulation.calls import ANSWERED, Call, Sender
from benchmarks.simulation.events import Events
from benchmarks.simulation.replica import Machine, Replica, SimulatedModel
from linnaeus.server.scheduling import Batch, BatchQueue, DecodeWork, LaneLimits, Priority


@dataclass
class Simulation:
    """One machine, all calls that it was sent, and all batches that it ran; see `Machine` for the arguments.

    Attributes:
        pause: from when until when the whole machine stands still.
        calls, batches: in the order in which they began.
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
        self.events = Events(self.pause)
        self.chance = random.Random(self.seed)
        self.calls: list[Call] = []
        self.batches: list[Batch[Call]] = []
        machine = Machine(
            *(self.models, self.workers, self.decoders, self.devices, self.limits),
            *(self.slowness, self.speeds, self.noise),
        )
        self.replica = Replica(self.events, machine, self.chance, on_batch=self.batches.append)
        self.models = self.replica.models

    @property
    def queue(self) -> BatchQueue[Call]:
        """The queue that serves."""
        return self.replica.queue

    def at(self, moment: float, what: Callable[..., None], *arguments: Any) -> None:
        """Schedules something that changes the machine; idle threads look for work after it."""

        def happen() -> None:
            what(*arguments)
            self.replica.pull()

        self.events.at(moment, happen)

    def lose(self, device: str, at: float) -> None:
        """Schedules the failure of a device; its batches are requeued."""
        self.events.at(at, self.replica.lose, device)

    def send(
        self, model: str, at: Iterable[float], timeout: float | None, priority: Priority = Priority.NORMAL
    ) -> None:
        """Schedules calls of an unknown caller at these moments."""
        self.send_as(Sender(timeout=timeout, priority=priority), model, at)

    def send_as(self, sender: Sender, model: str, at: Iterable[float]) -> None:
        """Schedules a caller's calls at these moments."""
        for moment in at:
            self.events.at(moment, self.arrive, model, sender)

    def poisson(self, rate: float, start: float, end: float) -> list[float]:
        """Returns random moments, so many a second."""
        return list(arrivals.poisson(self.chance, rate, start, end))

    def run(self) -> None:
        """Runs until nothing happens any more."""
        self.events.run()

    def goodput(self, start: float, end: float, model: str = "") -> float:
        """Returns the calls per second that were sent in this period and answered in time."""
        sent = (call for call in self.calls if start <= call.sent_at < end and call.model in (model or call.model))
        return sum(call.in_time for call in sent) / (end - start)

    def answered(self, start: float, end: float, model: str = "") -> float:
        """Returns the calls per second that were answered in this period, in time or not."""
        ended = (call for call in self.calls if call.outcome == ANSWERED and call.model in (model or call.model))
        return sum(start <= call.ended_at < end for call in ended) / (end - start)

    def arrive(self, model: str, sender: Sender) -> None:
        """Sends a caller's call now."""
        now = self.events.now
        deadline = None if sender.timeout is None else now + sender.timeout
        work = sender.work or DecodeWork(model, 200_000)
        decode_seconds = sender.decode_seconds if sender.work else self.models[model].decode_seconds
        call = Call(model, now, deadline, sender.priority, sender.name, work, decode_seconds)
        self.calls.append(call)
        self.replica.receive(call, deadline)
        if sender.patience is not None and call.ticket is not None:
            self.events.at(now + sender.patience, self.replica.expire, call)
