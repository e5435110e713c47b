"""The progress of a running load test, for a display that the caller passes in."""

from dataclasses import dataclass
from typing import Literal, Protocol

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import Measurement

Phase = Literal["warmup", "measuring", "draining"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a running measurement.

    Attributes:
        elapsed_seconds: since the measurement began; negative during the warm-up.
        phase: the current phase.
        sent, ok, late, refused, failed: measured calls so far, as in `Counts`; `failed` includes those that differed.
        in_flight: calls that were sent and have not ended, of all processes.
        calls_per_second: the rate of calls that ended since the last snapshot, the warm-up included.
        p50_seconds, p99_seconds: the latency so far, as in `Latency`; None before the first measured answer.
    """

    elapsed_seconds: float
    phase: Phase
    sent: int
    ok: int
    late: int
    refused: int
    failed: int
    in_flight: int
    calls_per_second: float
    p50_seconds: float | None
    p99_seconds: float | None


class Progress(Protocol):
    """Receives the progress; called in the thread that runs the test, so it must return quickly."""

    def measurement_started(self, plan: Plan, number: int, of: int | None) -> None:
        """Measurement `number`, from 1, of `of` is about to start; `of` is None for a search."""

    def update(self, snapshot: Snapshot) -> None:
        """Called about twice a second."""

    def measurement_ended(self, measurement: Measurement) -> None:
        """A measurement has ended, complete or interrupted."""


class NoProgress:
    """Ignores the progress."""

    def measurement_started(self, plan: Plan, number: int, of: int | None) -> None:
        """Does nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Does nothing."""

    def measurement_ended(self, measurement: Measurement) -> None:
        """Does nothing."""
