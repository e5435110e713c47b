"""The scheduling policy: which ticket runs next, and in how large a batch. Decided when a device becomes free.

1.  *Order.* Among the flows (priority classes of a lane) with work for the device, those go first whose next ticket is
    of a caller within its share, as a caller that is alone always is (see `admission`); of these the flows within their
    fair share (a tolerance of `FAIRNESS_SECONDS` applies); of these the highest priority; of these the earliest
    deadline. Fairness is in device seconds divided by weight, so no model and no priority starves, however urgent the
    others are.
2.  *Batch contents.* A batch takes the flow's tickets by deadline, then the lane's other tickets by priority and
    deadline, as long as the latency table predicts that the earliest deadline among them holds. A ticket that would be
    late even in a batch of one is dropped instead of run.
3.  *Batch size limit.* A request that arrives just after a batch has started waits for its end, so a batch should take
    at most half of the time that a request gives. It is made shorter for requests that give less only if there are more
    of them a second than images that the device would do less, and never so that it does less than half.
4.  *Start time.* A batch starts at once, with two exceptions. While a batch of the lane runs on the device, another one
    starts only when it is full: otherwise the workers would split the arriving tickets into small batches. And the
    operator may configure a delay. Both end at the last moment at which the earliest deadline still holds.

Decoders use the same order, and decoding counts as use, too. They decode little more than the devices are about to
take, so a ticket that is cancelled or expires early costs no decoding. As long as images come that are quickly decoded,
one of several decoders is kept for them, so that no sender of huge ones can occupy all.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, NamedTuple

from linnaeus.server.scheduling.lanes import Device, Flow, Lane
from linnaeus.server.scheduling.tickets import Payload, Ticket

# How far a flow may exceed its fair share, in device seconds, before less urgent flows precede it.
FAIRNESS_SECONDS = 0.1
# The longest batch, as a share of a request's time.
_MAX_SHARE_OF_TIMEOUT = 0.5
# A few requests have lost their time on the way; so small a share of all makes no batch smaller.
_SPARED_SHARE = 0.05
# How much of a device's throughput may be lost to shorter batches.
_MAX_LOSS = 0.5
# An image that takes a decoder longer than this is not quickly decoded.
LONG_DECODE_SECONDS = 0.05
# How many full batches are decoded ahead for each device. One is too few: the next worker would wait for decoders.
_DECODED_AHEAD_BATCHES = 1.5


@dataclass(frozen=True, slots=True)
class BatchPlan(Generic[Payload]):
    """A planned batch: tickets to run, and late tickets to drop."""

    flow: Flow[Payload]
    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]


class Policy(Generic[Payload]):
    """The scheduling decisions. It changes no state. Guarded by the queue's lock.

    Args:
        lanes: the queue's lanes; the queue changes the mapping in place.
        runs_short_apart: whether lanes of short runs and other lanes are run by different threads of a device: batches
            are of lanes of the one kind if `short`, else of the other kind. If not, they are of any lane.
    """

    def __init__(self, lanes: Mapping[object, Lane[Payload]], runs_short_apart: bool = False) -> None:
        self._lanes = lanes
        self.runs_short_apart = runs_short_apart

    def plan_batch(
        self, device: Device[Payload], now: float, draining: bool, short: bool = False
    ) -> BatchPlan[Payload] | None:
        """Returns the batch that the device should run now; None if none is due."""
        due = [
            lane
            for lane in self._lanes_with_work(device, short, now)
            if self.seconds_until_due(lane, device, now, draining) <= 0
        ]
        heads = [_Head(flow, flow.decoded.head) for lane in due for flow in lane.flows if flow.decoded.entries]
        first = _most_urgent(heads, now)
        return None if first is None else self._fill_batch(first.flow, device, now)

    def wait_seconds(
        self, device: Device[Payload], now: float, short: bool = False, draining: bool = False
    ) -> float | None:
        """Returns the seconds until a batch is due; None if none is due until the state changes."""
        soonest = min(
            [self.seconds_until_due(lane, device, now, draining) for lane in self._lanes_with_work(device, short, now)],
            default=inf,
        )
        return None if soonest == inf else max(soonest, 0.0)

    def seconds_until_due(self, lane: Lane[Payload], device: Device[Payload], now: float, draining: bool) -> float:
        """Returns the seconds until a batch of the lane is due on the device; infinite until the state changes."""
        waiting = lane.decoded_count
        if not waiting or device.runs_all_of(lane):
            return inf
        if all(_should_wait_for_faster_device(head, lane, device, now) for head in lane.heads()):
            return inf
        delay, waits_for_more = lane.limits.max_queue_delay_seconds, device.runs(lane)
        if draining or lane.closing or not (delay or waits_for_more):
            return 0.0
        if waiting >= self.largest_batch(lane, device, now):
            return 0.0
        longest = lane.tables[device.name].longest(waiting, len(device.running), now)
        deadlines = [head.deadline for head in lane.heads() if head.deadline is not None]
        last_moment = min(deadlines, default=inf) - longest - now
        return last_moment if waits_for_more else min(_oldest_queued_at(lane) + delay - now, last_moment)

    def largest_batch(self, lane: Lane[Payload], device: Device[Payload], now: float) -> int:
        """Returns the maximum batch size of the lane under the limit on batch duration; at least 1."""
        max_size, rates = lane.limits.max_batch_size, device.timeouts.up_to_timeout(now)
        if max_size == 1 or not rates or rates[0][0] == inf:
            return max_size
        table, concurrent = lane.tables[device.name], len(device.running)
        most_images = max_size / table.expected(max_size, 0, now)

        def is_too_long(size: int) -> bool:
            lost_images = most_images - size / table.expected(size, 0, now)
            if lost_images > _MAX_LOSS * most_images:
                return False
            tightest = _tightest_timeout(rates, lost_images)
            return table.longest(size, concurrent, now) > _MAX_SHARE_OF_TIMEOUT * tightest

        if not is_too_long(max_size):  # the usual case, which costs one look instead of one for each halving
            return max_size
        return max(bisect_left(range(1, max_size), True, key=is_too_long), 1)

    def next_undecoded(
        self, devices: Mapping[str, Device[Payload]], may_be_long: bool, now: float
    ) -> Ticket[Payload] | None:
        """Returns the ticket that should be decoded next; None if enough is decoded ahead.

        Args:
            devices: the devices that are there.
            may_be_long: whether it may take a decoder longer than `LONG_DECODE_SECONDS`.
            now: time of the clock, in seconds.
        """
        heads = [
            _Head(flow, ticket)
            for lane in self._lanes.values()
            for flow in lane.flows
            if flow.undecoded.entries
            and _needs_decoding(lane, devices)
            and (ticket := _first_to_decode(flow, may_be_long)) is not None
        ]
        first = _most_urgent(heads, now)
        return None if first is None else first.ticket

    def _lanes_with_work(self, device: Device[Payload], short: bool, now: float) -> list[Lane[Payload]]:
        lanes = [lane for lane in self._lanes.values() if device.name in lane.tables and lane.decoded_count]
        return [lane for lane in lanes if lane.is_short(now) is short] if self.runs_short_apart else lanes

    def _fill_batch(self, flow: Flow[Payload], device: Device[Payload], now: float) -> BatchPlan[Payload]:
        table, concurrent = flow.lane.tables[device.name], len(device.running)
        max_size = self.largest_batch(flow.lane, device, now) if flow.lane.decoded_count > 1 else 1
        earliest_end = now + table.expected(1, concurrent, now)
        plan: BatchPlan[Payload] = BatchPlan(flow, [], [])
        earliest_deadline = inf
        for ticket in _tickets_in_order(flow):
            deadline = inf if ticket.deadline is None else ticket.deadline
            if _should_wait_for_faster_device(ticket, flow.lane, device, now):
                continue
            if deadline <= now or (deadline < earliest_end and not ticket.is_probe):
                plan.late.append(ticket)
                continue
            size = len(plan.tickets) + 1
            earliest_deadline = min(earliest_deadline, deadline)
            if size > max_size:
                break
            if size > 1 and earliest_deadline != inf and now + table.longest(size, concurrent, now) > earliest_deadline:
                break
            plan.tickets.append(ticket)
        return plan


class _Head(NamedTuple, Generic[Payload]):
    """The ticket of a flow that is to go first."""

    flow: Flow[Payload]
    ticket: Ticket[Payload]


def _most_urgent(heads: Sequence[_Head[Payload]], now: float) -> _Head[Payload] | None:
    """Returns the head to serve first, by the order that this module's docstring states."""
    if len(heads) < 2:
        return heads[0] if heads else None
    least = min([flow.used for flow, _ in heads])
    is_one_caller = len({ticket.caller for _, ticket in heads}) == 1  # which yields to others, not to itself

    def urgency(head: _Head[Payload]) -> tuple[bool, bool, int, float, int]:
        flow, ticket = head
        is_ahead = (flow.used - least) * flow.weight > FAIRNESS_SECONDS
        yields = now < ticket.yields_until and not is_one_caller
        return yields, is_ahead, flow.priority, ticket.due, ticket.order

    return min(heads, key=urgency)


