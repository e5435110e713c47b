"""When a candidate would have its answer, if it were admitted now.

The estimate is a sum: the time until a worker is free, the work that goes before the candidate at the speed at which
the devices work it off, and the run of the candidate's own batch. Work is counted in seconds as measured before
serving: decoding and running for a ticket that waits for a decoder, running alone for one that is decoded.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple

from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS
from linnaeus.server.scheduling.tickets import Payload

# A device that came to a halt for a moment must not make a prediction infinite.
_LEAST_SPEED = 1e-3
_LEAST_WORK_SECONDS = 1e-9


class Candidate(Generic[Payload]):
    """Who asks.

    Attributes:
        flow: that it would join.
        due: when it would be due there.
        decode_seconds: what decoding it costs.
        ahead: tickets of its own flow that go before it.
    """

    __slots__ = ("ahead", "decode_seconds", "due", "flow")

    def __init__(self, flow: Flow[Payload], due: float, decode_seconds: float) -> None:
        self.flow = flow
        self.due = due
        self.decode_seconds = decode_seconds
        self.ahead = _ahead(flow, due)


class CompletionEstimate(NamedTuple):
    """What awaits a candidate, in seconds.

    Attributes:
        answer_in_seconds: from now until its answer, by the bare estimate.
        run_seconds: how long its own batch will run, with those that go before it alone.
        fill_seconds: how much longer that will run if others fill it, as far as there are any.
    """

    answer_in_seconds: float
    run_seconds: float
    fill_seconds: float


def estimate_completion(
    candidate: Candidate[Payload], lanes: Iterable[Lane[Payload]], devices: Sequence[Device[Payload]], now: float
) -> CompletionEstimate:
    """Looks ahead for a candidate.

    Args:
        candidate: who asks.
        lanes: all of the queue's.
        devices: those that may run the candidate's lane, at least one.
        now: the clock's time.
    """
    lane, own = candidate.flow.lane, candidate.flow
    others = [flow for each in lanes for flow in each.flows if flow.depth and flow is not own]
    wait = _together(devices, [_work_before(candidate, others, device) for device in devices])
    runs = [_run_seconds(lane, candidate.ahead + 1, device, now) for device in devices]
    soonest = min([_free_in(device, now) + run for device, run in zip(devices, runs, strict=True)])
    run, depth = min(runs), lane.depth
    if depth == candidate.ahead:
        return CompletionEstimate(wait + soonest, run, 0.0)
    filled = min([_run_seconds(lane, depth + 1, device, now) for device in devices])
    return CompletionEstimate(wait + soonest, run, max(filled - run, 0.0))


def backlog_seconds(lane: Lane[Payload], devices: Sequence[Device[Payload]]) -> float:
    """Seconds until all that the lane holds has been run, as far as its devices run nothing else."""
    return _together(devices, [sum(_work(flow, flow.depth, device) for flow in lane.flows) for device in devices])


def _run_seconds(lane: Lane[Payload], size: int, device: Device[Payload], now: float) -> float:
    concurrent = min(len(device.running), device.workers - 1)
    return lane.tables[device.name].longest(min(size, lane.limits.max_batch_size), concurrent, now)


def _together(devices: Sequence[Device[Payload]], works: Sequence[float]) -> float:
    """Seconds that devices need for work they share, from what each would have to do alone."""
    rate = 0.0
    for device, work in zip(devices, works, strict=True):
        rate += max(device.service_rate.speed, _LEAST_SPEED) / max(work, _LEAST_WORK_SECONDS)
    return 1.0 / rate


def _free_in(device: Device[Payload], now: float) -> float:
    """Seconds until a worker is free."""
    if len(device.running) < device.workers:
        return 0.0
    return max(min([batch.taken_at + batch.expected_seconds for batch in device.running]) - now, 0.0)


def _work_before(candidate: Candidate[Payload], others: Iterable[Flow[Payload]], device: Device[Payload]) -> float:
    own = work = _work(candidate.flow, candidate.ahead, device) + candidate.decode_seconds
    for other in others:
        if device.name in other.lane.tables:
            work += _share_of(other, candidate, own, device)
    return work


def _share_of(other: Flow[Payload], candidate: Candidate[Payload], own_work: float, device: Device[Payload]) -> float:
    """What another flow gets done before the candidate: its fair share at least, and not much more."""
    fair = own_work * other.weight / candidate.flow.weight
    urgent = _work(other, _more_urgent(other, candidate), device)
    due_to_it = max(urgent, min(_work(other, other.depth, device), fair))
    return min(due_to_it, fair + FAIRNESS_SECONDS)


def _more_urgent(other: Flow[Payload], candidate: Candidate[Payload]) -> int:
    if other.priority != candidate.flow.priority:
        return other.depth if other.priority < candidate.flow.priority else 0
    return _ahead(other, candidate.due)


def _ahead(flow: Flow[Payload], due: float) -> int:
    return flow.undecoded.ahead_of(due) + flow.decoding.ahead_of(due) + flow.decoded.ahead_of(due)


def _work(flow: Flow[Payload], tickets: int, device: Device[Payload]) -> float:
    """The first so many of a flow's tickets; those that are decoded come first, more or less."""
    undecoded = max(tickets - len(flow.decoded.entries), 0)
    return tickets * flow.lane.tables[device.name].image_seconds + undecoded * flow.lane.decode_seconds
