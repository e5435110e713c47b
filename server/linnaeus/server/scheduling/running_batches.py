"""Batches from their forming to their end: what a device runs, and what its runs tell of the next ones.

Like `queue_state` it knows no locks and no clock: every call says what time it is.
"""

import itertools
from typing import Generic

from linnaeus.server.scheduling.lanes import Device
from linnaeus.server.scheduling.policy import BatchPlan
from linnaeus.server.scheduling.queue_state import QueueState
from linnaeus.server.scheduling.ticket_transitions import enqueue, waiting_tickets
from linnaeus.server.scheduling.tickets import Batch, Payload, Stage, Ticket


class RunningBatches(Generic[Payload]):
    """Forms batches and accounts for them. Belongs to the queue's lock.

    Args:
        state: the lanes, devices and tickets.
    """

    def __init__(self, state: QueueState[Payload]) -> None:
        self._state = state
        self._lanes, self._devices, self._policy = state.lanes, state.devices, state.policy
        self._numbers = itertools.count(1)

    def form_batch(self, device: Device[Payload], now: float, draining: bool) -> Batch[Payload] | None:
        """The batch that the device is to run now, if one is due."""
        plan = self._policy.plan_batch(device, now, draining)
        if plan is None:
            if not self._is_backlogged(device):
                device.service_rate.backlog_ended()
            return None
        batch = self._batch(plan, device, now)
        for ticket in batch.late:
            self._state.drop(ticket, now + plan.flow.lane.tables[device.name].expected(1, batch.concurrent, now), now)
        for ticket in batch.tickets:
            flow = self._state.flow(ticket)
            flow.decoded.remove(ticket)
            flow.depth -= 1
            flow.running += 1
            ticket.stage, ticket.taken_at = Stage.TAKEN, now
        if batch.tickets:
            device.running.append(batch)
        return batch

    def finish_batch(self, batch: Batch[Payload], now: float, learn: bool) -> None:
        """The batch has run; `learn` says whether the time it took tells of the next ones."""
        if not batch.tickets:
            return
        lane, seconds = self._lanes[batch.lane], now - batch.taken_at
        for ticket in batch.tickets:
            flow = lane.flows[ticket.priority]
            flow.running -= 1
            flow.used += seconds / len(batch.tickets) / flow.weight
        self._advance_fair_time(batch)
        device = self._devices.get(batch.device)
        if device is None:
            return
        device.running.remove(batch)
        table = lane.tables[device.name]
        if learn:
            table.observe(len(batch.tickets), batch.concurrent, seconds, now)
        work = sum(table.image_seconds + ticket.decode_seconds for ticket in batch.tickets)
        device.service_rate.batch_finished(work, now, self._is_backlogged(device))

    def remove_device(self, name: str, unfinished: Batch[Payload] | None, now: float) -> list[Ticket[Payload]]:
        """Takes a device out; returns the tickets that no other can run, which have left the queue."""
        self._devices.pop(name, None)
        for lane in self._lanes.values():
            lane.tables.pop(name, None)
        if unfinished is not None:
            self._give_back(unfinished, now)
        without_device = [lane for lane in self._lanes.values() if not self._state.devices_of(lane)]
        stranded = [ticket for lane in without_device for ticket in waiting_tickets(lane)]
        for ticket in stranded:
            self._state.remove(ticket)
        return stranded

    def _give_back(self, batch: Batch[Payload], now: float) -> None:
        """The batch could not be run: its tickets wait again."""
        for ticket in batch.tickets:
            flow = self._state.flow(ticket)
            flow.running -= 1
            if ticket.stage is Stage.TAKEN:
                flow.depth += 1
                enqueue(flow, ticket, now)

    def _batch(self, plan: BatchPlan[Payload], device: Device[Payload], now: float) -> Batch[Payload]:
        concurrent, lane = len(device.running), plan.flow.lane
        expected = lane.tables[device.name].expected(max(len(plan.tickets), 1), concurrent, now)
        tickets, late = plan.tickets, plan.late
        return Batch(next(self._numbers), lane.name, device.name, tickets, late, concurrent, now, expected)

    def _advance_fair_time(self, batch: Batch[Payload]) -> None:
        active = [flow for lane in self._lanes.values() for flow in lane.flows if flow.is_active]
        active += [self._state.flow(ticket) for ticket in batch.tickets]
        self._state.fair_time.advance(active)

    def _is_backlogged(self, device: Device[Payload]) -> bool:
        """Whether each of its free workers could have a full batch, were everything decoded."""
        free = device.workers - len(device.running)
        lanes = (lane for lane in self._lanes.values() if device.name in lane.tables)
        return any(lane.depth >= lane.limits.max_batch_size * max(free, 1) for lane in lanes)
