"""What a load test found, as plain frozen data that JSON can hold.

A run is one or several spells: one for a plain test, one a step for a ramp or a search.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the calls of one spell; every call sent is counted once, under exactly one of the others.

    Attributes:
        sent: calls that were begun.
        ok: answered in time, as the picture was answered first.
        late: ended by the deadline, whether the server or gRPC said so, or answered after it.
        refused: RESOURCE_EXHAUSTED, the server has too much to do.
        failed: any other status.
        differed: answered in time, but not as the picture was answered first.
        cancelled: cancelled by the tester on purpose.
        corrupt: spoilt pictures that were refused as they should be.
        by_code: all calls by the status code's name, as gRPC told it.
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
class Latency:
    """Seconds from the intended moment of sending to the answer, of the calls that are `ok` or `differed`.

    In a closed loop the intended moment is when the caller was free to send. All values are 0.0 where no call was
    answered. `histogram` is HdrHistogram's own compressed text of microseconds.
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
    """What became of the calls that were meant to be sent in one second of a spell.

    Attributes:
        offset: seconds from the start of measuring; negative while warming up.
        sent, ok, late, refused, failed: as in `Counts`; `failed` includes those that differed.
        p50, p99, max: latency in seconds of the answered ones; None if there were none.
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
    """What the server's own metrics say of a spell.

    Attributes:
        stage_seconds: mean seconds a call by stage (decode, queue, inference, respond).
        mean_batch_size: images a batch; None where there was no batch.
        batch_sizes: batches by the upper bound of their size class, as the metrics have it ("+Inf" for the last).
        processor_seconds: what the server's process spent; None where it does not tell.
    """

    stage_seconds: Mapping[str, float]
    mean_batch_size: float | None
    batch_sizes: Mapping[str, int]
    processor_seconds: float | None


@dataclass(frozen=True, slots=True)
class TesterView:
    """What the tester knows of itself.

    Attributes:
        busy: the busiest process's share of the time in which it ran or waited for a core, 0 to 1.
        send_lag_p99: seconds by which calls left later than intended, 99th percentile; 0.0 in a closed loop.
        was_the_limit: whether the tester, not the server, bounded this spell.
        reason: why, in one sentence; empty if it was not.
    """

    busy: float
    send_lag_p99: float
    was_the_limit: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Spell:
    """One stretch of constant load.

    Attributes:
        rate: calls a second that were asked for; None in a closed loop.
        concurrency: callers at once; None in an open loop.
        seconds: for how long it was measured, warming up excluded.
        counts, latency: of the calls that were meant to be sent while it was measured.
        timeline: one entry a second, warming up included.
        server: None where the metrics could not be read.
        tester: whether the tester itself was the limit.
        interrupted: whether it was ended early by Ctrl-C.
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

    @property
    def offered(self) -> float:
        """Calls sent a second."""
        return self.counts.sent / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Calls a second that were `ok`."""
        return self.counts.ok / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A whole test.

    Attributes:
        kind: `single`, `ramp` or `search`.
        started_at: ISO 8601, with the time zone.
        options: the command's options as they were used, by name.
        machine: the tester's, in words.
        spells: in the order they ran.
        knee: of a ramp, the highest rate that was still served in full (`linnaeus.client.load.analysis.knee` says what
            that means); None where even the lowest was not, or there is no ramp.
        objective: of a search, as it was given.
        found_rate: of a search, the highest rate that met it; None where none did.
        notes: sentences for the reader, such as why metrics are missing.
    """

    kind: str
    started_at: str
    options: Mapping[str, Any]
    machine: str
    spells: tuple[Spell, ...]
    knee: float | None = None
    objective: str | None = None
    found_rate: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it back."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: it is no load test's result, or of another format; says what is wrong.
        """
        if plain.get("format") != FORMAT:
            raise ValueError(f"format is {plain.get('format')!r}, but this version reads {FORMAT}")
        try:
            spells = tuple(_spell(each) for each in plain["spells"])
            rest = {key: value for key, value in plain.items() if key not in ("format", "spells", "notes")}
            return cls(spells=spells, notes=tuple(plain["notes"]), **rest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is not a load test's result: {error}") from None


def _spell(plain: Mapping[str, Any]) -> Spell:
    parts = dict(plain)
    parts["counts"] = Counts(**parts["counts"])
    parts["latency"] = Latency(**parts["latency"])
    parts["timeline"] = tuple(Second(**each) for each in parts["timeline"])
    parts["server"] = None if parts["server"] is None else ServerView(**parts["server"])
    parts["tester"] = TesterView(**parts["tester"])
    return Spell(**parts)