def _first_to_decode(flow: Flow[Payload], may_be_long: bool) -> Ticket[Payload] | None:
    if may_be_long:
        return flow.undecoded.head
    return next((ticket for ticket in flow.undecoded if ticket.decode_seconds <= LONG_DECODE_SECONDS), None)


def _tightest_timeout(rates: Sequence[tuple[float, float]], lost_images: float) -> float:
    """Returns the shortest timeout for which `lost_images` a second may be given up; infinite if there is none."""
    spared = max(lost_images, _SPARED_SHARE * rates[-1][1])
    return next((timeout for timeout, rate in rates if rate > spared), inf)


def _tickets_in_order(first: Flow[Payload]) -> Iterator[Ticket[Payload]]:
    """Yields the decoded tickets of a flow, then those of the lane's other flows."""
    yield from first.decoded
    for flow in first.lane.flows:
        if flow is not first:
            yield from flow.decoded


def _should_wait_for_faster_device(
    ticket: Ticket[Payload], lane: Lane[Payload], device: Device[Payload], now: float
) -> bool:
    """Whether this device is too slow to meet the ticket's deadline but another device of the lane can meet it."""
    if ticket.deadline is None or len(lane.tables) == 1:
        return False
    left = ticket.deadline - now
    runs = {name: table.expected(1, 0, now) for name, table in lane.tables.items()}
    return runs[device.name] > left >= min(runs.values())


def _oldest_queued_at(lane: Lane[Payload]) -> float:
    """Returns when the lane's oldest decoded ticket was queued."""
    return min(ticket.queued_at for flow in lane.flows for ticket in flow.decoded)


def _needs_decoding(lane: Lane[Payload], devices: Mapping[str, Device[Payload]]) -> bool:
    """Whether fewer tickets are decoded than the lane's devices are about to take."""
    able = len(devices.keys() & lane.tables)
    return lane.decoded_or_decoding_count < _DECODED_AHEAD_BATCHES * able * lane.limits.max_batch_size
