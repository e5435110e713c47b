"""What the queue keeps: lanes with their flows, and devices. Data with bookkeeping; it decides nothing.

A lane is a model version. A flow is one priority class of a lane. Everything here belongs to the queue's lock.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Generic

from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.deadline_queue import DeadlineQueue
from linnaeus.server.scheduling.prediction_margin import PredictionMargin
from linnaeus.server.scheduling.service_rate import ServiceRate
from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile
from linnaeus.server.scheduling.tickets import Batch, Payload, Priority, Ticket

_TIGHTEST_MEMORY_SECONDS = 10.0
_TIGHTEST_QUANTILE = 0.05
_DECODE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What a lane may hold, and what is due to it.

    Attributes:
        max_batch_size: images in one batch at most.
        max_queue_size: tickets of one priority and those above it, admitted and not yet taken, at most.
        max_queue_delay_seconds: how long a batch that is not full waits for more, counted from its first image's
            arrival. 0, the default, never lets a free device wait. A larger value trades latency at low load for
            fuller batches; more than one batch's run is never worth it. No deadline is missed for it.
        weight: its part of a device that several lanes keep busy, against the other lanes' weights.
        priority_weights: what high, normal and low priority get of the lane, against one another, where more is asked
            for than a device can do.
        instances: batches that may run at once on one device; 0 for as many as the device has workers.
    """

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_seconds: float = 0.0
    weight: float = 1.0
    priority_weights: tuple[float, float, float] = (10.0, 1.0, 0.1)
    instances: int = 0


class Device(Generic[Payload]):
    """A device and what runs on it.

    Attributes:
        name: as the operator calls it.
        workers: batches that run side by side at most.
        running: those that do.
        service_rate: how fast it works.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self.workers = workers
        self.running: list[Batch[Payload]] = []
        self.service_rate = ServiceRate()

    def runs(self, lane: "Lane[Payload]") -> int:
        """Counts the lane's batches that run."""
        return len([batch for batch in self.running if batch.lane == lane.name])


@dataclass(slots=True, eq=False)
class Flow(Generic[Payload]):
    """One priority class of a lane.

    Attributes:
        lane: whose it is.
        priority: the class.
        weight: its part of a busy device, against all other flows.
        held: its tickets that are held back for now, by their order.
        undecoded, decoding, decoded: its tickets that wait for a decoder, are at one, and wait for a device.
        depth: tickets that no device has taken; counted as they come and go, for every request asks several times.
        running: tickets on a device.
        used: device seconds it has had, divided by its weight.
        margin: how far its predictions were off.
    """

    lane: "Lane[Payload]"
    priority: Priority
    weight: float
    held: dict[int, Ticket[Payload]] = field(default_factory=dict)
    undecoded: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    decoded: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    decoding: DeadlineQueue[Payload] = field(default_factory=DeadlineQueue)
    depth: int = 0
    running: int = 0
    used: float = 0.0
    margin: PredictionMargin = field(default_factory=PredictionMargin)

    @property
    def is_active(self) -> bool:
        """Whether it has anything to do or being done."""
        return bool(self.running or self.depth)


class Lane(Generic[Payload]):
    """A model version's tickets, and what is known of its batches.

    Attributes:
        name: its key.
        limits: see there.
        tables: how long its batches take, by the devices that may run it.
        flows: one a priority, by it.
        decode_seconds: what decoding a ticket cost lately, shared by all decoders.
        closing: whether it takes no more tickets and is gone once it is empty.
    """

    def __init__(self, name: Hashable, limits: LaneLimits, tables: Mapping[str, LatencyTable]) -> None:
        self.name = name
        self.limits = limits
        self.closing = False
        self.tables = dict(tables)
        weights = zip(Priority, limits.priority_weights, strict=True)
        self.flows = [Flow[Payload](self, priority, limits.weight * weight) for priority, weight in weights]
        self.decode_seconds = 0.0
        self._decode_seconds_per_byte = 0.0
        self._timeouts = SlidingQuantile(_TIGHTEST_MEMORY_SECONDS, least=0)

    @property
    def depth(self) -> int:
        """Tickets that no device has taken."""
        high, normal, low = self.flows
        return high.depth + normal.depth + low.depth

    @property
    def decoded(self) -> int:
        """Tickets that wait for a device."""
        high, normal, low = self.flows
        return len(high.decoded.entries) + len(normal.decoded.entries) + len(low.decoded.entries)

    @property
    def ahead_of_devices(self) -> int:
        """Tickets that are decoded, or about to be."""
        return self.decoded + sum([len(flow.decoding.entries) for flow in self.flows])

    @property
    def is_active(self) -> bool:
        """Whether it has anything to do or being done."""
        return any(flow.is_active for flow in self.flows)

    def depth_above(self, priority: Priority) -> int:
        """Tickets of that priority and of higher ones that no device has taken."""
        return sum([flow.depth for flow in self.flows[: priority + 1]])

    def heads(self) -> Iterator[Ticket[Payload]]:
        """The most urgent decoded ticket of each class."""
        return (flow.decoded.head for flow in self.flows if flow.decoded.entries)

    def record_timeout(self, seconds: float, now: float) -> None:
        """A ticket came that had so much time, which would be enough if the lane were alone."""
        self._timeouts.add(seconds, now)

    def tightest_timeout(self, now: float) -> float:
        """The shortest time that such tickets had lately, but for a few; infinite if none had a deadline.

        Without the few, one call that lost its time on the way to the server would make all batches small for long.
        """
        if self._timeouts.age(now) > _TIGHTEST_MEMORY_SECONDS:
            return inf
        return self._timeouts.quantile(_TIGHTEST_QUANTILE)

    def learn_from(self, other: "Lane[Payload]") -> None:
        """Begins with what the other one knows of the same model: its decoding, and its batches where they fit.

        The tables are shared from then on: both lanes' batches tell of the same device.
        """
        self.decode_seconds = other.decode_seconds
        self._decode_seconds_per_byte = other._decode_seconds_per_byte
        fitting = {name: table for name, table in other.tables.items() if name in self.tables}
        self.tables |= {name: table for name, table in fitting.items() if table.sizes == self.tables[name].sizes}

    def decode_work(self, size: int) -> float:
        """What decoding so many bytes is likely to cost, in seconds."""
        return size * self._decode_seconds_per_byte

    def record_decoding(self, size: int, seconds: float) -> None:
        """Decoding that many bytes took so long, shared by all decoders."""
        step = _DECODE_STEP if self.decode_seconds else 1.0
        self.decode_seconds += step * (seconds - self.decode_seconds)
        self._decode_seconds_per_byte += step * (seconds / max(size, 1) - self._decode_seconds_per_byte)
