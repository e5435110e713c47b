"""Admission control: admits a request, or refuses it before any work is done for it."""

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

# A ticket without a deadline is ordered as if its deadline were this far away: tickets with a deadline usually run
# first, but cannot starve it. This implied deadline never causes a refusal or a drop.
IMPLIED_TIMEOUT_SECONDS = 5.0
# The share of its expected waiting time that a candidate must have to spare. If the queue's heads are always close to
# their deadlines, batches become small; refusing a little earlier keeps batches full.
_WAIT_RESERVE = 0.2


@dataclass(slots=True)  # not frozen: a frozen one takes three times as long to create, and every request creates one
class Arrival(Generic[Payload]):
    """A request for admission; see `BatchQueue.admit` for the fields."""

    payload: Payload
    deadline: float | None
    priority: Priority
    size: int
    caller: str
    is_decoded: bool = False


class Admission(Generic[Payload]):
    """Creates a ticket for a request, or refuses it. Guarded by the queue's lock.

    Args:
        lanes: the queue's lanes; the queue changes the mapping in place.

    Attributes:
        cancelling_callers: the callers that usually cancel; `QueueState` records how each ticket ends.
    """

    def __init__(self, lanes: Mapping[Hashable, Lane[Payload]]) -> None:
        self.cancelling_callers = CancellingCallers()
        self._lanes = lanes
        self._order = itertools.count()

    def admit(
        self, arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
    ) -> Ticket[Payload]:
        """Returns a new ticket that is in no queue yet. `held_until` is set if the ticket is to be held back.

        Raises:
            NoDevice, QueueFull, TooLate: see `BatchQueue.admit`.
        """
        deadline = arrival.deadline
        _require_capacity(arrival, lane, devices, now)
        due = now + IMPLIED_TIMEOUT_SECONDS if deadline is None else deadline
        candidate = Candidate(lane.flows[arrival.priority], due, lane.expected_decode_seconds(arrival.size))
        estimate = estimate_completion(candidate, self._lanes.values(), devices, now)
        predicted = now + estimate.answer_in_seconds
        if deadline is not None:
            _require_in_time(candidate, estimate, deadline, now)
        hold_seconds = self._hold_seconds(arrival, devices, predicted)
        # The policy may fill the batch with later tickets up to the deadline. This is no reason to refuse the request,
        # but the prediction includes it, so that a fuller batch does not count as a prediction error.
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
        """Returns how long to hold a ticket back: 0 if the devices are idle or if holding would miss the deadline."""
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
    if lane.depth_at_or_above(arrival.priority) >= lane.limits.max_queue_size:
        raise QueueFull(lane.depth, backlog_seconds(lane, devices))


def _require_in_time(
    candidate: Candidate[Payload],
    estimate: CompletionEstimate,
    deadline: float,
    now: float,
) -> None:
    """Raises TooLate if the estimate plus the flow's margin is after the deadline."""
    flow, timeout = candidate.flow, deadline - now
    shortest = candidate.decode_seconds + estimate.run_seconds
    if shortest <= timeout:  # in time if the lane were empty, so shorter batches would help
        flow.lane.record_timeout(timeout, now)
    expected = max(estimate.answer_in_seconds + flow.margin.margin_seconds(timeout, now), shortest)
    expected += _WAIT_RESERVE * (expected - shortest)
    if expected > timeout:
        raise TooLate(expected, timeout)
