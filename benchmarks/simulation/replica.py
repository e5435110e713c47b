"""One server: the batch queue that serves, with simulated decoders and devices."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmarks.simulation.calls import ANSWERED, DROPPED, EXPIRED, Call
from benchmarks.simulation.events import Events
from benchmarks.simulation.shared_cores import SharedCores
from linnaeus.server.scheduling import (
    Batch,
    BatchQueue,
    DecodeTurn,
    LaneLimits,
    LatencyTable,
    NoDevice,
    QueueFull,
    Ticket,
    TooLate,
)


@dataclass(frozen=True)
class SimulatedModel:
    """A model: seconds per batch that runs alone, by size, and seconds to decode an image."""

    batch_seconds: dict[int, float]
    decode_seconds: float = 0.0

    def run_seconds(self, size: int) -> float:
        """Returns the seconds of a batch that runs alone: interpolated between the sizes."""
        if (exact := self.batch_seconds.get(size)) is not None:
            return exact
        above = min(each for each in self.batch_seconds if each > size)
        below = max(each for each in self.batch_seconds if each < size)
        share = (size - below) / (above - below)
        return self.batch_seconds[below] * (1 - share) + self.batch_seconds[above] * share

    def slower(self, factor: float) -> "SimulatedModel":
        """Returns the model on a machine where everything takes so many times longer."""
        batches = {size: factor * seconds for size, seconds in self.batch_seconds.items()}
        return SimulatedModel(batches, factor * self.decode_seconds)


def as_measured(now: float) -> float:
    """Returns the slowness of a machine that stays as its warm-up found it; not a lambda, as processes send it."""
    return 1.0


@dataclass(frozen=True)
class Machine:
    """What a server runs on.

    The workers of a device share its cores. With `shared_cores` they do so at every moment. Without, a batch that
    begins beside others takes that much longer, and they do not: the estimates assume the same.

    Attributes:
        models: by name.
        workers: of each device.
        decoders: threads that decode.
        devices: their names; they share only the decoders.
        limits: of each model; by default its largest batch, and a queue of 512.
        slowness: how much slower than at warm-up everything is, by time.
        speeds: the speed of each device relative to the model's times, already measured at warm-up.
        noise: the standard deviation of the logarithm of a batch's time; unless `run_factor` is given.
        run_factor: draws what the time of a batch is multiplied by.
        call_seconds: processor time that a call takes beyond decoding and the model, refused or not.
        shared_cores: cores that calls and decoders take from the batches; 0 if they have cores of their own.
    """

    models: dict[str, SimulatedModel]
    workers: int = 2
    decoders: int = 2
    devices: tuple[str, ...] = ("device",)
    limits: dict[str, LaneLimits] = field(default_factory=dict)
    slowness: Callable[[float], float] = as_measured
    speeds: dict[str, float] = field(default_factory=dict)
    noise: float = 0.1
    run_factor: Callable[[random.Random], float] | None = None
    call_seconds: float = 0.0
    shared_cores: int = 0

    def speed(self, device: str) -> float:
        """Returns the speed of a device relative to the models' times."""
        return self.speeds.get(device, 1.0)

    def slower(self, factor: float) -> "Machine":
        """Returns a machine on which everything takes so many times longer, as its warm-up has measured."""
        models = {name: each.slower(factor) for name, each in self.models.items()}
        return replace(self, models=models, call_seconds=factor * self.call_seconds)

    def limits_of(self, model: str) -> LaneLimits:
        """Returns the limits of a model's lane."""
        return self.limits.get(model) or LaneLimits(max(self.models[model].batch_seconds), 512)

    def warm_up(self, model: str) -> dict[str, LatencyTable]:
        """Returns what a warm-up would measure of a model on each device."""
        seconds = self.models[model].batch_seconds
        return {
            each: LatencyTable({size: run / self.speed(each) for size, run in seconds.items()}) for each in self.devices
        }


