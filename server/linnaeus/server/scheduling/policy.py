"""Who goes next, and how many together: the scheduling policy, decided when a device is free and not before.

1.  *Who.* Among the flows (a priority class of a model) with work for the device: first those that have not had more
    than a moment above their fair share, of these the highest priority, of these the earliest deadline. Fairness is in
    device seconds over weights, so no model and no priority starves, however urgent the others are.
2.  *How many.* The batch takes the flow's tickets, earliest deadline first, then the model's other tickets by priority
    and deadline, as long as the earliest deadline among them holds by the latency table. A ticket that is likely to be
    late even if it ran alone is dropped instead of run.
3.  *How long.* No batch is longer than half of the tightest time that calls of any model on the device were lately
    given, for a request that comes just after it began has to wait for it.
4.  *When.* At once, with two exceptions. While a batch of the model runs on the device, another begins only when it is
    full: what comes meanwhile rides together, instead of being torn into small batches by whichever worker is free.
    And an operator may ask for a delay. Both end at the last instant at which the earliest deadline still holds.

Decoders ask the same policy whom to decode next, and decode little more than the devices are about to take: what is
cancelled or late by then costs nothing.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Generic

from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.tickets import Payload, Ticket

# How far a flow may get ahead of its fair share, in device seconds, before less urgent ones pass it.
FAIRNESS_SECONDS = 0.1
# What a batch may take of the tightest time lately given.
_LONGEST_PART = 0.5
# Batches that decoders are ahead of each device. One is too few: the next worker would have to wait for its pictures.
_DECODED_AHEAD = 1.5


@dataclass(frozen=True, slots=True)
class BatchPlan(Generic[Payload]):
    """A batch as it should be: what to run, and what to drop."""

    flow: Flow[Payload]
    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]


class Policy(Generic[Payload]):
    """Decides; changes nothing. Belongs to the queue's lock.

    Args:
        lanes: the queue's, as they change.
    """

    def __init__(self, lanes: Mapping[object, Lane[Payload]]) -> None:
        self._lanes = lanes

    def plan_batch(self, device: Device[Payload], now: float, draining: bool) -> BatchPlan[Payload] | None:
        """The batch that the device should run now; None if none is due."""
        due = [lane for lane in self._lanes_of(device) if self.due_in(lane, device, now, draining) <= 0]
        flow = _most_urgent((flow for lane in due for flow in lane.flows if flow.decoded), _decoded_head)
        return None if flow is None else self._fill(flow, device, now)

    def wait_seconds(self, device: Device[Payload], now: float) -> float | None:
        """When a batch will be due, from now; None: not before something changes."""
        soonest = min([self.due_in(lane, device, now, False) for lane in self._lanes_of(device)], default=inf)
        return None if soonest == inf else max(soonest, 0.0)

    def due_in(self, lane: Lane[Payload], device: Device[Payload], now: float, draining: bool) -> float:
        """Seconds until a batch of the lane is due on the device; infinite: not before something changes."""
        waiting = lane.decoded
        if not waiting or not _has_instance(lane, device):
            return inf
        if all(_is_for_another(head, lane, device, now) for head in lane.heads()):
            return inf
        if draining or lane.closing or waiting >= self.largest_batch(lane, device, now):
            return 0.0
        delay, waits_for_more = lane.limits.max_queue_delay_seconds, device.runs(lane)
        if not delay and not waits_for_more:
            return 0.0
        longest = lane.tables[device.name].longest(waiting, len(device.running), now)
        deadlines = [head.deadline for head in lane.heads() if head.deadline is not None]
        last_instant = min(deadlines, default=inf) - longest - now
        return last_instant if waits_for_more else min(_oldest(lane) + delay - now, last_instant)

    def largest_batch(self, lane: Lane[Payload], device: Device[Payload], now: float) -> int:
        """How many images the lane's batches may hold, so that nobody on the device has to wait too long."""
        most = lane.limits.max_batch_size
        tightest = min(each.tightest_timeout(now) for each in self._lanes.values() if device.name in each.tables)
        if tightest == inf:
            return most
        table, concurrent = lane.tables[device.name], len(device.running)
        allowed, sizes = tightest * _LONGEST_PART, range(1, most + 1)
        return max(bisect_right(sizes, allowed, key=lambda size: table.longest(size, concurrent, now)), 1)

    def next_undecoded(self, devices: Mapping[str, Device[Payload]]) -> Flow[Payload] | None:
        """The flow whose first ticket should be decoded next; None if all is decoded that will soon be needed."""
        wanting = [lane for lane in self._lanes.values() if _is_wanting(lane, devices)]
        return _most_urgent((flow for lane in wanting for flow in lane.flows if flow.undecoded), _undecoded_head)

    def _lanes_of(self, device: Device[Payload]) -> list[Lane[Payload]]:
        return [lane for lane in self._lanes.values() if device.name in lane.tables and lane.decoded]

    def _fill(self, flow: Flow[Payload], device: Device[Payload], now: float) -> BatchPlan[Payload]:
        table, concurrent = flow.lane.tables[device.name], len(device.running)
        most = self.largest_batch(flow.lane, device, now)
        alone = now + table.expected(1, concurrent, now)
        plan: BatchPlan[Payload] = BatchPlan(flow, [], [])
        earliest = inf
        for ticket in _in_order(flow):
            deadline = inf if ticket.deadline is None else ticket.deadline
            if _is_for_another(ticket, flow.lane, device, now):
                continue
            if deadline < alone or deadline <= now:
                plan.late.append(ticket)
                continue
            size = len(plan.tickets) + 1
            earliest = min(earliest, deadline)
            if size > most or (size > 1 and now + table.longest(size, concurrent, now) > earliest):
                break
            plan.tickets.append(ticket)
        return plan


