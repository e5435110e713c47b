"""Admission control: admits a request, or refuses it before any work is done for it.

A request is admitted if its answer is expected before its deadline with a fifth of its waiting time to spare, and if
the queue has room. These rules keep callers from harming each other:

- A caller above its share goes behind the others (`caller_use`): its tickets are due later by the time that its share
  needs for what it used and waits for above it; its claim of a high priority counts as normal; and until their own
  deadlines its tickets run only where no other waits. The share of a high claim is larger, by its weight.
- A full queue makes room for a higher priority by displacing the newest ticket of the lowest.
- A full queue makes room for a caller of whom few tickets wait by displacing the newest ticket of the caller of whom
  most wait.
- An estimate that refuses is checked: once a second a lane in which nothing waits or runs admits a request that the
  warm-up's times would allow, as a probe, and what the probe measures replaces what was learnt.
"""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

from linnaeus.server.scheduling.caller_use import CallerUse
from linnaeus.server.scheduling.cancelling_callers import CancellingCallers
from linnaeus.server.scheduling.completion_estimate import Candidate, CompletionEstimator
from linnaeus.server.scheduling.decode_costs import DecodeCosts, DecodeWork
from linnaeus.server.scheduling.displacement import ticket_in_the_way
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.tickets import NoDevice, Payload, Priority, QueueFull, Ticket, TooLate

# A ticket without a deadline is ordered as if its deadline were this far away: tickets with a deadline usually run
# first, but cannot starve it. This implied deadline never causes a refusal or a drop.
IMPLIED_TIMEOUT_SECONDS = 5.0
# The share of its expected waiting time that a candidate must have to spare. If the queue's heads are always close to
# their deadlines, batches become small; refusing a little earlier keeps batches full.
_WAIT_RESERVE = 0.2
_SECONDS_BETWEEN_PROBES = 1.0


@dataclass(slots=True)  # not frozen: a frozen one takes three times as long to create, and every request creates one
class Arrival(Generic[Payload]):
    """A request for admission; see `BatchQueue.admit` for the fields."""

    payload: Payload
    deadline: float | None
    priority: Priority
    work: DecodeWork | None
    caller: str


class Admitted(NamedTuple, Generic[Payload]):
    """A new ticket that is in no queue yet, and the ticket that must leave to make room for it."""

    ticket: Ticket[Payload]
    displaced: Ticket[Payload] | None


