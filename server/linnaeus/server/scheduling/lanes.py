"""The queue's data: lanes with their flows, and devices. It makes no decisions.

A lane is the queue of one loaded model version. A flow is one priority class of a lane. Everything here is guarded by
the queue's lock.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Generic

from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.deadline_queue import DeadlineQueue
from linnaeus.server.scheduling.prediction_margin import PredictionMargin
from linnaeus.server.scheduling.tickets import Batch, Payload, Priority, Ticket
from linnaeus.server.scheduling.timeout_rates import TimeoutRates


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """A lane's limits and its share of the devices.

    Attributes:
        max_batch_size: maximum number of images in a batch.
        max_queue_size: maximum number of tickets that no device has taken yet.
        max_queue_delay_seconds: how long a batch that is not full waits for more images, counted from the arrival of
            its first image. With 0, the default, a free device takes what waits. A larger value trades latency at
            low load for fuller batches; more than the duration of one batch is never useful. The delay never makes a
            ticket miss its deadline.
        weight: the lane's share of a busy device, relative to the weights of the other lanes.
        priority_weights: the shares of high, normal and low priority within the lane when the device is overloaded.
        instances: maximum number of batches of the lane that run at once on one device; 0: as many as the device runs
            of one lane.
        is_short: whether its batches run for a few milliseconds at most; `policy` says what follows.
    """

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_seconds: float = 0.0
    weight: float = 1.0
    priority_weights: tuple[float, float, float] = (10.0, 1.0, 0.1)
    instances: int = 0
    is_short: bool = False


class Device(Generic[Payload]):
    """A device and the batches that run on it.

    Attributes:
        name: the operator's name for it.
        workers: maximum number of batches that run at once.
        of_one_lane: maximum number of them that belong to one lane, if the lane does not limit them itself.
        running: the batches that are running.
        timeouts: how much time the recent requests for it gave, if it could ever meet that.
    """

    def __init__(self, name: str, workers: int, of_one_lane: int = 0) -> None:
        self.name = name
        self.workers = workers
        self.of_one_lane = of_one_lane or workers
        self.running: list[Batch[Payload]] = []
        self.timeouts = TimeoutRates()

    def runs(self, lane: "Lane[Payload]") -> int:
        """Returns how many batches of the lane are running."""
        return len([batch for batch in self.running if batch.lane == lane.name])

    def runs_all_of(self, lane: "Lane[Payload]") -> bool:
        """Whether one of the lane's running batches must end before another may start."""
        return self.runs(lane) >= (lane.limits.instances or self.of_one_lane)


@dataclass(slots=True, eq=False)
class Flow(Generic[Payload]):
    """One priority class of a lane.

    Attributes:
        lane: the lane that it belongs to.
        priority: the priority class.
        weight: its share of a busy device, relative to all other flows.
        caller_weight: the share of a caller of this class, relative to a caller of normal priority.
        held: tickets that are held back, by their order.
        undecoded, decoding, decoded: tickets that wait for a decoder, are being decoded, or wait for a device.
        depth: tickets that no device has taken; kept as a counter, because every request reads it several times.
        callers: the same by caller.
        running: tickets on a device.
        used: device seconds it has used, divided by its weight.
        margin: the errors of its recent predictions.
    """

    lane: "Lane[Payload]"
    priority: Priority
    weight: float
    caller_weight: float
    held: dict[int, Ticket[Payload]] = field(default_factory=dict)
    undecoded: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    decoded: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    decoding: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    depth: int = 0
    callers: dict[str, int] = field(default_factory=dict)
    running: int = 0
    used: float = 0.0
    margin: PredictionMargin = field(default_factory=PredictionMargin)

    @property
    def is_active(self) -> bool:
        """Whether any of its tickets waits or runs."""
        return bool(self.running or self.depth)

    @property
    def decode_seconds(self) -> float:
        """Processor seconds that decoding its undecoded tickets is expected to take."""
        return self.undecoded.decode_seconds + self.decoding.decode_seconds

    def use(self, seconds: float) -> None:
        """Counts seconds of a device, or of all decoders, that a ticket used."""
        self.used += seconds / self.weight

    def enter(self, ticket: Ticket[Payload]) -> None:
        """Counts a ticket that now waits."""
        self.depth += 1
        self.callers[ticket.caller] = self.callers.get(ticket.caller, 0) + 1

    def leave(self, ticket: Ticket[Payload]) -> None:
        """Counts a ticket that no longer waits: a device has taken it, or it has ended."""
        self.depth -= 1
        self.callers[ticket.caller] -= 1
        if not self.callers[ticket.caller]:
            del self.callers[ticket.caller]


class Lane(Generic[Payload]):
    """The tickets of a model version, and measurements of its batches.

    Attributes:
        name: the lane's key.
        limits: the lane's limits.
        tables: batch latencies, by the names of the devices that may run the lane.
        flows: one per priority, indexed by it.
        probed_at: when it last admitted a probe.
        slow_until: until then it is not taken for a lane of short runs, because one of them was long.
        closing: whether it admits no more tickets and is removed once it is empty.
    """

    def __init__(self, name: Hashable, limits: LaneLimits, tables: Mapping[str, LatencyTable]) -> None:
        self.name = name
        self.limits = limits
        self.closing = False
        self.tables = dict(tables)
        weights = zip(Priority, limits.priority_weights, strict=True)
        normal = limits.priority_weights[Priority.NORMAL]
        self.flows = [Flow[Payload](self, each, limits.weight * weight, weight / normal) for each, weight in weights]
        self.probed_at = self.slow_until = -inf

    def is_short(self, now: float) -> bool:
        """Whether its next batch is expected to run for a few milliseconds at most."""
        return self.limits.is_short and now >= self.slow_until

    @property
    def depth(self) -> int:
        """Number of tickets that no device has taken."""
        high, normal, low = self.flows
        return high.depth + normal.depth + low.depth

    @property
    def decoded_count(self) -> int:
        """Number of tickets that wait for a device."""
        high, normal, low = self.flows
        return len(high.decoded.entries) + len(normal.decoded.entries) + len(low.decoded.entries)

    @property
    def decoded_or_decoding_count(self) -> int:
        """Number of tickets that are decoded or being decoded, and that no device has taken."""
        high, normal, low = self.flows
        decoding = len(high.decoding.entries) + len(normal.decoding.entries) + len(low.decoding.entries)
        return self.decoded_count + decoding

    @property
    def is_active(self) -> bool:
        """Whether any of its tickets waits or runs."""
        return any(flow.is_active for flow in self.flows)

    def heads(self) -> Iterator[Ticket[Payload]]:
        """Yields the most urgent decoded ticket of each flow."""
        return (flow.decoded.head for flow in self.flows if flow.decoded.entries)

    def learn_from(self, other: "Lane[Payload]") -> None:
        """Takes over the batch latencies of another lane of the same model where their sizes are equal.

        The latency tables are shared from then on, so batches of both lanes update them.
        """
        fitting = {name: table for name, table in other.tables.items() if name in self.tables}
        self.tables |= {name: table for name, table in fitting.items() if table.sizes == self.tables[name].sizes}
