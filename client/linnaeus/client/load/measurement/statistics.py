"""Adds up the records of the generator processes into counts, latencies and a timeline."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

import grpc

from linnaeus.client.load.generator.failure_reasons import FailureReasons
from linnaeus.client.load.generator.records import CallOutcome, Records
from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.measurement.queue_trend import QueueObserver
from linnaeus.client.load.results import Counts, FailureReason, Latency, QueueTrend, Second

_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_ANSWERED = (CallOutcome.OK, CallOutcome.DIFFERED)


class Statistics:
    """The calls of one measurement; for one thread at a time.

    Calls that were scheduled during the warm-up, at times below 0, count only in the timeline and in `ended`.

    Args:
        duration_seconds: calls that were scheduled at this time or later count only in `ended`.

    Attributes:
        ended: the number of calls that ended, the warm-up included.
        latencies: in seconds, of the measured calls that were answered in time.
        lags: in seconds, of all measured calls.
    """

    def __init__(self, duration_seconds: float = math.inf) -> None:
        self._duration_seconds = duration_seconds
        self._outcomes: Counter[int] = Counter()
        self._codes: Counter[int] = Counter()
        self._seconds: defaultdict[int, _SecondStatistics] = defaultdict(_SecondStatistics)
        self._failures = FailureReasons()
        self._queue = QueueObserver()
        self.ended = 0
        self.latencies = Histogram()
        self.lags = Histogram()

    def add(self, records: Records) -> None:
        """Adds calls that ended."""
        self.ended += len(records)
        self._queue.add(records)
        for scheduled, lag, latency, outcome, code in zip(
            records.scheduled, records.lags, records.latencies, records.outcomes, records.codes, strict=True
        ):
            if scheduled >= self._duration_seconds:
                continue
            self._seconds[math.floor(scheduled)].add(outcome, latency)
            if scheduled >= 0:
                self._add_measured(lag, latency, outcome, code)

    def add_failures(self, failures: FailureReasons) -> None:
        """Adds the reasons of measured calls that were not ok."""
        self._failures.merge(failures)

    def failures(self) -> tuple[FailureReason, ...]:
        """Returns why measured calls were not ok, the most frequent reason first."""
        reasons = self._failures.by_count()
        return tuple(FailureReason(_code_name(code), calls, sentence) for code, calls, sentence in reasons)

    def counts(self) -> Counts:
        """Returns the measured calls by outcome."""
        by_name = {outcome.name.lower(): self._outcomes[outcome] for outcome in CallOutcome}
        by_code = {_code_name(code): calls for code, calls in sorted(self._codes.items())}
        return Counts(sent=self._outcomes.total(), by_code=by_code, **by_name)

    def latency(self) -> Latency:
        """Returns the latency of the measured calls that were answered in time."""
        return self.latencies.summary()

    def queue(self, duration_seconds: float) -> QueueTrend:
        """Returns how the queue developed in the measured time, of an open loop."""
        return self._queue.trend(duration_seconds)

    def timeline(self) -> tuple[Second, ...]:
        """Returns one entry for every second from the first with a scheduled call to the last."""
        if not self._seconds:
            return ()
        offsets = range(min(self._seconds), max(self._seconds) + 1)
        return tuple(self._seconds.get(offset, _SecondStatistics()).summary(offset) for offset in offsets)

    def _add_measured(self, lag: float, latency: float, outcome: int, code: int) -> None:
        self._outcomes[outcome] += 1
        self._codes[code] += 1
        self.lags.record(lag)
        if outcome in _ANSWERED:
            self.latencies.record(latency)


class _SecondStatistics:
    """One second of the timeline. Keeps every latency, 4 bytes each, so that its percentiles are exact."""

    __slots__ = ("latencies", "outcomes")

    def __init__(self) -> None:
        self.outcomes = [0] * len(CallOutcome)
        self.latencies = array("f")

    def add(self, outcome: int, latency: float) -> None:
        self.outcomes[outcome] += 1
        if outcome in _ANSWERED:
            self.latencies.append(latency)

    def summary(self, offset: int) -> Second:
        latencies = sorted(self.latencies)
        return Second(
            offset=offset,
            sent=sum(self.outcomes),
            ok=self.outcomes[CallOutcome.OK],
            late=self.outcomes[CallOutcome.LATE],
            refused=self.outcomes[CallOutcome.REFUSED],
            failed=self.outcomes[CallOutcome.FAILED] + self.outcomes[CallOutcome.DIFFERED],
            p50=_quantile(latencies, 0.5),
            p99=_quantile(latencies, 0.99),
            max=_quantile(latencies, 1.0),
        )


def _code_name(code: int) -> str:
    return _CODE_NAMES.get(code, str(code))


def _quantile(ascending: Sequence[float], share: float) -> float | None:
    return ascending[math.ceil(share * len(ascending)) - 1] if ascending else None
