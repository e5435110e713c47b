"""Tables and findings of the measurements at 0.8 to 5 times the capacity.

Nothing here knows how a rate was sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.common.report import Finding, at_least, at_most, below, informational, milliseconds, percentile
from benchmarks.overload.event_log import EventLog
from benchmarks.overload.health_checks import HealthCheck
from linnaeus.client.load.results import Measurement

LEAST_OF_BEST = {2.0: 0.95, 5.0: 0.90}


@dataclass(frozen=True, slots=True)
class RateMeasurement:
    """One run at a rate.

    Attributes:
        factor: the rate, in capacities.
        capacity: images a second, measured in the same round.
        result: of the load tester.
        began, ended: seconds of `time.monotonic`.
        checks: of the server's health, during the measured period.
        event_log: of its requests; None if the server writes none.
    """

    factor: float
    capacity: float
    result: Measurement
    began: float
    ended: float
    checks: Sequence[HealthCheck] = ()
    event_log: EventLog | None = None

    @property
    def refused_share(self) -> float:
        """Share of the requests that were refused at once.

        The event log distinguishes a refusal from a deadline that passed. Without it, only RESOURCE_EXHAUSTED counts.
        """
        share = self.event_log.refused_share() if self.event_log else None
        return share if share is not None else self.result.counts.refused / max(self.result.counts.sent, 1)

    @property
    def late_share(self) -> float:
        """Share of the calls that were neither answered before their deadline nor refused at once."""
        counts = self.result.counts
        return max((counts.late + counts.refused) / max(counts.sent, 1) - self.refused_share, 0.0)


@dataclass(frozen=True, slots=True)
class KilledLoad:
    """A load whose callers were killed: seconds of `time.monotonic`, and the event log of that period if any."""

    began: float
    killed: float
    ended: float
    event_log: EventLog | None = None


def capacity_finding(rates: Sequence[float], model: str) -> Finding:
    """Returns C, the median of the rounds."""
    each_round = ", ".join(f"{rate:.1f}" for rate in rates)
    return informational(f"C: {model}, JPEG 500x375, 64 callers", f"{median(rates):.1f} images/s ({each_round})")


def rate_table(measured: Sequence[RateMeasurement]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns column heads and a row for each rate, medians of the rounds."""
    head = ("offered", "a second", "goodput", "of C", "refused early", "late", "p50", "p99", "health p50", "health p99")
    return head, [_row(factor, each) for factor, each in _by_factor(measured).items()]


def rate_findings(measured: Sequence[RateMeasurement], killed: Sequence[KilledLoad], model: str) -> list[Finding]:
    """Returns all findings under overload."""
    first = min(each.factor for each in measured)
    event_logs = [each.event_log for each in measured] + [each.event_log for each in killed]
    return [
        capacity_finding([each.capacity for each in measured if each.factor == first], model),
        *_goodput_findings(_by_factor(measured)),
        *_health_findings(_by_factor(measured)),
        *_event_log_findings([each for each in event_logs if each]),
        *_prediction_findings(_by_factor(measured)),
        _idle_finding(killed),
    ]


def _by_factor(measured: Sequence[RateMeasurement]) -> dict[float, list[RateMeasurement]]:
    """Groups measurements by rising rate; each group is in the order of the rounds."""
    factors = sorted({each.factor for each in measured})
    return {factor: [each for each in measured if each.factor == factor] for factor in factors}


def _row(factor: float, measured: Sequence[RateMeasurement]) -> tuple[str, ...]:
    results = [each.result for each in measured]
    seconds = [check.seconds for each in measured for check in each.checks]
    return (
        f"{factor} C",
        f"{median(each.offered for each in results):.1f}",
        f"{median(each.goodput for each in results):.1f}",
        f"{median(each.result.goodput / each.capacity for each in measured):.3f}",
        f"{median(each.refused_share for each in measured):.1%}",
        f"{median(each.late_share for each in measured):.1%}",
        milliseconds(median(each.latency.p50 for each in results) or None),
        milliseconds(median(each.latency.p99 for each in results) or None),
        milliseconds(percentile(seconds, 0.5)),
        milliseconds(percentile(seconds, 0.99)),
    )


