"""Who is let in: a promise is given here, or refused while refusing costs nothing yet."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from linnaeus.server.scheduling import completion_estimate
from linnaeus.server.scheduling.cancelling_callers import Habits
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.tickets import NoDevice, Payload, Priority, QueueFull, Ticket, TooLate

# A ticket without a deadline is ordered as if it had this one: those that have one usually go first, but never so many
# that it starves. It is never refused or dropped for it.
PATIENCE_SECONDS = 5.0
# Of the time that a newcomer is expected to wait, how much more it must be able to. A queue whose heads are always at
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


class Gate(Generic[Payload]):
    """Makes a ticket for a newcomer, or turns it away. Belongs to the queue's lock.

    Args:
        lanes: the queue's, as they change.

    Attributes:
        habits: which callers usually leave; whoever ends a ticket tells it.
    """

    def __init__(self, lanes: Mapping[Hashable, Lane[Payload]]) -> None:
        self.habits = Habits()
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
        _require_room(arrival, lane, devices, now)
        due = now + PATIENCE_SECONDS if deadline is None else deadline
        newcomer = completion_estimate.Newcomer(lane.flows[arrival.priority], due, lane.decode_work(arrival.size))
        prospect = completion_estimate.foresee(newcomer, self._lanes.values(), devices, now)
        predicted = now + prospect.answer_in
        if deadline is not None:
            _require_in_time(newcomer, prospect, deadline, now)
        hold_seconds = self._hold_seconds(arrival, devices, predicted)
        # The policy fills a batch up to the deadline. That is no reason to refuse anybody, but whoever is answered
        # later for it was not predicted wrongly.
        filling_seconds = min(prospect.filling, max(due - predicted, 0.0))
        return Ticket(
            lane.name,
            arrival.payload,
            deadline,
            arrival.priority,
            due,
            newcomer.decode_seconds,
            arrival.size,
            admitted_at=now,
            predicted_at=predicted + hold_seconds + filling_seconds,
            order=next(self._order),
            caller=arrival.caller,
            is_decoded=arrival.is_decoded,
            held_until=now + hold_seconds if hold_seconds else 0.0,
        )

    def _hold_seconds(self, arrival: Arrival[Payload], devices: Sequence[Device[Payload]], predicted: float) -> float:
        """How long a newcomer is held back: not on an idle device, nor if it would be late for it."""
        seconds = self.habits.hold_seconds(arrival.caller)
        if not seconds or not any(device.running for device in devices):
            return 0.0
        return seconds if arrival.deadline is None or predicted + seconds <= arrival.deadline else 0.0


def _require_room(
    arrival: Arrival[Payload], lane: Lane[Payload], devices: Sequence[Device[Payload]], now: float
) -> None:
    if not devices:
        raise NoDevice
    if arrival.deadline is not None and arrival.deadline <= now:
        raise TooLate(0.0, arrival.deadline - now)
    if lane.depth_above(arrival.priority) >= lane.limits.max_queue_size:
        raise QueueFull(lane.depth, completion_estimate.work_off_seconds(lane, devices))


def _require_in_time(
    newcomer: completion_estimate.Newcomer[Payload], prospect: completion_estimate.Prospect, deadline: float, now: float
) -> None:
    """Refuses a newcomer whose answer is to be expected after its deadline, past errors allowed for."""
    flow, timeout = newcomer.flow, deadline - now
    least = newcomer.decode_seconds + prospect.run
    if least <= timeout:  # it would have been in time but for the others: they are to make shorter batches
        flow.lane.note_timeout(timeout, now)
    expected = max(prospect.answer_in + flow.foresight.margin_seconds(timeout, now), least)
    expected += _RESERVE * (expected - least)
    if expected > timeout:
        raise TooLate(expected, timeout)
