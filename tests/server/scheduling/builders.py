"""Builders for the scheduling tests: a clock that the test sets, lanes and tickets in a given state, a small queue."""

import itertools
from typing import Any

from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable, Priority, Stage, Ticket
from linnaeus.server.scheduling.lanes import Device, Lane

# 0.1 s per image at any size, so that sums can be checked by hand.
TENTH_AN_IMAGE = {1: 0.1, 8: 0.8}

_orders = itertools.count()


class FakeClock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class CallCounter:
    """An `on_drained` callback that counts its calls."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def new_lane(
    name: str = "a", seconds: dict[int, float] | None = None, devices: str = "d", size: int = 8, **limits: Any
) -> Lane[str]:
    """Returns a lane for devices whose names are the letters of `devices`."""
    tables = {device: LatencyTable(seconds or TENTH_AN_IMAGE) for device in devices}
    return Lane(name, LaneLimits(size, limits.pop("max_queue_size", 100), **limits), tables)


def new_ticket(
    lane: Lane[str],
    payload: str = "",
    deadline: float | None = None,
    priority: Priority = Priority.NORMAL,
    admitted_at: float = 0.0,
    due: float | None = None,
    decode_seconds: float = 0.0,
) -> Ticket[str]:
    when = due if due is not None else 5.0 + admitted_at if deadline is None else deadline
    return Ticket(
        *(lane.name, payload, deadline, priority, when, None, decode_seconds, 0.0, 0.0, admitted_at, next(_orders)),
        predicted_at=None if deadline is None else 0.0,
    )


def queued(lane: Lane[str], payload: str, *arguments: Any, queued_at: float = 0.0, **options: Any) -> Ticket[str]:
    """Adds a decoded ticket that waits for a device."""
    ticket = new_ticket(lane, payload, *arguments, **options)
    ticket.stage, ticket.queued_at = Stage.QUEUED, queued_at
    lane.flows[ticket.priority].decoded.add(ticket)
    lane.flows[ticket.priority].enter(ticket)
    return ticket


def undecoded(lane: Lane[str], payload: str, *arguments: Any, **options: Any) -> Ticket[str]:
    """Adds a ticket that waits for a decoder."""
    ticket = new_ticket(lane, payload, *arguments, **options)
    lane.flows[ticket.priority].undecoded.add(ticket)
    lane.flows[ticket.priority].enter(ticket)
    return ticket


def decoding(lane: Lane[str], payload: str, *arguments: Any, **options: Any) -> Ticket[str]:
    """Adds a ticket that is being decoded."""
    ticket = new_ticket(lane, payload, *arguments, **options)
    ticket.stage = Stage.DECODING
    lane.flows[ticket.priority].decoding.add(ticket)
    lane.flows[ticket.priority].enter(ticket)
    return ticket


def run(device: Device[str], lane: Lane[str], taken_at: float = 0.0, expected_seconds: float = 1.0) -> Batch[str]:
    """Starts a batch of the lane on the device."""
    concurrent = len(device.running)
    batch = Batch(0, lane.name, device.name, [new_ticket(lane)], [], concurrent, taken_at, expected_seconds)
    device.running.append(batch)
    return batch


def payloads(batch: Any) -> list[str]:
    assert batch is not None, "no batch was due"
    return [ticket.payload for ticket in batch.tickets]


def late_payloads(batch: Any) -> list[str]:
    assert batch is not None, "no batch was due"
    return [ticket.payload for ticket in batch.late]


def new_queue(
    lanes: str = "ab",
    devices: dict[str, int] | None = None,
    seconds: dict[int, float] | None = None,
    decoders: int = 1,
    size: int = 4,
    max_queue_size: int = 100,
    **limits: Any,
) -> tuple[BatchQueue[str], FakeClock]:
    """Returns a queue with one lane per letter, on devices with their numbers of workers; a batch takes 1 µs."""
    clock = FakeClock()
    queue: BatchQueue[str] = BatchQueue(clock, decoders)
    devices = devices or {"d": 2}
    for lane in lanes:
        tables = {device: LatencyTable(seconds or {1: 1e-6}) for device in devices}
        queue.open_lane(lane, LaneLimits(size, max_queue_size, **limits), tables)
    for name, workers in devices.items():
        queue.add_device(name, workers)
    return queue, clock


def decode_next(queue: BatchQueue[str]) -> Ticket[str]:
    turn = queue.next_to_decode_nowait()
    assert turn is not None and turn.tickets, "nothing was to be decoded"
    (ticket,) = turn.tickets
    return ticket


def decode_all(queue: BatchQueue[str]) -> None:
    """Decodes everything that the policy hands out now."""
    while (turn := queue.next_to_decode_nowait()) is not None:
        queue.put(dict.fromkeys(turn.tickets, 0.0))


def put(queue: BatchQueue[str], payload: str, lane: str = "a", *arguments: Any, **options: Any) -> Ticket[str]:
    """Admits a ticket, and decodes it with all that waits before it."""
    ticket = queue.admit(lane, payload, *arguments, **options)
    decode_all(queue)
    return ticket