class Admission(Generic[Payload]):
    """Creates a ticket for a request, or refuses it. Guarded by the queue's lock.

    Args:
        lanes: the queue's lanes; the queue changes the mapping in place.
        decoders: number of threads that share the decoding.

    Attributes:
        cancelling_callers: the callers that usually cancel; `QueueState` records how each ticket ends.
        decode_costs: what decoding takes; `QueueState` records each decoding.
    """

    def __init__(self, lanes: Mapping[Hashable, Lane[Payload]], decoders: int) -> None:
        self.cancelling_callers = CancellingCallers()
        self.caller_use = CallerUse()
        self.decode_costs = DecodeCosts()
        self._decoders = decoders
        self._estimator: CompletionEstimator[Payload] = CompletionEstimator(lanes, decoders)
        self._order = itertools.count()

    def admit(
        self, arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
    ) -> Admitted[Payload]:
        """Admits a request. `held_until` is set if its ticket is to be held back.

        Raises:
            NoDevice, QueueFull, TooLate: see `BatchQueue.admit`.
        """
        deadline = arrival.deadline
        if not devices:
            raise NoDevice
        if deadline is not None and deadline <= now:
            raise TooLate(0.0, deadline - now)
        excess_seconds = self._excess_seconds(arrival, lane, now)
        if excess_seconds and arrival.priority < Priority.NORMAL:
            arrival.priority = Priority.NORMAL
            excess_seconds = self._excess_seconds(arrival, lane, now)
        due = (now + IMPLIED_TIMEOUT_SECONDS if deadline is None else deadline) + excess_seconds
        ticket = self._ticket(arrival, lane, due, devices, now)
        if excess_seconds:
            ticket.yields_until = due - excess_seconds
        if deadline is None:
            _count_timeout(None, devices, now)
        else:
            self._predict(ticket, deadline, lane, devices, now)
        return Admitted(ticket, self._make_room(arrival, lane, devices, now))

    def _excess_seconds(self, arrival: Arrival[Payload], lane: Lane[Payload], now: float) -> float:
        """Returns how far the caller is above the share that its claim of a priority gives it."""
        return self.caller_use.excess_seconds(arrival.caller, lane.flows[arrival.priority].caller_weight, now)

    def _ticket(
        self,
        arrival: Arrival[Payload],
        lane: Lane[Payload],
        due: float,
        devices: Sequence[Device[Payload]],
        now: float,
    ) -> Ticket[Payload]:
        decode_seconds = 0.0 if arrival.work is None else self.decode_costs.expected(arrival.work, now)
        hold_seconds = self.cancelling_callers.hold_seconds(arrival.caller)
        return Ticket(
            lane.name,
            arrival.payload,
            arrival.deadline,
            arrival.priority,
            due,
            arrival.work,
            decode_seconds,
            decode_seconds / self._decoders,
            min([lane.tables[device.name].warm_up_image_seconds for device in devices]),
            admitted_at=now,
            order=next(self._order),
            caller=arrival.caller,
            # Only while a batch runs: on an idle device no other request would be served first.
            held_until=now + hold_seconds if hold_seconds and any(device.running for device in devices) else 0.0,
        )

    def _predict(
        self,
        ticket: Ticket[Payload],
        deadline: float,
        lane: Lane[Payload],
        devices: Sequence[Device[Payload]],
        now: float,
    ) -> None:
        """Predicts when the ticket is answered; it is not held back if it would miss its deadline so.

        Raises:
            TooLate: if the answer is expected after the deadline, and the ticket is no probe.
        """
        flow, timeout = lane.flows[ticket.priority], deadline - now
        estimate = self._estimator.estimate(Candidate(flow, ticket.due, ticket.decode_seconds), devices, now)
        if estimate.shortest_seconds <= timeout:  # otherwise even an idle server could not meet the deadline
            _count_timeout(timeout, devices, now)
        if ticket.held_until + estimate.answer_seconds > deadline:
            ticket.held_until = 0.0
        predicted = max(ticket.held_until, now) + estimate.answer_seconds
        # The policy may fill the batch with later tickets up to the deadline. This is no reason to refuse the request,
        # but the prediction includes it, so that a fuller batch does not count as a prediction error.
        ticket.predicted_at = predicted + min(estimate.fill_seconds, max(ticket.due - predicted, 0.0))
        expected = max(
            estimate.answer_seconds + flow.margin.margin_seconds(timeout, now),
            estimate.shortest_seconds,
        )
        expected += _WAIT_RESERVE * (expected - estimate.shortest_seconds)
        if expected <= timeout:
            return
        if not _may_probe(ticket, timeout, lane, devices, now):
            raise TooLate(expected, timeout)
        lane.probed_at, ticket.is_probe = now, True

    def _make_room(
        self, arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
    ) -> Ticket[Payload] | None:
        """Returns the ticket that must leave, or None if there is room.

        Raises:
            QueueFull: if the queue is full and none may be displaced.
        """
        if lane.depth < lane.limits.max_queue_size:
            return None
        displaced = ticket_in_the_way(lane, arrival.priority, arrival.caller)
        if displaced is None:
            raise QueueFull(lane.depth, self._estimator.backlog_seconds(lane, devices, now))
        return displaced


def _count_timeout(timeout: float | None, devices: Sequence[Device[Payload]], now: float) -> None:
    """Counts a request's time towards the limit on batch durations."""
    for device in devices:
        device.timeouts.add(timeout, now)


def _may_probe(
    ticket: Ticket[Payload], timeout: float, lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
) -> bool:
    """Whether to admit a ticket although its answer is expected too late, to find out if that is still so."""
    if lane.is_active or now < lane.probed_at + _SECONDS_BETWEEN_PROBES:
        return False
    decode_seconds = 0.0 if ticket.work is None else ticket.work.assumed_seconds
    return decode_seconds + min(lane.tables[device.name].warm_up_seconds for device in devices) <= timeout
