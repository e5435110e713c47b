"""The queue's books: every ticket's place, kept by one caller at a time.

`gate` says who is let in, `policy` who goes next and how many together. This room carries out what they say and tells
the tables what came of it. It knows no locks and no clock: every call says what time it is.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import Generic

from linnaeus.server.scheduling.admission import Arrival, Gate
from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.policy import Formed, Policy
from linnaeus.server.scheduling.tickets import (
    Batch,
    Payload,
    Stage,
    Ticket,
    Turn,
)

# What a decoder takes at once: small pictures, whose handing over one by one would cost more than decoding them does.
TURN_SECONDS = 0.0005


class Ledger(Generic[Payload]):
    """Lanes, devices and tickets. Not for several threads at once; see BatchQueue for the invariants.

    Args:
        decoders: threads that decode, and share that work evenly.

    Attributes:
        lanes, devices: by name.
        policy: what it asks.
    """

    def __init__(self, decoders: int = 1) -> None:
        self.lanes: dict[Hashable, Lane[Payload]] = {}
        self.devices: dict[str, Device[Payload]] = {}
        self.policy: Policy[Payload] = Policy(self.lanes)
        self._decoders = decoders
        self._batches = itertools.count(1)
        self._fair_time = 0.0
        self._gate: Gate[Payload] = Gate(self.lanes)
        self._closing: dict[Hashable, Callable[[], None]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no ticket waits for anything, and none may come back from a device that fails."""
        return not any(flow.is_active for lane in self.lanes.values() for flow in lane.flows)

    @property
    def is_decoded(self) -> bool:
        """Whether no ticket waits for a decoder."""
        for lane in self.lanes.values():  # asked at every admission, so without a generator
            for flow in lane.flows:
                if flow.undecoded.entries or flow.held:
                    return False
        return True

    @property
    def holds_back(self) -> bool:
        """Whether any ticket is held back."""
        return any(flow.held for lane in self.lanes.values() for flow in lane.flows)

    def close_lane(self, lane: Lane[Payload], emptied: Callable[[], None]) -> None:
        """See BatchQueue.close_lane."""
        lane.closing = True
        self._closing[lane.name] = emptied

    def remove_empty(self) -> None:
        """Removes the closing lanes that nothing is left of, and tells whoever waits for it."""
        for name in [name for name in self._closing if not self.lanes[name].is_active]:
            del self.lanes[name]
            self._closing.pop(name)()

    def add_device(self, name: str, streams: int) -> None:
        """Adds a device."""
        self.devices[name] = Device(name, streams)

    def devices_of(self, lane: Lane[Payload]) -> list[Device[Payload]]:
        """Those that may run it and are there."""
        return [self.devices[name] for name in lane.tables if name in self.devices]

    def admit(self, arrival: Arrival[Payload], lane: Lane[Payload], now: float) -> Ticket[Payload]:
        """See BatchQueue.admit."""
        ticket = self._gate.admit(arrival, lane, self.devices_of(lane), now)
        flow = self.flow(ticket)
        self._level(flow)
        flow.depth += 1
        if ticket.held_until:
            flow.held[ticket.order] = ticket
        else:
            _begin(flow, ticket, now)
        return ticket

    def next_to_decode(self, now: float, draining: bool) -> Turn[Payload] | None:
        """What one decoder should decode now, if anything: one ticket, or as many small ones as a turn has time for."""
        self._release(now, draining)
        turn: Turn[Payload] = Turn([], [])
        seconds = 0.0
        while (flow := self.policy.next_undecoded(self.devices)) is not None:
            ticket = flow.undecoded.head
            if self._is_late(ticket, flow.lane, now):
                turn.late.append(ticket)
                continue
            seconds += self._decoder_seconds(ticket)
            if turn.tickets and seconds > TURN_SECONDS:
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
            lane.note_decoding(ticket.size, decode_seconds)
            ticket.decode_seconds = decode_seconds
        if ticket.stage is not Stage.DECODING:
            return False
        flow = self.flow(ticket)
        flow.decoding.remove(ticket)
        _enqueue(flow, ticket, now)
        return True

    def abandon(self, ticket: Ticket[Payload], left: bool, now: float) -> Stage:
        """Nobody wants it any more, because its caller `left` or for another reason; says where it stood."""
        stood = ticket.stage
        if stood is Stage.GONE:
            return stood
        if not ticket.before(now):  # waited in vain: an answer would come later still
            self._learn(ticket, now, now)
        elif left and ticket.caller:
            self._gate.habits.ended(ticket.caller, now - ticket.admitted_at)
        self._remove(ticket)
        return stood

    def answered(self, ticket: Ticket[Payload], now: float) -> None:
        """Its caller has the answer."""
        if ticket.stage is Stage.TAKEN:
            ticket.stage = Stage.GONE
            self._learn(ticket, now, now)
            if ticket.caller:
                self._gate.habits.ended(ticket.caller, None)

    def form(self, device: Device[Payload], now: float, draining: bool) -> Batch[Payload] | None:
        """The batch that the device is to run now, if one is due."""
        formed = self.policy.form(device, now, draining)
        if formed is None:
            if not self._is_backlogged(device):
                device.drain.ran_dry()
            return None
        batch = self._batch(formed, device, now)
        for ticket in batch.late:
            self._drop(ticket, now + formed.flow.lane.tables[device.name].expected(1, batch.beside, now), now)
        for ticket in batch.tickets:
            flow = self.flow(ticket)
            flow.decoded.remove(ticket)
            flow.depth -= 1
            flow.running += 1
            ticket.stage, ticket.taken_at = Stage.TAKEN, now
        if batch.tickets:
            device.running.append(batch)
        return batch

    def finish(self, batch: Batch[Payload], now: float, learn: bool) -> None:
        """The batch has run; `learn` says whether the time it took tells of the next ones."""
        if not batch.tickets:
            return
        lane, seconds = self.lanes[batch.lane], now - batch.taken_at
        for ticket in batch.tickets:
            flow = lane.flows[ticket.priority]
            flow.running -= 1
            flow.used += seconds / len(batch.tickets) / flow.weight
        self._pass_time(batch)
        device = self.devices.get(batch.device)
        if device is None:
            return
        device.running.remove(batch)
        table = lane.tables[device.name]
        if learn:
            table.observe(len(batch.tickets), batch.beside, seconds, now)
        work = sum(table.image_seconds + ticket.decode_seconds for ticket in batch.tickets)
        device.drain.finished(work, now, self._is_backlogged(device))

    def remove_device(self, name: str, unfinished: Batch[Payload] | None, now: float) -> list[Ticket[Payload]]:
        """Takes a device out; returns the tickets that no other can run, which have left the ledger."""
        self.devices.pop(name, None)
        for lane in self.lanes.values():
            lane.tables.pop(name, None)
        if unfinished is not None:
            self._give_back(unfinished, now)
        stranded = [
            ticket for lane in self.lanes.values() if not self.devices_of(lane) for ticket in _waiting_tickets(lane)
        ]
        for ticket in stranded:
            self._remove(ticket)
        return stranded

    def is_stranded(self, ticket: Ticket[Payload]) -> bool:
        """Whether no device is left for a ticket that is being decoded."""
        return ticket.stage is Stage.DECODING and not self.devices_of(self.lanes[ticket.lane])

    def flow(self, ticket: Ticket[Payload]) -> Flow[Payload]:
        """The flow that a ticket is of."""
        return self.lanes[ticket.lane].flows[ticket.priority]

    def release_in(self, now: float) -> float | None:
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
                _begin(flow, ticket, now)

    def _decoder_seconds(self, ticket: Ticket[Payload]) -> float:
        """What decoding a ticket will take one decoder; more than a turn, if nothing of its kind was ever decoded."""
        return ticket.decode_seconds * self._decoders or inf

    def _give_back(self, batch: Batch[Payload], now: float) -> None:
        """The batch could not be run: its tickets wait again."""
        for ticket in batch.tickets:
            flow = self.flow(ticket)
            flow.running -= 1
            if ticket.stage is Stage.TAKEN:
                flow.depth += 1
                _enqueue(flow, ticket, now)

    def _batch(self, formed: Formed[Payload], device: Device[Payload], now: float) -> Batch[Payload]:
        beside, lane = len(device.running), formed.flow.lane
        expected = lane.tables[device.name].expected(max(len(formed.tickets), 1), beside, now)
        tickets, late = formed.tickets, formed.late
        return Batch(next(self._batches), lane.name, device.name, tickets, late, beside, now, expected)

    def _drop(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        """Its answer would have come at that time, which is too late."""
        self._learn(ticket, answer_at, now)
        ticket.predicted_at = answer_at
        self._remove(ticket)

    def _learn(self, ticket: Ticket[Payload], answer_at: float, now: float) -> None:
        if ticket.lane not in self.lanes:
            return  # nobody will be promised anything by what it tells
        self.flow(ticket).foresight.observe(answer_at - ticket.predicted_at, ticket.timeout_seconds, now)

    def _remove(self, ticket: Ticket[Payload]) -> None:
        if ticket.stage is not Stage.TAKEN:  # one that is running is in no flow, and its lane may be gone by now
            self._remove_waiting(ticket)
        ticket.stage = Stage.GONE

    def _remove_waiting(self, ticket: Ticket[Payload]) -> None:
        flow = self.flow(ticket)
        flow.depth -= 1
        if ticket.stage is Stage.ADMITTED and ticket.order in flow.held:
            del flow.held[ticket.order]
        elif ticket.stage is Stage.ADMITTED:
            flow.undecoded.remove(ticket)
        elif ticket.stage is Stage.DECODING:
            flow.decoding.remove(ticket)
        elif ticket.stage is Stage.QUEUED:
            flow.decoded.remove(ticket)

    def _is_late(self, ticket: Ticket[Payload], lane: Lane[Payload], now: float) -> bool:
        """Whether decoding it is in vain; if so, it is gone."""
        runs = (lane.tables[device.name].expected(1, 0, now) for device in self.devices_of(lane))
        answer_at = now + ticket.decode_seconds + min(runs, default=0.0)
        if ticket.before(answer_at):
            return False
        self._drop(ticket, answer_at, now)
        return True

    def _level(self, flow: Flow[Payload]) -> None:
        """A flow that was quiet starts level with the others: no credit for a rest, no debt for a time alone."""
        if not flow.is_active:
            flow.used = max(flow.used, self._fair_time)

    def _pass_time(self, batch: Batch[Payload]) -> None:
        """What the flow with the least use has had, of those at work when the batch had run; it never goes back."""
        at_work = [flow for lane in self.lanes.values() for flow in lane.flows if flow.is_active]
        at_work += [self.flow(ticket) for ticket in batch.tickets]
        self._fair_time = max(self._fair_time, min(flow.used for flow in at_work))

    def _is_backlogged(self, device: Device[Payload]) -> bool:
        """Whether each of its free streams could have a full batch, were everything decoded."""
        free = device.streams - len(device.running)
        lanes = (lane for lane in self.lanes.values() if device.name in lane.tables)
        return any(lane.depth >= lane.limits.max_batch_size * max(free, 1) for lane in lanes)


def _begin(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    """It goes to the decoders, or past them."""
    if ticket.is_decoded:
        _enqueue(flow, ticket, now)
    else:
        flow.undecoded.add(ticket)


def _enqueue(flow: Flow[Payload], ticket: Ticket[Payload], now: float) -> None:
    ticket.stage, ticket.put_at = Stage.QUEUED, now
    flow.decoded.add(ticket)


def _waiting_tickets(lane: Lane[Payload]) -> Iterable[Ticket[Payload]]:
    waiting = ((flow.held.values(), flow.undecoded, flow.decoded) for flow in lane.flows)
    return [ticket for kinds in waiting for kind in kinds for ticket in kind]
