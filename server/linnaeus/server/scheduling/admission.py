"""Who is let in: a promise is given here, or refused while refusing costs nothing yet."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.scheduling.cancelling_callers import CancellingCallers
from linnaeus.server.scheduling.completion_estimate import (
    Candidate,
    CompletionEstimate,
    backlog_seconds,
    estimate_completion,
)
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.tickets import NoDevice, Payload, Priority, QueueFull, Ticket, TooLate

# A ticket without a deadline is ordered as if it had this one: those that have one usually go first, but never so many
# that it starves. It is never refused or dropped for it.
IMPLIED_TIMEOUT_SECONDS = 5.0
# Of the time that a candidate is expected to wait, how much more it must be able to. A queue whose heads are always at
# their last instant is torn into small batches; one that is a little shorter gives full ones.
_RESERVE = 0.2


@dataclass(slots=True)  # frozen ones take thrice as long to make, and every request makes one
class Arrival(Generic[Payload]):
    """What is asked for; see BatchQueue.admit."""

    payload: Payload
    deadline: float | None
    priority: Priority
    size: int
    caller: str
    is_decoded: bool = False


class Admission(Generic[Payload]):
    """Makes a ticket for a candidate, or turns it away. Belongs to the queue's lock.

    Args:
        lanes: the queue's, as they change.

    Attributes:
        cancelling_callers: which callers usually leave; whoever ends a ticket tells it.
    """

    def __init__(self, lanes: Mapping[Hashable, Lane[Payload]]) -> None:
        self.cancelling_callers = CancellingCallers()
        self._lanes = lanes
        self._order = itertools.count()

    def admit(
        self, arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
    ) -> Ticket[Payload]:
        """Returns a ticket that belongs nowhere yet; one that is held back says until when.

        Raises:
            NoDevice, QueueFull, TooLate: see BatchQueue.admit.
        """
        deadline = arrival.deadline
        _require_capacity(arrival, lane, devices, now)
        due = now + IMPLIED_TIMEOUT_SECONDS if deadline is None else deadline
        candidate = Candidate(lane.flows[arrival.priority], due, lane.decode_work(arrival.size))
        estimate = estimate_completion(candidate, self._lanes.values(), devices, now)
        predicted = now + estimate.answer_in_seconds
        if deadline is not None:
            _require_in_time(candidate, estimate, deadline, now)
        hold_seconds = self._hold_seconds(arrival, devices, predicted)
        # The policy fills a batch up to the deadline. That is no reason to refuse anybody, but whoever is answered
        # later for it was not predicted wrongly.
        filling_seconds = min(estimate.fill_seconds, max(due - predicted, 0.0))
        return Ticket(
            lane.name,
            arrival.payload,
            deadline,
            arrival.priority,
            due,
            candidate.decode_seconds,
            arrival.size,
            admitted_at=now,
            predicted_at=predicted + hold_seconds + filling_seconds,
            order=next(self._order),
            caller=arrival.caller,
            is_decoded=arrival.is_decoded,
            held_until=now + hold_seconds if hold_seconds else 0.0,
        )

    def _hold_seconds(self, arrival: Arrival[Payload], devices: Sequence[Device[Payload]], predicted: float) -> float:
        """How long a candidate is held back: not on an idle device, nor if it would be late for it."""
        seconds = self.cancelling_callers.hold_seconds(arrival.caller)
        if not seconds or not any(device.running for device in devices):
            return 0.0
        return seconds if arrival.deadline is None or predicted + seconds <= arrival.deadline else 0.0


def _require_capacity(
    arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
) -> None:
    if not devices:
        raise NoDevice
    if arrival.deadline is not None and arrival.deadline <= now:
        raise TooLate(0.0, arrival.deadline - now)
    if lane.depth_above(arrival.priority) >= lane.limits.max_queue_size:
        raise QueueFull(lane.depth, backlog_seconds(lane, devices))


def _require_in_time(
    candidate: Candidate[Payload],
    estimate: CompletionEstimate,
    deadline: float,
    now: float,
) -> None:
    """Refuses a candidate whose answer is to be expected after its deadline, past errors allowed for."""
    flow, timeout = candidate.flow, deadline - now
    least = candidate.decode_seconds + estimate.run_seconds
    if least <= timeout:  # it would have been in time but for the others: they are to make shorter batches
        flow.lane.record_timeout(timeout, now)
    expected = max(estimate.answer_in_seconds + flow.margin.margin_seconds(timeout, now), least)
    expected += _RESERVE * (expected - least)
    if expected > timeout:
        raise TooLate(expected, timeout)
