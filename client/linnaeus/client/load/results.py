"""The results of a load test, as frozen dataclasses that can be written as JSON.

A run has one measurement, or one for each step of a ramp or a search. Format 1 of the JSON calls them "spells".
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

FORMAT = 1
_JSON_NAMES = {"measurements": "spells"}


@dataclass(frozen=True, slots=True)
class Counts:
    """The calls of one measurement by outcome; `sent` is the sum of the outcomes.

    Attributes:
        sent: calls that were started.
        ok: answered in time, with the same answer as the first one for the image.
        late: ended at the deadline, by the server or by gRPC, or answered after it.
        refused: RESOURCE_EXHAUSTED: the server is overloaded.
        failed: any other status.
        differed: answered in time, with another answer than the first one for the image.
        cancelled: cancelled by the load tester on purpose.
        corrupt: corrupt images that were refused, as they should be.
        by_code: all calls by the name of the status code.
    """

    sent: int = 0
    ok: int = 0
    late: int = 0
    refused: int = 0
    failed: int = 0
    differed: int = 0
    cancelled: int = 0
    corrupt: int = 0
    by_code: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Calls of one measurement that were not ok for the same reason.

    Attributes:
        code: the name of the status code; OK for an answer that was late or another one than before.
        calls: how many there were.
        sentence: what the server or gRPC said of one of them; the others may differ in numbers.
    """

    code: str
    calls: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the scheduled time of a call to its answer, of the calls that are `ok` or `differed`.

    In a closed loop a call is scheduled when its caller's last call has ended. All values are 0.0 if no call was
    answered. `histogram` is HdrHistogram's compressed text, in microseconds.
    """

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    max: float
    histogram: str


@dataclass(frozen=True, slots=True)
class Second:
    """The calls that were scheduled in one second of a measurement.

    Attributes:
        offset: seconds from the start of the measurement; negative during the warm-up.
        sent, ok, late, refused, failed: as in `Counts`; `failed` includes those that differed.
        p50, p99, max: the latency in seconds of the answered calls; None if there were none.
    """

    offset: int
    sent: int
    ok: int
    late: int
    refused: int
    failed: int
    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class ServerView:
    """A measurement as the server's metrics show it.

    Attributes:
        stage_seconds: mean seconds a call by stage (decode, queue, inference, respond).
        mean_batch_size: mean images a batch; None if there was no batch.
        batch_sizes: the number of batches by the upper bound of their size class, "+Inf" for the last class.
        processor_seconds: the CPU time of the server's process; None if it is unknown.
    """

    stage_seconds: Mapping[str, float]
    mean_batch_size: float | None
    batch_sizes: Mapping[str, int]
    processor_seconds: float | None


@dataclass(frozen=True, slots=True)
class TesterView:
    """The load tester's own part in a measurement.

    Attributes:
        busy: the share of the time in which the busiest process ran or waited for a core, 0 to 1.
        send_lag_p99: the 99th percentile of the seconds by which calls were sent late; 0.0 in a closed loop.
        was_the_limit: whether the load tester, not the server, was the bottleneck.
        reason: why, in one sentence; empty if it was not.
    """

    busy: float
    send_lag_p99: float
    was_the_limit: bool
    reason: str


@dataclass(frozen=True, slots=True)
class QueueTrend:
    """How the queue developed during a measurement in an open loop, as latencies and calls in flight show it.

    Attributes:
        grows: whether it grew to the end, which no server sustains.
        drift: seconds of latency gained a second; 0.1 means that the server fell behind by a tenth of what came in.
        in_flight_at_start, in_flight_at_end: calls that were sent and not ended, when measuring began and ended.
        answered_per_second: calls that were answered in the measured time, whenever they were sent.
        steady_after: seconds from the start of the measurement after which latency was steady; what is before still
            belongs to the warm-up. None if the queue grew, or if there were too few calls to tell.
    """

    grows: bool
    drift: float
    in_flight_at_start: int
    in_flight_at_end: int
    answered_per_second: float
    steady_after: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Constant load for a fixed time.

    Attributes:
        rate: the planned calls a second; None in a closed loop.
        concurrency: the number of callers; None in an open loop.
        seconds: the measured time, without the warm-up.
        counts, latency: of the calls that were scheduled during the measured time.
        timeline: one entry a second, the warm-up included.
        server: None if the metrics could not be read.
        tester: whether the load tester itself was the bottleneck.
        interrupted: whether Ctrl-C ended it early.
        failures: why calls were not ok, the most frequent reason first; calls that the load tester cancelled or
            corrupted are not among them.
        queue: None in a closed loop, where callers wait for the server.
    """

    rate: float | None
    concurrency: int | None
    seconds: float
    counts: Counts
    latency: Latency
    timeline: tuple[Second, ...]
    server: ServerView | None
    tester: TesterView
    interrupted: bool = False
    failures: tuple[FailureReason, ...] = ()
    queue: QueueTrend | None = None

    @property
    def offered(self) -> float:
        """Calls a second that were sent."""
        return self.counts.sent / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Calls a second that were `ok`; while a queue grows, no more than were answered in the measured time.

        What piled up is answered later, at no rate that the server sustains.
        """
        ok = self.counts.ok / self.seconds if self.seconds else 0.0
        return min(ok, self.queue.answered_per_second) if self.queue is not None and self.queue.grows else ok


@dataclass(frozen=True, slots=True)
class Run:
    """A whole load test.

    Attributes:
        kind: `single`, `ramp` or `search`.
        started_at: ISO 8601, with the time zone.
        options: the options by name.
        machine: a description of the load tester's machine.
        measurements: in the order in which they ran.
        knee: the highest rate of a ramp that was served in full, as defined in
            `linnaeus.client.load.measurement.served`; None if even the lowest was not, or this is not a ramp.
        knee_below: the next rate of the ramp, which was not served in full; None if all were.
        knee_estimate: where between the two the knee probably lies; None if that is unknown.
        objective: of a search, as it was given.
        found_rate: the highest rate of a search that met the objective; None if none did.
        notes: sentences for the reader, such as why metrics are missing.
    """

    kind: str
    started_at: str
    options: Mapping[str, Any]
    machine: str
    measurements: tuple[Measurement, ...]
    knee: float | None = None
    knee_below: float | None = None
    knee_estimate: float | None = None
    objective: str | None = None
    found_rate: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Converts to dicts, lists, strings and numbers; `from_dict` reads them."""
        return {"format": FORMAT} | {_JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` returned.

        Raises:
            ValueError: if it is not a load test's result, or has another format. The message says what is wrong.
        """
        if plain.get("format") != FORMAT:
            raise ValueError(f"format is {plain.get('format')!r}, but this version reads {FORMAT}")
        try:
            measurements = tuple(_read_measurement(each) for each in plain["spells"])
            rest = {key: value for key, value in plain.items() if key not in ("format", "spells", "notes")}
            return cls(measurements=measurements, notes=tuple(plain["notes"]), **rest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is not a load test's result: {error}") from None


def _read_measurement(plain: Mapping[str, Any]) -> Measurement:
    parts = dict(plain)
    parts["counts"] = Counts(**parts["counts"])
    parts["latency"] = Latency(**parts["latency"])
    parts["timeline"] = tuple(Second(**each) for each in parts["timeline"])
    parts["server"] = None if parts["server"] is None else ServerView(**parts["server"])
    parts["tester"] = TesterView(**parts["tester"])
    parts["queue"] = None if parts.get("queue") is None else QueueTrend(**parts["queue"])
    parts["failures"] = tuple(FailureReason(**each) for each in parts.get("failures", ()))
    return Measurement(**parts)