class Replica:
    """A server on a machine. Every call that is received ends once, by `on_end`.

    Args:
        events: the simulation's.
        machine: what it runs on.
        chance: the source of its noise.
        on_end: receives each call that has ended, with `outcome` and `ended_at` set.
        on_batch: receives each batch that begins.

    Attributes:
        queue: the queue that serves.
        models: the machine's; more may be added while it runs.
    """

    def __init__(
        self,
        events: Events,
        machine: Machine,
        chance: random.Random,
        on_end: Callable[[Call], None] = lambda call: None,
        on_batch: Callable[[Batch[Call]], None] = lambda batch: None,
    ) -> None:
        self.queue: BatchQueue[Call] = BatchQueue(
            lambda: events.now, machine.decoders, on_displaced=lambda ticket: self._dropped([ticket])
        )
        self.models = dict(machine.models)
        self._events = events
        self._machine = machine
        self._chance = chance
        self._on_end = on_end
        self._on_batch = on_batch
        self._idle_workers = {device: machine.workers for device in machine.devices}
        self._idle_decoders = machine.decoders
        self._batches_on: dict[str, list[Batch[Call]]] = {device: [] for device in machine.devices}
        self._running = 0
        self._cores = SharedCores(events, machine.shared_cores, self._ran) if machine.shared_cores else None
        for name in machine.models:
            self.queue.open_lane(name, machine.limits_of(name), machine.warm_up(name))
        for device in machine.devices:
            self.queue.add_device(device, machine.workers)

    def receive(self, call: Call, deadline: float | None) -> None:
        """Admits a call, or refuses it at once.

        Args:
            call: the call.
            deadline: as this server knows it.
        """
        if self._cores is not None:
            self._cores.take(self._machine.call_seconds)
        try:
            call.ticket = self.queue.admit(call.model, call, deadline, call.priority, call.work, call.caller)
        except QueueFull as full:
            call.wait_seconds = full.wait_seconds
            self._end(call, QueueFull.__name__)
        except (TooLate, NoDevice) as refusal:
            self._end(call, type(refusal).__name__)
        else:
            if deadline is not None:
                self._events.at(deadline, self.expire, call)
            self.pull()

    def expire(self, call: Call) -> None:
        """Cancels a call at its deadline, or when its caller's patience ends; nothing if it has ended."""
        if call.outcome or call.ticket is None:
            return
        self.queue.cancel(call.ticket)
        self._end(call, EXPIRED)
        self.pull()

    def lose(self, device: str) -> None:
        """Lets a device fail: its batches wait for another one, or end if there is none."""
        self._idle_workers[device] = 0
        self._dropped(self.queue.remove_device(device))
        for batch in self._batches_on.pop(device):
            self._running -= 1
            if self._cores is not None:
                self._cores.stop(batch)
            self._dropped(self.queue.remove_device(device, batch))
        self.pull()

    def pull(self) -> None:
        """Lets idle decoders and workers take what is due."""
        while self._idle_decoders and (turn := self.queue.next_to_decode_nowait()) is not None:
            self._dropped(turn.late)
            if turn.tickets:
                self._decode(turn)
            else:
                self.queue.end_turn(turn)
        for device, idle in self._idle_workers.items():
            for _ in range(idle):
                if not self._take(device, None):
                    break

    def _decode(self, turn: DecodeTurn[Call]) -> None:
        self._idle_decoders -= 1
        stretch = self._machine.slowness(self._events.now)
        decoded = {each: each.payload.decode_seconds * stretch for each in turn.tickets}
        alone = sum(decoded.values())
        seconds = alone * (1.0 + self._running / max(self._machine.workers, 1))
        if self._cores is not None:
            self._cores.take(alone)
        self._events.at(self._events.now + seconds, self._decoded, decoded, turn)

    def _decoded(self, decoded: dict[Ticket[Call], float], turn: DecodeTurn[Call]) -> None:
        self._idle_decoders += 1
        self.queue.end_turn(turn)
        for stranded in self.queue.put(decoded):
            self.queue.cancel(stranded)
            self._dropped([stranded])
        self.pull()

    def _take(self, device: str, finished: Batch[Call] | None) -> bool:
        """Lets a worker of the device take a batch; returns whether it has one to run."""
        batch = self.queue.take_nowait(device, finished)
        while batch is not None:
            self._dropped(batch.late)
            if batch.tickets:
                self._run(batch)
                return True
            batch = self.queue.take_nowait(device, batch)
        return False

    def _run(self, batch: Batch[Call]) -> None:
        self._on_batch(batch)
        self._idle_workers[batch.device] -= 1
        self._batches_on[batch.device].append(batch)
        self._running += 1
        alone = self._seconds_alone(batch)
        if self._cores is not None:
            self._cores.run(batch, alone)
        else:
            self._events.at(self._events.now + alone * (batch.concurrent + 1), self._ran, batch)

    def _seconds_alone(self, batch: Batch[Call]) -> float:
        seconds = self.models[str(batch.lane)].run_seconds(len(batch.tickets))
        seconds *= self._machine.slowness(self._events.now) / self._machine.speed(batch.device)
        factor = self._machine.run_factor
        return seconds * (
            self._chance.lognormvariate(0.0, self._machine.noise) if factor is None else factor(self._chance)
        )

    def _ran(self, batch: Batch[Call]) -> None:
        if batch not in self._batches_on.get(batch.device, ()):
            return  # the device was lost
        self._batches_on[batch.device].remove(batch)
        self._running -= 1
        self._idle_workers[batch.device] += 1
        for ticket in batch.tickets:
            if not ticket.payload.outcome:
                self._end(ticket.payload, ANSWERED)
        self.queue.mark_answered(batch.tickets)
        self._take(batch.device, batch)
        self.pull()

    def _dropped(self, tickets: list[Ticket[Call]]) -> None:
        for ticket in tickets:
            self._end(ticket.payload, DROPPED)

    def _end(self, call: Call, outcome: str) -> None:
        call.outcome, call.ended_at = outcome, self._events.now
        self._on_end(call)
