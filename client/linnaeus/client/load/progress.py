"""What a running test tells whoever draws it.

It must not know who draws, nor where.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import Spell

Phase = Literal["warmup", "measuring", "draining"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A spell under way.

    Attributes:
        elapsed_seconds: since measuring began; negative while warming up.
        phase: what is being done.
        sent, ok, late, refused, failed: so far while measuring, as in `Counts`; `failed` includes those that differed.
        in_flight: calls sent and not yet ended, of all processes.
        calls_per_second: calls ended since the last tick, a second; those of the warm-up too.
        p50_seconds, p99_seconds: latency so far, as in `Latency`; None before the first answer was measured.
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
    """Hears how a run goes; called on the thread that runs it, and must return soon."""

    def spell_started(self, plan: Plan, number: int, of: int | None) -> None:
        """Spell `number`, from 1, of `of` (None: a search does not know) is about to start."""

    def tick(self, snapshot: Snapshot) -> None:
        """About twice a second."""

    def spell_ended(self, spell: Spell) -> None:
        """A spell is over, whole or interrupted."""


class Silence:
    """A `Progress` for nobody."""

    def spell_started(self, plan: Plan, number: int, of: int | None) -> None:
        """Says nothing."""

    def tick(self, snapshot: Snapshot) -> None:
        """Says nothing."""

    def spell_ended(self, spell: Spell) -> None:
        """Says nothing."""
