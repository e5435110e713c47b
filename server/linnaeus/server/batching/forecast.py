"""When a newcomer would have its answer, if it were admitted now.

The estimate is a sum: the moment until a stream is free, the work that goes before the newcomer at the speed at which
the devices work it off, and the run of the newcomer's own batch. Work is counted in seconds as measured before serving:
decoding and running for a ticket that waits for a decoder, running alone for one that is decoded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.batching.lanes import Device, Flow, Lane
from linnaeus.server.batching.policy import FAIRNESS_SECONDS
from linnaeus.server.batching.tickets import Payload

# A device that came to a halt for a moment must not make a prediction infinite.
_LEAST_SPEED = 1e-3
_LEAST_WORK_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Newcomer(Generic[Payload]):
    """Who asks: the flow it would join, when it would be due there, and what decoding it costs."""

    flow: Flow[Payload]
    due: float
    decode_seconds: float

    @property
    def ahead(self) -> int:
        """Tickets of its own flow that go before it."""
        return _ahead(self.flow, self.due)


def answer_in(
    newcomer: Newcomer[Payload], lanes: Iterable[Lane[Payload]], devices: Sequence[Device[Payload]], now: float
) -> float:
    """Seconds until the newcomer's answer, by the bare estimate.

    Args:
        newcomer: who asks.
        lanes: all of the queue's.
        devices: those that may run the newcomer's lane, at least one.
        now: the clock's time.
    """
    flows = [flow for lane in lanes for flow in lane.flows if flow.depth and flow is not newcomer.flow]
    wait = _together(devices, [_work_before(newcomer, flows, device) for device in devices])
    return wait + min(_free_in(device, now) + own_run_seconds(newcomer, device, now) for device in devices)


def own_run_seconds(newcomer: Newcomer[Payload], device: Device[Payload], now: float) -> float:
    """How long the newcomer's own batch will run there, with those that go before it alone."""
    return _run_seconds(newcomer.flow.lane, newcomer.ahead + 1, device, now)


def filling_seconds(newcomer: Newcomer[Payload], devices: Sequence[Device[Payload]], now: float) -> float:
    """How much longer its batch would run if others filled it, as far as there are any."""
    lane = newcomer.flow.lane
    filled = (_run_seconds(lane, lane.depth + 1, device, now) for device in devices)
    return max(min(filled) - min(own_run_seconds(newcomer, device, now) for device in devices), 0.0)


def work_off_seconds(lane: Lane[Payload], devices: Sequence[Device[Payload]]) -> float:
    """Seconds until all that the lane holds has been run, as far as its devices run nothing else."""
    return _together(devices, [sum(_work(flow, flow.depth, device) for flow in lane.flows) for device in devices])


def _run_seconds(lane: Lane[Payload], size: int, device: Device[Payload], now: float) -> float:
    beside = min(len(device.running), device.streams - 1)
    return lane.tables[device.name].longest(min(size, lane.limits.max_batch_size), beside, now)


def _together(devices: Sequence[Device[Payload]], works: Sequence[float]) -> float:
    """Seconds that devices need for work they share, from what each would have to do alone."""
    rates = (
        max(device.drain.speed, _LEAST_SPEED) / max(work, _LEAST_WORK_SECONDS)
        for device, work in zip(devices, works, strict=True)
    )
    return 1.0 / sum(rates)


def _free_in(device: Device[Payload], now: float) -> float:
    """Seconds until a stream is free."""
    if len(device.running) < device.streams:
        return 0.0
    return max(min(batch.taken_at + batch.expected_seconds for batch in device.running) - now, 0.0)


def _work_before(newcomer: Newcomer[Payload], others: Iterable[Flow[Payload]], device: Device[Payload]) -> float:
    own = _work(newcomer.flow, newcomer.ahead, device) + newcomer.decode_seconds
    return own + sum(_share_of(other, newcomer, own, device) for other in others if device.name in other.lane.tables)


def _share_of(other: Flow[Payload], newcomer: Newcomer[Payload], own_work: float, device: Device[Payload]) -> float:
    """What another flow gets done before the newcomer: its fair share at least, and not much more."""
    fair = own_work * other.weight / newcomer.flow.weight
    urgent = _work(other, _more_urgent(other, newcomer), device)
    due_to_it = max(urgent, min(_work(other, other.depth, device), fair))
    return min(due_to_it, fair + FAIRNESS_SECONDS)


def _more_urgent(other: Flow[Payload], newcomer: Newcomer[Payload]) -> int:
    if other.priority != newcomer.flow.priority:
        return other.depth if other.priority < newcomer.flow.priority else 0
    return _ahead(other, newcomer.due)


def _ahead(flow: Flow[Payload], due: float) -> int:
    return sum(waiting.ahead_of(due) for waiting in (flow.undecoded, flow.decoding, flow.decoded))


def _work(flow: Flow[Payload], tickets: int, device: Device[Payload]) -> float:
    """The first so many of a flow's tickets; those that are decoded come first, more or less."""
    undecoded = max(tickets - len(flow.decoded), 0)
    return tickets * flow.lane.tables[device.name].image_seconds + undecoded * flow.lane.decode_seconds
