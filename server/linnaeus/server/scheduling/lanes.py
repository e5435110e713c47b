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
from linnaeus.server.scheduling.service_rate import ServiceRate
from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile
from linnaeus.server.scheduling.tickets import Batch, Payload, Priority, Ticket

_TIMEOUT_MEMORY_SECONDS = 10.0
_TIGHTEST_TIMEOUT_QUANTILE = 0.05
_DECODE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """A lane's limits and its share of the devices.

    Attributes:
        max_batch_size: maximum number of images in a batch.
        max_queue_size: maximum number of tickets of one priority and those above it that no device has taken yet.
        max_queue_delay_seconds: how long a batch that is not full waits for more images, counted from the arrival of
            its first image. With 0, the default, a free device never waits. A larger value trades latency at low load
            for fuller batches; more than the duration of one batch is never useful. The delay never makes a ticket miss
            its deadline.
        weight: the lane's share of a busy device, relative to the weights of the other lanes.
        priority_weights: the shares of high, normal and low priority within the lane when the device is overloaded.
        instances: maximum number of batches of the lane that run at once on one device; 0: as many as the device has
            workers.
    """

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_seconds: float = 0.0
    weight: float = 1.0
    priority_weights: tuple[float, float, float] = (10.0, 1.0, 0.1)
    instances: int = 0


class Device(Generic[Payload]):
    """A device and the batches that run on it.

    Attributes:
        name: the operator's name for it.
        workers: maximum number of batches that run at once.
        running: the batches that are running.
        service_rate: how fast the device drains its backlog.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self.workers = workers
        self.running: list[Batch[Payload]] = []
        self.service_rate = ServiceRate()

    def runs(self, lane: "Lane[Payload]") -> int:
        """Returns how many batches of the lane are running."""
        return len([batch for batch in self.running if batch.lane == lane.name])


@dataclass(slots=True, eq=False)
class Flow(Generic[Payload]):
    """One priority class of a lane.

    Attributes:
        lane: the lane that it belongs to.
        priority: the priority class.
        weight: its share of a busy device, relative to all other flows.
        held: tickets that are held back, by their order.
        undecoded, decoding, decoded: tickets that wait for a decoder, are being decoded, or wait for a device.
        depth: tickets that no device has taken; kept as a counter, because every request reads it several times.
        running: tickets on a device.
        used: device seconds it has used, divided by its weight.
        margin: the errors of its recent predictions.
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
        """Whether any of its tickets waits or runs."""
        return bool(self.running or self.depth)


class Lane(Generic[Payload]):
    """The tickets of a model version, and measurements of its batches.

    Attributes:
        name: the lane's key.
        limits: the lane's limits.
        tables: batch latencies, by the names of the devices that may run the lane.
        flows: one per priority, indexed by it.
        decode_seconds: recent average seconds to decode one ticket, divided by the number of decoders.
        closing: whether it admits no more tickets and is removed once it is empty.
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
        self._timeouts = SlidingQuantile(_TIMEOUT_MEMORY_SECONDS, min_count=0)

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
        return self.decoded_count + sum([len(flow.decoding.entries) for flow in self.flows])

    @property
    def is_active(self) -> bool:
        """Whether any of its tickets waits or runs."""
        return any(flow.is_active for flow in self.flows)

    def depth_at_or_above(self, priority: Priority) -> int:
        """Returns the number of tickets of this priority or a higher one that no device has taken."""
        return sum([flow.depth for flow in self.flows[: priority + 1]])

    def heads(self) -> Iterator[Ticket[Payload]]:
        """Yields the most urgent decoded ticket of each flow."""
        return (flow.decoded.head for flow in self.flows if flow.decoded.entries)

    def record_timeout(self, seconds: float, now: float) -> None:
        """Records the time that a request had until its deadline, if an otherwise empty lane could meet it."""
        self._timeouts.add(seconds, now)

    def tightest_timeout(self, now: float) -> float:
        """Returns the 5th percentile of the recent timeouts; infinite if there were none.

        A percentile instead of the minimum: one call that lost its time on the way to the server would otherwise keep
        all batches small.
        """
        if self._timeouts.age(now) > _TIMEOUT_MEMORY_SECONDS:
            return inf
        return self._timeouts.quantile(_TIGHTEST_TIMEOUT_QUANTILE)

    def learn_from(self, other: "Lane[Payload]") -> None:
        """Takes over the measurements of another lane of the same model: decoding, and batch latencies of equal sizes.

        The latency tables are shared from then on, so batches of both lanes update them.
        """
        self.decode_seconds = other.decode_seconds
        self._decode_seconds_per_byte = other._decode_seconds_per_byte
        fitting = {name: table for name, table in other.tables.items() if name in self.tables}
        self.tables |= {name: table for name, table in fitting.items() if table.sizes == self.tables[name].sizes}

    def expected_decode_seconds(self, size: int) -> float:
        """Returns the expected seconds to decode `size` bytes, divided by the number of decoders."""
        return size * self._decode_seconds_per_byte

    def record_decoding(self, size: int, seconds: float) -> None:
        """Records that decoding `size` bytes took `seconds`, divided by the number of decoders."""
        step = _DECODE_STEP if self.decode_seconds else 1.0
        self.decode_seconds += step * (seconds - self.decode_seconds)
        self._decode_seconds_per_byte += step * (seconds / max(size, 1) - self._decode_seconds_per_byte)
