"""Estimates when a candidate would be answered if it were admitted now.

The estimate is a sum: the time until a worker is free, the work that is done before the candidate at the rate at which
the devices drain it, and the run of the candidate's own batch. Work is in seconds as measured at warm-up: decoding plus
running for a ticket that waits for a decoder, running only for a decoded one.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple

from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS
from linnaeus.server.scheduling.tickets import Payload

# A device that stalls for a moment must not make an estimate infinite.
_MIN_SPEED = 1e-3
_MIN_WORK_SECONDS = 1e-9


class Candidate(Generic[Payload]):
    """A request that is being considered for admission.

    Attributes:
        flow: the flow that it would join.
        due: its place in that flow's order, as a time of the clock.
        decode_seconds: how long decoding it takes, shared by all decoders.
        ahead: tickets of its own flow that are due earlier.
    """

    __slots__ = ("ahead", "decode_seconds", "due", "flow")

    def __init__(self, flow: Flow[Payload], due: float, decode_seconds: float) -> None:
        self.flow = flow
        self.due = due
        self.decode_seconds = decode_seconds
        self.ahead = _count_ahead(flow, due)


class CompletionEstimate(NamedTuple):
    """When a candidate would be answered, in seconds.

    Attributes:
        answer_in_seconds: from now until the answer, without a margin.
        run_seconds: duration of its own batch if only the tickets ahead of it join.
        fill_seconds: how much longer that batch runs if the other waiting tickets of the lane join, too.
    """

    answer_in_seconds: float
    run_seconds: float
    fill_seconds: float


def estimate_completion(
    candidate: Candidate[Payload], lanes: Iterable[Lane[Payload]], devices: Sequence[Device[Payload]], now: float
) -> CompletionEstimate:
    """Estimates the completion of a candidate.

    Args:
        candidate: the request to estimate.
        lanes: all lanes of the queue.
        devices: the devices that may run the candidate's lane; at least one.
        now: time of the clock, in seconds.
    """
    lane, own = candidate.flow.lane, candidate.flow
    others = [flow for each in lanes for flow in each.flows if flow.depth and flow is not own]
    wait = _shared_seconds(devices, [_work_before(candidate, others, device) for device in devices])
    runs = [_run_seconds(lane, candidate.ahead + 1, device, now) for device in devices]
    soonest = min([_seconds_until_free(device, now) + run for device, run in zip(devices, runs, strict=True)])
    run, depth = min(runs), lane.depth
    if depth == candidate.ahead:
        return CompletionEstimate(wait + soonest, run, 0.0)
    filled = min([_run_seconds(lane, depth + 1, device, now) for device in devices])
    return CompletionEstimate(wait + soonest, run, max(filled - run, 0.0))


def backlog_seconds(lane: Lane[Payload], devices: Sequence[Device[Payload]]) -> float:
    """Returns the seconds until everything in the lane has run, if its devices run nothing else."""
    return _shared_seconds(devices, [sum(_work(flow, flow.depth, device) for flow in lane.flows) for device in devices])


def _run_seconds(lane: Lane[Payload], size: int, device: Device[Payload], now: float) -> float:
    concurrent = min(len(device.running), device.workers - 1)
    return lane.tables[device.name].longest(min(size, lane.limits.max_batch_size), concurrent, now)


def _shared_seconds(devices: Sequence[Device[Payload]], works: Sequence[float]) -> float:
    """Returns the seconds that devices need for work they share, given the seconds that each would need alone."""
    rate = 0.0
    for device, work in zip(devices, works, strict=True):
        rate += max(device.service_rate.speed, _MIN_SPEED) / max(work, _MIN_WORK_SECONDS)
    return 1.0 / rate


def _seconds_until_free(device: Device[Payload], now: float) -> float:
    """Returns the seconds until the device has a free worker."""
    if len(device.running) < device.workers:
        return 0.0
    return max(min([batch.taken_at + batch.expected_seconds for batch in device.running]) - now, 0.0)


def _work_before(candidate: Candidate[Payload], others: Iterable[Flow[Payload]], device: Device[Payload]) -> float:
    own = work = _work(candidate.flow, candidate.ahead, device) + candidate.decode_seconds
    for other in others:
        if device.name in other.lane.tables:
            work += _work_before_of(other, candidate, own, device)
    return work


def _work_before_of(
    other: Flow[Payload], candidate: Candidate[Payload], own_work: float, device: Device[Payload]
) -> float:
    """Returns the seconds of another flow's work that run before the candidate.

    That is at least the flow's fair share, and at most that share plus `FAIRNESS_SECONDS`.
    """
    fair = own_work * other.weight / candidate.flow.weight
    urgent = _work(other, _count_more_urgent(other, candidate), device)
    served = max(urgent, min(_work(other, other.depth, device), fair))
    return min(served, fair + FAIRNESS_SECONDS)


def _count_more_urgent(other: Flow[Payload], candidate: Candidate[Payload]) -> int:
    if other.priority != candidate.flow.priority:
        return other.depth if other.priority < candidate.flow.priority else 0
    return _count_ahead(other, candidate.due)


def _count_ahead(flow: Flow[Payload], due: float) -> int:
    return flow.undecoded.count_before(due) + flow.decoding.count_before(due) + flow.decoded.count_before(due)


def _work(flow: Flow[Payload], tickets: int, device: Device[Payload]) -> float:
    """Returns the seconds that a flow's first `tickets` take; decoded tickets are assumed to come first."""
    undecoded = max(tickets - len(flow.decoded.entries), 0)
    return tickets * flow.lane.tables[device.name].image_seconds + undecoded * flow.lane.decode_seconds
