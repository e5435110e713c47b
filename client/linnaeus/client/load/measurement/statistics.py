"""Adds up what the processes tell of one spell.

It must not know how calls were sent, nor read a clock.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

import grpc

from linnaeus.client.load.generator.records import Outcome, Records
from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Counts, Latency, Second

_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_ANSWERED = (Outcome.OK, Outcome.DIFFERED)


class Tally:
    """Calls of one spell; one thread at a time.

    Calls meant for the warm-up, at moments below 0, count in the timeline and in `ended` only.

    Args:
        duration_seconds: what was meant to be sent at or after that is left out of all but `ended`.

    Attributes:
        ended: calls that ended, those of the warm-up too.
        latencies: in seconds, of the measured calls that were answered in time.
        lags: in seconds, of all measured calls.
    """

    def __init__(self, duration_seconds: float = math.inf) -> None:
        self._duration_seconds = duration_seconds
        self._outcomes: Counter[int] = Counter()
        self._codes: Counter[int] = Counter()
        self._seconds: defaultdict[int, _Second] = defaultdict(_Second)
        self.ended = 0
        self.latencies = Histogram()
        self.lags = Histogram()

    def add(self, records: Records) -> None:
        """Takes in calls that ended."""
        self.ended += len(records)
        for moment, lag, latency, outcome, code in zip(
            records.moments, records.lags, records.latencies, records.outcomes, records.codes, strict=True
        ):
            if moment >= self._duration_seconds:
                continue
            self._seconds[math.floor(moment)].add(outcome, latency)
            if moment >= 0:
                self._measure(lag, latency, outcome, code)

    def counts(self) -> Counts:
        """What became of the measured calls."""
        by_name = {outcome.name.lower(): self._outcomes[outcome] for outcome in Outcome}
        by_code = {_CODE_NAMES.get(code, str(code)): calls for code, calls in sorted(self._codes.items())}
        return Counts(sent=self._outcomes.total(), by_code=by_code, **by_name)

    def latency(self) -> Latency:
        """Of the measured calls that were answered in time."""
        return self.latencies.summary()

    def timeline(self) -> tuple[Second, ...]:
        """One entry for every second from the first in which a call was meant to be sent to the last."""
        if not self._seconds:
            return ()
        span = range(min(self._seconds), max(self._seconds) + 1)
        return tuple(self._seconds.get(offset, _Second()).told(offset) for offset in span)

    def _measure(self, lag: float, latency: float, outcome: int, code: int) -> None:
        self._outcomes[outcome] += 1
        self._codes[code] += 1
        self.lags.record(lag)
        if outcome in _ANSWERED:
            self.latencies.record(latency)


class _Second:
    """One second of the timeline; keeps every latency, 4 bytes each, so that its percentiles are exact."""

    __slots__ = ("latencies", "outcomes")

    def __init__(self) -> None:
        self.outcomes = [0] * len(Outcome)
        self.latencies = array("f")

    def add(self, outcome: int, latency: float) -> None:
        self.outcomes[outcome] += 1
        if outcome in _ANSWERED:
            self.latencies.append(latency)

    def told(self, offset: int) -> Second:
        inorder = sorted(self.latencies)
        return Second(
            offset=offset,
            sent=sum(self.outcomes),
            ok=self.outcomes[Outcome.OK],
            late=self.outcomes[Outcome.LATE],
            refused=self.outcomes[Outcome.REFUSED],
            failed=self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.DIFFERED],
            p50=_at(inorder, 0.5),
            p99=_at(inorder, 0.99),
            max=_at(inorder, 1.0),
        )


def _at(inorder: Sequence[float], share: float) -> float | None:
    return inorder[math.ceil(share * len(inorder)) - 1] if inorder else None
