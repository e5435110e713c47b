"""The figures of all attacks as a table in Markdown, and as JSON. Measures nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.attack.judgement import missed_goals
from benchmarks.attack.measurement import Measurement

_MIB = 1 << 20
_HEAD = (
    "attack",
    "server",
    "good in time (before)",
    ": control",
    "p50",
    "p99",
    "recovery",
    "memory after (growth, peak)",
    "cores of the attacker, of others",
    "how hostile calls ended",
    "goals",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One attack against one server.

    Attributes:
        attack: its name.
        server: its name.
        measured: the figures.
        control: the control's figures for the same attack; None for the control itself.
    """

    attack: str
    server: str
    measured: Measurement
    control: Measurement | None

    @property
    def share(self) -> float:
        """The share of the good calls that were answered in time during the attack."""
        return self.measured.during.share or 0.0

    @property
    def of_control(self) -> float | None:
        """That share by the control's; None for the control itself."""
        control = (self.control.during.share if self.control else None) or None
        return None if control is None else self.share / control

    @property
    def missed(self) -> list[str]:
        """The goals that were missed; empty for the control."""
        if self.control is None:
            return []
        control, measured = self.control.during.share or 0.0, self.measured
        return missed_goals(self.share, control, measured.recovery, measured.attacker_cores)


def markdown_head() -> str:
    """Returns the first two lines of the table."""
    return f"{_line(_HEAD)}\n{_line(['---'] * len(_HEAD))}"


def markdown_line(row: Row) -> str:
    """Returns the line of a row."""
    return _line(_cells(row))


def as_json(rows: Iterable[Row], rate: float) -> dict[str, Any]:
    """Returns all figures; seconds, bytes and shares."""
    return {"good_calls_a_second": rate, "rows": [_plain(row) for row in rows]}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(row: Row) -> dict[str, Any]:
    figures: Mapping[str, Any] = asdict(row.measured)
    return {"attack": row.attack, "server": row.server, **figures, "of_control": row.of_control, "missed": row.missed}


def _cells(row: Row) -> Sequence[str]:
    measured = row.measured
    growth, peak = measured.memory_after - measured.memory_before, measured.memory_peak
    return (
        row.attack,
        row.server,
        f"{row.share:.2f} ({measured.before.share or 0.0:.2f})",
        "" if row.of_control is None else f"{row.of_control:.2f}",
        _milliseconds(measured.during.p50),
        _milliseconds(measured.during.p99),
        "none" if measured.recovery is None else f"{measured.recovery:.1f} s",
        f"{measured.memory_after / _MIB:.0f} MiB ({growth / _MIB:+.0f}, {peak / _MIB:.0f})",
        f"{measured.attacker_cores:.2f}, {measured.others_cores:.2f}",
        ", ".join(f"{count} {code}" for code, count in measured.ended.items()),
        "" if row.control is None else "kept" if not row.missed else "missed: " + ", ".join(row.missed),
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.0f} ms"