def _goodput_findings(measured: dict[float, list[RateMeasurement]]) -> list[Finding]:
    goodputs = {factor: [each.result.goodput for each in rounds] for factor, rounds in measured.items()}
    best = [max(each_round) for each_round in zip(*goodputs.values(), strict=True)]
    counts = [each.result.counts for rounds in measured.values() for each in rounds]
    medians = ", ".join(f"{factor:g} C {median(rates):.1f}" for factor, rates in goodputs.items())
    return [
        informational("goodput, images/s in time", medians),
        *(_share_finding(factor, goodputs[factor], best) for factor in LEAST_OF_BEST),
        at_most("calls that failed or were answered wrongly", 0, sum(c.failed + c.differed for c in counts), digits=0),
    ]


def _share_finding(factor: float, goodputs: Sequence[float], best: Sequence[float]) -> Finding:
    share = median(mine / most if most else 0.0 for mine, most in zip(goodputs, best, strict=True))
    return at_least(f"goodput at {factor:g} C : best of its round", LEAST_OF_BEST[factor], share)


def _health_findings(measured: dict[float, list[RateMeasurement]]) -> list[Finding]:
    by_rate = [[check for each in rounds for check in each.checks] for rounds in measured.values()]
    worst = max(percentile([check.seconds for check in checks], 0.99) or 0.0 for checks in by_rate)
    lag = percentile([check.lag for checks in by_rate for check in checks], 0.99)
    return [
        below("health checks, p99 at the worst rate", 50, 1e3 * worst, " ms", 1),
        informational("of that the checking process's own lateness, p99", milliseconds(lag)),
    ]


def _event_log_findings(event_logs: Sequence[EventLog]) -> list[Finding]:
    """Returns findings about all calls with a deadline of half a second, those of killed callers included."""
    overruns = [1e3 * seconds for each in event_logs for seconds in each.overruns()]

    def total(count: Callable[[EventLog], int]) -> int | None:
        return sum(map(count, event_logs)) if event_logs else None

    source = "by the event log"
    return [
        at_most(f"calls end after their deadline, p99.9, {source}", 20, percentile(overruns, 0.999), " ms", 1),
        at_most(f"expired when their batch was formed, {source}", 0, total(EventLog.expired_when_formed), digits=0),
        at_most(f"run twice, {source}", 0, total(EventLog.run_twice), digits=0),
        at_most(f"never ended, or twice, {source}", 0, total(EventLog.not_ended_once), digits=0),
    ]


def _prediction_findings(measured: dict[float, list[RateMeasurement]]) -> list[Finding]:
    """Returns how much later than predicted the answers came; negative is earlier."""
    findings = []
    for factor, rounds in measured.items():
        if errors := [error for each in rounds if each.event_log for error in each.event_log.prediction_errors()]:
            shares = ", ".join(milliseconds(percentile(errors, share)) for share in (0.05, 0.5, 0.95))
            findings.append(informational(f"answered later than predicted at {factor:g} C: p5, median, p95", shares))
    return findings


def _idle_finding(killed: Sequence[KilledLoad]) -> Finding:
    """Returns how long the server stays busy after its callers are killed, in units of its longest batch."""
    spans = [
        (each.event_log.busy_after(each.killed), longest)
        for each in killed
        if each.event_log and (longest := each.event_log.longest_batch())
    ]
    figures = ", ".join(f"{milliseconds(busy)} of {milliseconds(longest)}" for busy, longest in spans)
    promise = f"idle after its callers are killed, in longest batches{figures and f' ({figures})'}"
    return at_most(promise, 1, max((busy / longest for busy, longest in spans), default=None), digits=2)