def _most_urgent(
    flows: Iterable[Flow[Payload]], head: Callable[[Flow[Payload]], Ticket[Payload]]
) -> Flow[Payload] | None:
    """Those within their fair share first, then by priority, then by deadline."""
    candidates = list(flows)
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    least = min(flow.used for flow in candidates)

    def urgency(flow: Flow[Payload]) -> tuple[bool, int, float, int]:
        is_ahead = (flow.used - least) * flow.weight > FAIRNESS_SECONDS
        return is_ahead, flow.priority, head(flow).due, head(flow).order

    return min(candidates, key=urgency)


def _decoded_head(flow: Flow[Payload]) -> Ticket[Payload]:
    return flow.decoded.head


def _undecoded_head(flow: Flow[Payload]) -> Ticket[Payload]:
    return flow.undecoded.head


def _in_order(first: Flow[Payload]) -> Iterator[Ticket[Payload]]:
    """A lane's tickets, those of one flow before the others."""
    yield from first.decoded
    for flow in first.lane.flows:
        if flow is not first:
            yield from flow.decoded


def _is_for_another(ticket: Ticket[Payload], lane: Lane[Payload], device: Device[Payload], now: float) -> bool:
    """Whether this device would be too slow for a ticket that a faster one can still answer in time."""
    if ticket.deadline is None or len(lane.tables) == 1:
        return False
    left = ticket.deadline - now
    runs = {name: table.expected(1, 0, now) for name, table in lane.tables.items()}
    return runs[device.name] > left >= min(runs.values())


def _oldest(lane: Lane[Payload]) -> float:
    """When the first of a lane's decoded tickets came."""
    return min(ticket.queued_at for flow in lane.flows for ticket in flow.decoded)


def _has_instance(lane: Lane[Payload], device: Device[Payload]) -> bool:
    return not lane.limits.instances or device.runs(lane) < lane.limits.instances


def _is_wanting(lane: Lane[Payload], devices: Mapping[str, Device[Payload]]) -> bool:
    """Whether the lane has less decoded than its devices are about to take."""
    able = sum(name in devices for name in lane.tables)
    return lane.ahead_of_devices < _DECODED_AHEAD * able * lane.limits.max_batch_size
