"""The state of the queue: which ticket is where.

`admission` decides who is let in, `policy` who goes next and how many together. This module carries that out and feeds
the latency tables with the result. It knows no locks and no clock: every call says what time it is.
"""

from collections.abc import Callable, Hashable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.admission import Admission, Arrival
from linnaeus.server.scheduling.fair_time import FairTime
from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import Policy
from linnaeus.server.scheduling.ticket_transitions import enqueue, remove_waiting, start
from linnaeus.server.scheduling.tickets import (
    DecodeTurn,
    Payload,
    Stage,
    Ticket,
)

# What a decoder takes at once: small pictures, whose handing over one by one would cost more than decoding them does.
DECODE_TURN_SECONDS = 0.0005


class QueueState(Generic[Payload]):
    """Lanes, devices and tickets. Not for several threads at once; see BatchQueue for the invariants.

    Args:
        decoders: threads that decode, and share that work evenly.

    Attributes:
        lanes, devices: by name.
        policy: what it asks.
        fair_time: of the shares of the flows.
    """

    def __init__(self, decoders: int = 1) -> None:
        self.lanes: dict[Hashable, Lane[Payload]] = {}
        self.devices: dict[str, Device[Payload]] = {}
        self.policy: Policy[Payload] = Policy(self.lanes)
        self._decoders = decoders
        self.fair_time: FairTime[Payload] = FairTime()
        self._admission: Admission[Payload] = Admission(self.lanes)
        self._closing: dict[Hashable, Callable[[], None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no ticket waits for anything, and none may come back from a device that fails."""
        return not any(flow.is_active for lane in self.lanes.values() for flow in lane.flows)

    @property
    def has_nothing_to_decode(self) -> bool:
        """Whether no ticket waits for a decoder."""
        for lane in self.lanes.values():  # asked at every admission, so without a generator
            for flow in lane.flows:
                if flow.undecoded.entries or flow.held:
                    return False
        return True

    @property
    def has_held_tickets(self) -> bool:
        """Whether any ticket is held back."""
        return any(flow.held for lane in self.lanes.values() for flow in lane.flows)

    def close_lane(self, lane: Lane[Payload], on_drained: Callable[[], None]) -> None:
        """See BatchQueue.close_lane."""
        lane.closing = True
        self._closing[lane.name] = on_drained

    def remove_drained_lanes(self) -> None:
        """Removes the closing lanes that nothing is left of, and tells whoever waits for it."""
        for name in [name for name in self._closing if not self.lanes[name].is_active]:
            del self.lanes[name]
            self._closing.pop(name)()

    def add_device(self, name: str, workers: int) -> None:
        """Adds a device."""
        self.devices[name] = Device(name, workers)

    def devices_of(self, lane: Lane[Payload]) -> list[Device[Payload]]:
        """Those that may run it and are there."""
        return [self.devices[name] for name in lane.tables if name in self.devices]

    def admit(self, arrival: Arrival[Payload], lane: Lane[Payload], now: float) -> Ticket[Payload]:
        """See BatchQueue.admit."""
        ticket = self._admission.admit(arrival, lane, self.devices_of(lane), now)
        flow = self.flow(ticket)
        self.fair_time.catch_up(flow)
        flow.depth += 1
        if ticket.held_until:
            flow.held[ticket.order] = ticket
        else:
            start(flow, ticket, now)
        return ticket

    def next_to_decode(self, now: float, draining: bool) -> DecodeTurn[Payload] | None:
        """What one decoder should decode now, if anything: one ticket, or as many small ones as a turn has time for."""
        self._release(now, draining)
        turn: DecodeTurn[Payload] = DecodeTurn([], [])
        seconds = 0.0
        while (flow := self.policy.next_undecoded(self.devices)) is not None:
            ticket = flow.undecoded.head
            if self._drop_if_late(ticket, flow.lane, now):
                turn.late.append(ticket)
                continue
            seconds += self._decoder_seconds(ticket)
            if turn.tickets and seconds > DECODE_TURN_SECONDS:
                break
            flow.undecoded.remove(ticket)
            ticket.stage = Stage.DECODING
            flow.decoding.add(ticket)
            turn.tickets.append(ticket)
        return turn if turn.tickets or turn.late else None

    def decodes_next_within(self, seconds: float) -> bool | None:
        """Whether what is to be decoded next takes a decoder no longer than that; None if there is nothing."""
        flow = self.policy.next_undecoded(self.devices)
        return None if flow is None else self._decoder_seconds(flow.undecoded.head) <= seconds

    def put(self, ticket: Ticket[Payload], decode_seconds: float, now: float) -> bool:
        """A ticket was decoded; says whether it waits for a device now."""
        lane = self.lanes.get(ticket.lane)
        if lane is not None and decode_seconds:
            lane.record_decoding(ticket.size, decode_seconds)
            ticket.decode_seconds = decode_seconds
        if ticket.stage is not Stage.DECODING:
            return False
        flow = self.flow(ticket)
        flow.decoding.remove(ticket)
        enqueue(flow, ticket, now)
        return True

    def cancel(self, ticket: Ticket[Payload], by_caller: bool, now: float) -> Stage:
        """Cancels a ticket, for its caller (`by_caller`) or for another reason; returns the stage it was at."""
        stood = ticket.stage
        if stood is Stage.ENDED:
            return stood
        if not ticket.is_before_deadline(now):  # waited in vain: an answer would come later still
            self._record_prediction(ticket, now, now)
        elif by_caller and ticket.caller:
            self._admission.cancelling_callers.record(ticket.caller, now - ticket.admitted_at)
        self.remove(ticket)
        return stood

    def mark_answered(self, ticket: Ticket[Payload], now: float) -> None:
        """Its caller has the answer."""
        if ticket.stage is Stage.TAKEN:
            ticket.stage = Stage.ENDED
            self._record_prediction(ticket, now, now)
            if ticket.caller:
                self._admission.cancelling_callers.record(ticket.caller, None)

    def is_stranded(self, ticket: Ticket[Payload]) -> bool:
        """Whether no device is left for a ticket that is being decoded."""
        return ticket.stage is Stage.DECODING and not self.devices_of(self.lanes[ticket.lane])

    def flow(self, ticket: Ticket[Payload]) -> Flow[Payload]:
        """The flow that a ticket is of."""
        return self.lanes[ticket.lane].flows[ticket.priority]

    def next_release_seconds(self, now: float) -> float | None:
        """Seconds until the first ticket that is held back is not any more; None if there is none."""
        ends = [
            now if lane.closing else ticket.held_until
            for lane in self.lanes.values()
            for flow in lane.flows
            for ticket in flow.held.values()
        ]
        return max(min(ends) - now, 0.0) if ends else None

    def _release(self, now: float, draining: bool) -> None:
        """Lets those go that were held back long enough."""
        for flow in (flow for lane in self.lanes.values() for flow in lane.flows if flow.held):
            at_once = draining or flow.lane.closing
            for ticket in [ticket for ticket in flow.held.values() if at_once or ticket.held_until <= now]:
                del flow.held[ticket.order]
                start(flow, ticket, now)

    def _decoder_seconds(self, ticket: Ticket[Payload]) -> float:
        """What decoding a ticket will take one decoder; more than a turn, if nothing of its kind was ever decoded."""
        return ticket.decode_seconds * self._decoders or inf

    def drop(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        """Its answer would have come at that time, which is too late."""
        self._record_prediction(ticket, answer_at, now)
        ticket.predicted_at = answer_at
        self.remove(ticket)

    def _record_prediction(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        if ticket.lane not in self.lanes:
            return  # nobody will be promised anything by what it tells
        self.flow(ticket).margin.observe(answer_at - ticket.predicted_at, ticket.timeout_seconds, now)

    def remove(self, ticket: Ticket[Payload]) -> None:
        """Takes a ticket out of its flow and ends it."""
        if ticket.stage is not Stage.TAKEN:  # one that is running is in no flow, and its lane may be gone by now
            remove_waiting(self.flow(ticket), ticket)
        ticket.stage = Stage.ENDED

    def _drop_if_late(self, ticket: Ticket[Payload], lane: Lane[Payload], now: float) -> bool:
        """Whether decoding it is in vain; if so, it is gone."""
        runs = (lane.tables[device.name].expected(1, 0, now) for device in self.devices_of(lane))
        answer_at = now + ticket.decode_seconds + min(runs, default=0.0)
        if ticket.is_before_deadline(answer_at):
            return False
        self.drop(ticket, answer_at, now)
        return True
