"""Batches from formation to completion, and the measurements taken from their runs.

Like `queue_state` it has no lock and no clock: the caller passes the time.
"""

import itertools
from typing import Generic

from linnaeus.server.scheduling.lanes import Device
from linnaeus.server.scheduling.policy import BatchPlan
from linnaeus.server.scheduling.queue_state import QueueState
from linnaeus.server.scheduling.ticket_transitions import enqueue, waiting_tickets
from linnaeus.server.scheduling.tickets import Batch, Payload, Stage, Ticket

# Who runs batches of short runs does nothing else meanwhile. After a run that was longer than this, workers run the
# model's batches for a while.
_LONG_RUN_SECONDS = 0.05
_SLOW_SECONDS = 10.0


class RunningBatches(Generic[Payload]):
    """Forms batches and accounts for them. Guarded by the queue's lock.

    Args:
        state: the lanes, devices and tickets.
    """

    def __init__(self, state: QueueState[Payload]) -> None:
        self._state = state
        self._lanes, self._devices, self._policy = state.lanes, state.devices, state.policy
        self._numbers = itertools.count(1)

    def form_batch(
        self, device: Device[Payload], now: float, draining: bool, short: bool = False
    ) -> Batch[Payload] | None:
        """Returns the batch that the device is to run now; None if none is due. `short`: see `Policy`."""
        plan = self._policy.plan_batch(device, now, draining, short)
        if plan is None:
            return None
        batch = self._make_batch(plan, device, now)
        for ticket in batch.late:
            self._state.drop(ticket, now + plan.flow.lane.tables[device.name].expected(1, batch.concurrent, now), now)
        for ticket in batch.tickets:
            flow = self._state.flow(ticket)
            flow.decoded.remove(ticket)
            self._state.leave(ticket)
            flow.running += 1
            ticket.stage, ticket.taken_at = Stage.TAKEN, now
        if batch.tickets:
            device.running.append(batch)
        return batch

    def finish_batch(self, batch: Batch[Payload], now: float, learn: bool) -> None:
        """Records the end of a batch; `learn`: whether its duration enters the latency table."""
        if not batch.tickets:
            return
        lane, seconds = self._lanes[batch.lane], now - batch.taken_at
        for ticket in batch.tickets:
            lane.flows[ticket.priority].running -= 1
            self._state.record_run(ticket, seconds / len(batch.tickets), now)
        if seconds > _LONG_RUN_SECONDS:
            lane.slow_until = now + _SLOW_SECONDS
        self._advance_fair_time(batch)
        device = self._devices.get(batch.device)
        if device is None:
            return
        device.running.remove(batch)
        if learn:
            is_probe = any(ticket.is_probe for ticket in batch.tickets)
            lane.tables[device.name].observe(len(batch.tickets), batch.concurrent, seconds, now, is_probe)

    def remove_device(self, name: str, unfinished: Batch[Payload] | None, now: float) -> list[Ticket[Payload]]:
        """Removes a device; returns the tickets that no other device can run, which have left the queue."""
        self._devices.pop(name, None)
        for lane in self._lanes.values():
            lane.tables.pop(name, None)
        if unfinished is not None:
            self._requeue(unfinished, now)
        without_device = [lane for lane in self._lanes.values() if not self._state.devices_of(lane)]
        stranded = [ticket for lane in without_device for ticket in waiting_tickets(lane)]
        for ticket in stranded:
            self._state.remove(ticket)
        return stranded

    def _requeue(self, batch: Batch[Payload], now: float) -> None:
        """Returns the tickets of a batch that could not be run to their flows."""
        for ticket in batch.tickets:
            flow = self._state.flow(ticket)
            flow.running -= 1
            if ticket.stage is Stage.TAKEN:
                self._state.enter(ticket)
                enqueue(flow, ticket, now)

    def _make_batch(self, plan: BatchPlan[Payload], device: Device[Payload], now: float) -> Batch[Payload]:
        concurrent, lane = len(device.running), plan.flow.lane
        expected = lane.tables[device.name].expected(max(len(plan.tickets), 1), concurrent, now)
        tickets, late = plan.tickets, plan.late
        return Batch(next(self._numbers), lane.name, device.name, tickets, late, concurrent, now, expected)

    def _advance_fair_time(self, batch: Batch[Payload]) -> None:
        active = [flow for lane in self._lanes.values() for flow in lane.flows if flow.is_active]
        active += [self._state.flow(ticket) for ticket in batch.tickets]
        self._state.fair_time.advance(active)
