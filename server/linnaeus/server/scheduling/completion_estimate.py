"""Estimates when a candidate would be answered if it were admitted now: the half page that has all of it.

Only requests with a deadline are estimated: no other is ever refused for the time that it would take.

An answer comes after four times, which are added:

1.  until a worker is free: the running batches end as the latency table expects;
2.  the work that goes before the candidate, by the policy's order: decoding and running of its own flow's tickets that
    are due earlier, and of other flows their fair share, or more where they are more urgent; batches at the pace of
    the last second;
3.  its own batch, with the tickets before it;
4.  the margin, by which such estimates were too short lately.

Three things are learnt, each in one place and by one rule: how long batches take (`batch_latency`), how long decoding
takes (`decode_costs`), and the margin (`prediction_margin`). The rule: what was measured at warm-up, or is assumed, is
corrected by the measurements of the last second; one measurement moves it by so much and no more, however far off it
is; what nothing feeds is forgotten; and an idle lane that refuses is probed (`admission`). So no request and no pause
can spoil an estimate for longer than about a second, and a change that lasts is followed within two.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import inf
from typing import Generic, NamedTuple

from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS
from linnaeus.server.scheduling.tickets import Payload

_MIN_WORK_SECONDS = 1e-9


class Candidate(Generic[Payload]):
    """A request that is being considered for admission.

    Attributes:
        flow: the flow that it would join.
        due: its place in that flow's order, as a time of the clock.
        decode_seconds: how long one decoder takes for it.
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
        answer_seconds: from now until the answer, without the margin.
        shortest_seconds: the same if nothing went before it.
        fill_seconds: how much longer its batch runs if the other waiting tickets of the lane join, too.
    """

    answer_seconds: float
    shortest_seconds: float
    fill_seconds: float


class CompletionEstimator(Generic[Payload]):
    """Estimates for the lanes of one queue. Guarded by the queue's lock.

    Args:
        lanes: the queue's lanes; the queue changes the mapping in place.
        decoders: number of threads that share the decoding.
    """

    def __init__(self, lanes: Mapping[Hashable, Lane[Payload]], decoders: int) -> None:
        self._lanes = lanes
        self._decoders = decoders

    def estimate(
        self, candidate: Candidate[Payload], devices: Sequence[Device[Payload]], now: float
    ) -> CompletionEstimate:
        """Estimates the completion of a candidate.

        Args:
            candidate: the request to estimate.
            devices: the devices that may run the candidate's lane; at least one.
            now: time of the clock, in seconds.
        """
        lane, depth = candidate.flow.lane, candidate.flow.lane.depth
        runs = [_run_seconds(lane, candidate.ahead + 1, device, now) for device in devices]
        free = min([_seconds_until_free(lane, device, now) + run for device, run in zip(devices, runs, strict=True)])
        shortest, answer = candidate.decode_seconds + min(runs), self._wait_seconds(candidate, devices, now) + free
        if depth == candidate.ahead:
            return CompletionEstimate(max(answer, shortest), shortest, 0.0)
        filled = min([_run_seconds(lane, depth + 1, device, now) for device in devices])
        return CompletionEstimate(max(answer, shortest), shortest, max(filled - min(runs), 0.0))

    def backlog_seconds(self, lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float) -> float:
        """Returns the seconds until everything in the lane has run, if its devices run nothing else."""
        works = [sum([self._work(flow, inf, device, now) for flow in lane.flows]) for device in devices]
        return _shared_seconds(works)

    def _wait_seconds(self, candidate: Candidate[Payload], devices: Sequence[Device[Payload]], now: float) -> float:
        """Returns the seconds of the work before the candidate, and of its decoding."""
        others = [
            flow for lane in self._lanes.values() for flow in lane.flows if flow.depth and flow is not candidate.flow
        ]
        return _shared_seconds([self._work_before(candidate, others, device, now) for device in devices])

    def _work_before(
        self, candidate: Candidate[Payload], others: Iterable[Flow[Payload]], device: Device[Payload], now: float
    ) -> float:
        own = self._work_of(candidate.ahead, candidate.flow, candidate.due, device, now)
        own += candidate.decode_seconds / self._decoders
        work = own
        for other in others:
            if device.name in other.lane.tables:
                work += self._work_before_of(other, candidate, own, device, now)
        return work

    def _work_before_of(
        self, other: Flow[Payload], candidate: Candidate[Payload], own_work: float, device: Device[Payload], now: float
    ) -> float:
        """Returns the seconds of another flow's work that run before the candidate.

        That is at least the flow's fair share, and at most that share plus `FAIRNESS_SECONDS`.
        """
        fair = own_work * other.weight / candidate.flow.weight
        urgent = self._work(other, _most_urgent_due(other, candidate), device, now)
        served = max(urgent, min(self._work(other, inf, device, now), fair))
        return min(served, fair + FAIRNESS_SECONDS)

    def _work(self, flow: Flow[Payload], due: float, device: Device[Payload], now: float) -> float:
        """Returns the seconds that the flow's tickets take which are due earlier than `due`."""
        return self._work_of(_count_ahead(flow, due), flow, due, device, now)

    def _work_of(self, count: int, flow: Flow[Payload], due: float, device: Device[Payload], now: float) -> float:
        """Returns the same, given how many those tickets are."""
        decode_seconds = flow.undecoded.decode_seconds_before(due) + flow.decoding.decode_seconds_before(due)
        return count * flow.lane.tables[device.name].image_seconds(now) + decode_seconds / self._decoders


def _run_seconds(lane: Lane[Payload], size: int, device: Device[Payload], now: float) -> float:
    concurrent = min(len(device.running) - device.runs_all_of(lane), device.workers - 1)
    return lane.tables[device.name].longest(min(size, lane.limits.max_batch_size), concurrent, now)


def _shared_seconds(works: Sequence[float]) -> float:
    """Returns the seconds that devices need for work they share, given the seconds that each would need alone."""
    return 1.0 / sum([1.0 / max(work, _MIN_WORK_SECONDS) for work in works])


def _seconds_until_free(lane: Lane[Payload], device: Device[Payload], now: float) -> float:
    """Returns the seconds until the device has a free worker that may run the lane."""
    if device.runs_all_of(lane):
        blocking = [batch for batch in device.running if batch.lane == lane.name]
    elif len(device.running) < device.workers:
        return 0.0
    else:
        blocking = device.running
    return max(min([batch.taken_at + batch.expected_seconds for batch in blocking]) - now, 0.0)


def _most_urgent_due(other: Flow[Payload], candidate: Candidate[Payload]) -> float:
    """Returns until when another flow's tickets are due that are more urgent than the candidate."""
    if other.priority != candidate.flow.priority:
        return inf if other.priority < candidate.flow.priority else -inf
    return candidate.due


def _count_ahead(flow: Flow[Payload], due: float) -> int:
    return flow.undecoded.count_before(due) + flow.decoding.count_before(due) + flow.decoded.count_before(due)
