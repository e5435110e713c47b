"""Tells what the spells at 0.8 to 5 times the capacity came to, and holds it against the bounds.

It must not know how a spell was run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.common.report import Finding, at_least, at_most, below, milliseconds, only_told, percentile
from benchmarks.overload.event_log import Trace
from benchmarks.overload.health_checks import Check
from linnaeus.client.load.results import Spell

LEAST_OF_BEST = {2.0: 0.95, 5.0: 0.90}


@dataclass(frozen=True, slots=True)
class Measured:
    """One spell at a rate.

    Attributes:
        factor: the rate, in capacities.
        capacity: images a second, measured next to it.
        spell: what the tester told.
        began, ended: moments of `time.monotonic`.
        checks: of the server's health, while it was measured.
        trace: of its requests; None where the server writes none.
    """

    factor: float
    capacity: float
    spell: Spell
    began: float
    ended: float
    checks: Sequence[Check] = ()
    trace: Trace | None = None

    @property
    def refused_share(self) -> float:
        """By the trace, which tells a refusal from a deadline that passed; else what was refused as too much."""
        told = self.trace.refused_share() if self.trace else None
        return told if told is not None else self.spell.counts.refused / max(self.spell.counts.sent, 1)

    @property
    def late_share(self) -> float:
        """What was neither answered in time nor refused early."""
        counts = self.spell.counts
        return max((counts.late + counts.refused) / max(counts.sent, 1) - self.refused_share, 0.0)


@dataclass(frozen=True, slots=True)
class Flood:
    """A flood whose callers were killed: moments of `time.monotonic`, and the trace between them if there is one."""

    began: float
    killed: float
    ended: float
    trace: Trace | None = None


def capacity_finding(rates: Sequence[float], model: str) -> Finding:
    """C, the median of the rounds."""
    told = ", ".join(f"{rate:.1f}" for rate in rates)
    return only_told(f"C: {model}, JPEG 500x375, 64 callers", f"{median(rates):.1f} images/s ({told})")


def rate_table(measured: Sequence[Measured]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Heads and rows, one a rate, medians of the rounds."""
    head = ("offered", "a second", "goodput", "of C", "refused early", "late", "p50", "p99", "health p50", "health p99")
    return head, [_row(factor, each) for factor, each in _by_factor(measured).items()]


def rate_findings(measured: Sequence[Measured], floods: Sequence[Flood], model: str) -> list[Finding]:
    """All that is promised of overload."""
    first = min(each.factor for each in measured)
    traces = [each.trace for each in measured] + [each.trace for each in floods]
    return [
        capacity_finding([each.capacity for each in measured if each.factor == first], model),
        *_goodput_findings(_by_factor(measured)),
        *_health_findings(_by_factor(measured)),
        *_trace_findings([each for each in traces if each]),
        *_prediction_findings(_by_factor(measured)),
        _idle_finding(floods),
    ]


def _by_factor(measured: Sequence[Measured]) -> dict[float, list[Measured]]:
    """By rising rate; in each the rounds in their order."""
    factors = sorted({each.factor for each in measured})
    return {factor: [each for each in measured if each.factor == factor] for factor in factors}


def _row(factor: float, measured: Sequence[Measured]) -> tuple[str, ...]:
    spells = [each.spell for each in measured]
    seconds = [check.seconds for each in measured for check in each.checks]
    return (
        f"{factor} C",
        f"{median(spell.offered for spell in spells):.1f}",
        f"{median(spell.goodput for spell in spells):.1f}",
        f"{median(each.spell.goodput / each.capacity for each in measured):.3f}",
        f"{median(each.refused_share for each in measured):.1%}",
        f"{median(each.late_share for each in measured):.1%}",
        milliseconds(median(spell.latency.p50 for spell in spells) or None),
        milliseconds(median(spell.latency.p99 for spell in spells) or None),
        milliseconds(percentile(seconds, 0.5)),
        milliseconds(percentile(seconds, 0.99)),
    )


def _goodput_findings(measured: dict[float, list[Measured]]) -> list[Finding]:
    goodputs = {factor: [each.spell.goodput for each in rounds] for factor, rounds in measured.items()}
    best = [max(each_round) for each_round in zip(*goodputs.values(), strict=True)]
    counts = [each.spell.counts for rounds in measured.values() for each in rounds]
    told = ", ".join(f"{factor:g} C {median(rates):.1f}" for factor, rates in goodputs.items())
    return [
        only_told("goodput, images/s in time", told),
        *(_share_finding(factor, goodputs[factor], best) for factor in LEAST_OF_BEST),
        at_most("calls that failed or were answered wrongly", 0, sum(c.failed + c.differed for c in counts), digits=0),
    ]


def _share_finding(factor: float, goodputs: Sequence[float], best: Sequence[float]) -> Finding:
    share = median(mine / most if most else 0.0 for mine, most in zip(goodputs, best, strict=True))
    return at_least(f"goodput at {factor:g} C : best of its round", LEAST_OF_BEST[factor], share)


def _health_findings(measured: dict[float, list[Measured]]) -> list[Finding]:
    by_rate = [[check for each in rounds for check in each.checks] for rounds in measured.values()]
    worst = max(percentile([check.seconds for check in checks], 0.99) or 0.0 for checks in by_rate)
    lag = percentile([check.lag for checks in by_rate for check in checks], 0.99)
    return [
        below("health checks, p99 at the worst rate", 50, 1e3 * worst, " ms", 1),
        only_told("of that the checking process's own lateness, p99", milliseconds(lag)),
    ]


def _trace_findings(traces: Sequence[Trace]) -> list[Finding]:
    """Of all calls with a deadline of half a second, also of those whose callers were killed."""
    overruns = [1e3 * second for each in traces for second in each.overruns()]

    def count(what: Callable[[Trace], int]) -> int | None:
        return sum(map(what, traces)) if traces else None

    return [
        at_most("calls end after their deadline, p99.9, by the trace", 20, percentile(overruns, 0.999), " ms", 1),
        at_most("expired when their batch was formed, by the trace", 0, count(Trace.expired_when_formed), digits=0),
        at_most("run twice, by the trace", 0, count(Trace.run_twice), digits=0),
        at_most("never ended, or twice, by the trace", 0, count(Trace.not_ended_once), digits=0),
    ]


def _prediction_findings(measured: dict[float, list[Measured]]) -> list[Finding]:
    """How much later than predicted the answers came; negative: earlier."""
    findings = []
    for factor, rounds in measured.items():
        if errors := [error for each in rounds if each.trace for error in each.trace.prediction_errors()]:
            told = ", ".join(milliseconds(percentile(errors, share)) for share in (0.05, 0.5, 0.95))
            findings.append(only_told(f"answered later than predicted at {factor:g} C: p5, median, p95", told))
    return findings


def _idle_finding(floods: Sequence[Flood]) -> Finding:
    """How long the server still works once its callers are gone, in batches as long as the longest of the flood."""
    spans = [
        (each.trace.busy_after(each.killed), longest)
        for each in floods
        if each.trace and (longest := each.trace.longest_batch())
    ]
    told = ", ".join(f"{milliseconds(busy)} of {milliseconds(longest)}" for busy, longest in spans)
    promise = f"idle after its callers are killed, in longest batches{told and f' ({told})'}"
    return at_most(promise, 1, max((busy / longest for busy, longest in spans), default=None), digits=2)
