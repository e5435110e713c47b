"""The state of the queue: which ticket is where.

`admission` decides which requests are admitted, `policy` which tickets run next; this module carries that out and
records the measurements. It has no lock and no clock: the caller passes the time.
"""

from collections.abc import Callable, Hashable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.admission import Admission, Admitted, Arrival
from linnaeus.server.scheduling.decode_costs import DecodeWork
from linnaeus.server.scheduling.fair_time import FairTime
from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import LONG_DECODE_SECONDS, Policy
from linnaeus.server.scheduling.ticket_transitions import enqueue, remove_waiting, start
from linnaeus.server.scheduling.tickets import (
    DecodeTurn,
    Payload,
    Stage,
    Ticket,
)

# Small images are handed to a decoder together, up to this much work: handing them over one by one would cost more than
# decoding them.
DECODE_TURN_SECONDS = 0.0005
# One decoder is kept for images that are quickly decoded for so long after such an image has come.
_QUICK_SECONDS = 2.0


class QueueState(Generic[Payload]):
    """Lanes, devices and tickets. Guarded by the queue's lock; `BatchQueue` has the invariants.

    Args:
        decoders: number of decoder threads, which share the decoding evenly.
        runs_short_apart: see `Policy`.

    Attributes:
        lanes, devices: by name.
        policy: the scheduling decisions.
        fair_time: the virtual time of the flows' fair shares.
    """

    def __init__(self, decoders: int = 1, runs_short_apart: bool = False) -> None:
        self.lanes: dict[Hashable, Lane[Payload]] = {}
        self.devices: dict[str, Device[Payload]] = {}
        self.policy: Policy[Payload] = Policy(self.lanes, runs_short_apart)
        self._decoders = decoders
        self._long_turns = 0
        self._quick_at = -inf
        self.fair_time: FairTime[Payload] = FairTime()
        self._admission: Admission[Payload] = Admission(self.lanes, decoders)
        self._closing: dict[Hashable, Callable[[], None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no ticket waits or runs; a running one may be requeued if its device fails."""
        return not any(flow.is_active for lane in self.lanes.values() for flow in lane.flows)

    @property
    def has_nothing_to_decode(self) -> bool:
        """Whether no ticket waits for a decoder."""
        for lane in self.lanes.values():  # runs at every admission, so without a generator
            for flow in lane.flows:
                if flow.undecoded.entries or flow.held:
                    return False
        return True

    @property
    def has_held_tickets(self) -> bool:
        """Whether any ticket is held back."""
        return any(flow.held for lane in self.lanes.values() for flow in lane.flows)

    def close_lane(self, lane: Lane[Payload], on_drained: Callable[[], None]) -> None:
        """Closes a lane; see `BatchQueue.close_lane`."""
        lane.closing = True
        self._closing[lane.name] = on_drained

    def remove_drained_lanes(self) -> None:
        """Removes the closing lanes that are empty, and calls their `on_drained`."""
        for name in [name for name in self._closing if not self.lanes[name].is_active]:
            del self.lanes[name]
            self._closing.pop(name)()

    def add_device(self, name: str, workers: int, of_one_lane: int = 0) -> None:
        """Adds a device; see `BatchQueue.add_device`."""
        self.devices[name] = Device(name, workers, of_one_lane)

    def devices_of(self, lane: Lane[Payload]) -> list[Device[Payload]]:
        """Returns the lane's devices that have not been removed."""
        return [self.devices[name] for name in lane.tables if name in self.devices]

    def admit(self, arrival: Arrival[Payload], lane: Lane[Payload], now: float) -> Admitted[Payload]:
        """Admits a request, and removes the ticket that it displaces; see `BatchQueue.admit`."""
        admitted = self._admission.admit(arrival, lane, self.devices_of(lane), now)
        if admitted.displaced is not None:
            self.remove(admitted.displaced)
        ticket = admitted.ticket
        if ticket.work is not None and ticket.decode_seconds <= LONG_DECODE_SECONDS:
            self._quick_at = now
        flow = self.flow(ticket)
        self.fair_time.catch_up(flow)
        self.enter(ticket)
        if ticket.held_until:
            flow.held[ticket.order] = ticket
        else:
            start(flow, ticket, now)
        return admitted

    def next_to_decode(self, now: float, draining: bool) -> DecodeTurn[Payload] | None:
        """Returns what one decoder should decode now: one ticket, or several small ones; None for nothing."""
        self._release_held(now, draining)
        turn: DecodeTurn[Payload] = DecodeTurn([], [])
        seconds = 0.0
        while (ticket := self._next_undecoded(now)) is not None:
            flow = self.flow(ticket)
            if self._drop_if_late(ticket, flow.lane, now):
                turn.late.append(ticket)
                continue
            seconds += ticket.decode_seconds
            if turn.tickets and (seconds > DECODE_TURN_SECONDS or not self._is_measured(ticket)):
                break
            turn.is_long = seconds > LONG_DECODE_SECONDS
            flow.undecoded.remove(ticket)
            ticket.stage = Stage.DECODING
            flow.decoding.add(ticket)
            turn.tickets.append(ticket)
        self._long_turns += turn.is_long
        return turn if turn.tickets or turn.late else None

    def end_turn(self, turn: DecodeTurn[Payload]) -> None:
        """Records that a decoder has come back from a turn, even if its tickets were cancelled meanwhile."""
        self._long_turns -= turn.is_long

    def _next_undecoded(self, now: float) -> Ticket[Payload] | None:
        is_one_kept = now < self._quick_at + _QUICK_SECONDS
        may_be_long = not is_one_kept or self._long_turns < max(self._decoders - 1, 1)
        return self.policy.next_undecoded(self.devices, may_be_long, now)

    def next_decode_fits(self, seconds: float, now: float) -> bool | None:
        """Returns whether decoding the next ticket takes at most `seconds`; None if nothing is to be decoded."""
        ticket = self._next_undecoded(now)
        return None if ticket is None else ticket.decode_seconds <= seconds and self._is_measured(ticket)

    def _is_measured(self, ticket: Ticket[Payload]) -> bool:
        return ticket.work is None or self._admission.decode_costs.is_measured(ticket.work)

    def put(self, ticket: Ticket[Payload], decode_seconds: float, now: float) -> bool:
        """Records that a ticket was decoded; returns whether it now waits for a device."""
        if ticket.work is not None and decode_seconds:
            self._record_decoding(ticket, ticket.work, decode_seconds, now)
        if ticket.stage is not Stage.DECODING:
            return False
        flow = self.flow(ticket)
        flow.decoding.remove(ticket)
        ticket.decode_seconds = decode_seconds
        enqueue(flow, ticket, now)
        return True

    def give_back(self, ticket: Ticket[Payload]) -> bool:
        """Makes a ticket wait for a decoder again, unless it was cancelled; returns False if it has no device left."""
        if self.is_stranded(ticket):
            return False
        if ticket.stage is Stage.DECODING:
            flow = self.flow(ticket)
            flow.decoding.remove(ticket)
            flow.undecoded.add(ticket)
            ticket.stage = Stage.ADMITTED
        return True

    def _record_decoding(self, ticket: Ticket[Payload], work: DecodeWork, seconds: float, now: float) -> None:
        """Learns what such images cost, and counts it as use of the devices' time, which decoders usually share."""
        costs = self._admission.decode_costs
        (costs.replace if ticket.is_probe else costs.observe)(work, seconds, now)
        if ticket.lane in self.lanes:
            self.flow(ticket).use(seconds / self._decoders)
            self._admission.caller_use.record_decoding(ticket.caller, seconds / self._decoders, now)

    def record_run(self, ticket: Ticket[Payload], seconds: float, now: float) -> None:
        """Records that a ticket used a device for `seconds`."""
        self.flow(ticket).use(seconds)
        self._admission.caller_use.record_run(ticket.caller, seconds, now)

    def enter(self, ticket: Ticket[Payload]) -> None:
        """Counts a ticket that now waits."""
        flow = self.flow(ticket)
        flow.enter(ticket)
        self._admission.caller_use.begin_waiting(ticket, flow.caller_weight)

    def leave(self, ticket: Ticket[Payload]) -> None:
        """Counts a ticket that no longer waits: a device has taken it, or it has ended."""
        self.flow(ticket).leave(ticket)
        self._admission.caller_use.end_waiting(ticket)

    def cancel(self, ticket: Ticket[Payload], by_caller: bool, now: float) -> Stage:
        """Cancels a ticket; returns the stage it was at. See `BatchQueue.cancel`."""
        stage = ticket.stage
        if stage is Stage.ENDED:
            return stage
        if not ticket.is_before_deadline(now):  # expired: its answer would have come even later
            self._record_prediction(ticket, now, now)
        elif by_caller and ticket.caller:
            self._admission.cancelling_callers.record(ticket.caller, now - ticket.admitted_at)
        self.remove(ticket)
        return stage

    def mark_answered(self, ticket: Ticket[Payload], now: float) -> None:
        """Records that a ticket has been answered."""
        if ticket.stage is Stage.TAKEN:
            ticket.stage = Stage.ENDED
            self._record_prediction(ticket, now, now)
            if ticket.caller:
                self._admission.cancelling_callers.record(ticket.caller, None)

    def is_stranded(self, ticket: Ticket[Payload]) -> bool:
        """Whether the ticket is being decoded and its lane has no device left."""
        return ticket.stage is Stage.DECODING and self.devices.keys().isdisjoint(self.lanes[ticket.lane].tables)

    def flow(self, ticket: Ticket[Payload]) -> Flow[Payload]:
        """Returns the flow that the ticket belongs to."""
        return self.lanes[ticket.lane].flows[ticket.priority]

    def next_release_seconds(self, now: float) -> float | None:
        """Returns the seconds until the next held ticket is released; None if none is held."""
        ends = [
            now if lane.closing else ticket.held_until
            for lane in self.lanes.values()
            for flow in lane.flows
            for ticket in flow.held.values()
        ]
        return max(min(ends) - now, 0.0) if ends else None

    def _release_held(self, now: float, draining: bool) -> None:
        """Starts the tickets whose hold has ended; all of them if the queue or the lane is closing."""
        for flow in (flow for lane in self.lanes.values() for flow in lane.flows if flow.held):
            at_once = draining or flow.lane.closing
            for ticket in [ticket for ticket in flow.held.values() if at_once or ticket.held_until <= now]:
                del flow.held[ticket.order]
                start(flow, ticket, now)

    def drop(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        """Ends a ticket whose answer would come at `answer_at`, after its deadline."""
        self._record_prediction(ticket, answer_at, now)
        ticket.predicted_at = answer_at
        self.remove(ticket)

    def _record_prediction(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        if ticket.deadline is None or ticket.predicted_at is None or ticket.lane not in self.lanes:
            return  # if the lane is gone, its margin is, too
        timeout = ticket.deadline - ticket.admitted_at
        self.flow(ticket).margin.observe(answer_at - ticket.predicted_at, timeout, now)

    def remove(self, ticket: Ticket[Payload]) -> None:
        """Removes a ticket from its flow and ends it."""
        # a running ticket is in none of the flow's queues, and its lane may have been removed
        if ticket.stage is not Stage.TAKEN:
            self.leave(ticket)
            remove_waiting(self.flow(ticket), ticket)
        ticket.stage = Stage.ENDED

    def _drop_if_late(self, ticket: Ticket[Payload], lane: Lane[Payload], now: float) -> bool:
        """Drops the ticket if it would be late even in a batch of one; returns whether it was dropped."""
        if ticket.deadline is None:
            return False
        runs = (lane.tables[device.name].expected(1, 0, now) for device in self.devices_of(lane))
        answer_at = now + ticket.decode_seconds + min(runs, default=0.0)
        if ticket.is_before_deadline(now if ticket.is_probe else answer_at):
            return False
        self.drop(ticket, answer_at, now)
        return True
