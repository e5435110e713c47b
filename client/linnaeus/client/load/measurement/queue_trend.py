"""Whether the server's queue grew during a measurement in an open loop, and from when on latency was steady.

Latency counts from the scheduled time, so it grows by rate / capacity - 1 seconds a second for as long as more calls
come in than are answered, and stays level otherwise. It is read from medians of blocks of calls, because single
latencies scatter. Its slope is Theil and Sen's, the median of the slopes between all pairs of blocks, and Kendall's
test tells whether chance explains it (P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968).
The number of calls in flight is the second witness.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from statistics import median

from linnaeus.client.load.generator.records import CallOutcome, Records
from linnaeus.client.load.results import QueueTrend

# A server that falls behind by less than this share of what comes in cannot be told from one that keeps up.
MAX_DRIFT = 0.02
# The median latency of the last third of the blocks, over that of the first, above which a trend matters.
MAX_LATENCY_RATIO = 1.5
_BLOCKS = 20
_MIN_CALLS_PER_BLOCK = 5
_MIN_BLOCKS = 6
# One-sided, 1 %.
_NORMAL_QUANTILE = 2.33
_DEVIATIONS = 3.0
_WITH_LATENCY = frozenset({CallOutcome.OK, CallOutcome.DIFFERED, CallOutcome.LATE})
_ANSWERED = frozenset({CallOutcome.OK, CallOutcome.DIFFERED})


class QueueObserver:
    """Keeps when each call was scheduled and when it ended, 17 bytes a call; for one thread at a time."""

    def __init__(self) -> None:
        self._scheduled = array("d")
        self._ended = array("d")
        self._outcomes = array("B")

    def add(self, records: Records) -> None:
        """Adds calls that ended, in any order."""
        self._scheduled.extend(records.scheduled)
        self._ended.extend(map(add, records.scheduled, records.latencies))
        self._outcomes.extend(records.outcomes)

    def trend(self, duration_seconds: float) -> QueueTrend:
        """Returns how the queue developed from 0 to `duration_seconds`."""
        scheduled, ended = sorted(self._scheduled), sorted(self._ended)
        first, last = (_in_flight(scheduled, ended, when) for when in (0.0, duration_seconds))
        sent = bisect_right(scheduled, duration_seconds) - bisect_right(scheduled, 0.0)
        blocks = _blocks(self._latencies(duration_seconds))
        grows = _in_flight_grows(first, last, sent) or (blocks is not None and blocks.climb)
        return QueueTrend(
            grows=grows,
            drift=0.0 if blocks is None else blocks.slope,
            in_flight_at_start=first,
            in_flight_at_end=last,
            answered_per_second=self._answered(duration_seconds) / duration_seconds,
            steady_after=None if grows or blocks is None else blocks.steady_after,
        )

    def _latencies(self, duration_seconds: float) -> list[tuple[float, float]]:
        """Returns scheduled time and latency of the measured calls that were not refused, in the order of time."""
        calls = zip(self._scheduled, self._ended, self._outcomes, strict=True)
        return sorted(
            (scheduled, ended - scheduled)
            for scheduled, ended, outcome in calls
            if 0 <= scheduled < duration_seconds and outcome in _WITH_LATENCY
        )

    def _answered(self, duration_seconds: float) -> int:
        """Returns how many calls were answered in the measured time."""
        calls = zip(self._ended, self._outcomes, strict=True)
        return sum(0.0 <= ended <= duration_seconds and outcome in _ANSWERED for ended, outcome in calls)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Mean scheduled time and median latency of consecutive blocks of calls."""

    times: Sequence[float]
    latencies: Sequence[float]

    @property
    def slope(self) -> float:
        """Seconds of latency gained a second."""
        return median(_slopes(self.times, self.latencies))

    @property
    def climb(self) -> bool:
        """Whether latency climbs: beyond chance, by an amount that matters, and still in the second half.

        A step that begins with an empty queue climbs, too, until the queue is as long as it will be.
        """
        slopes, half = sorted(_slopes(self.times, self.latencies)), len(self.times) // 2
        second_half = median(_slopes(self.times[half:], self.latencies[half:]))
        third = max(1, len(self.times) // 3)
        ratio_exceeded = median(self.latencies[-third:]) > MAX_LATENCY_RATIO * median(self.latencies[:third])
        is_significant = slopes[_lower_rank(len(self.times), len(slopes))] > 0
        return is_significant and ratio_exceeded and median(slopes) > MAX_DRIFT and second_half > MAX_DRIFT / 2

    @property
    def steady_after(self) -> float:
        """The time before which latency belongs to the warm-up, by the marginal standard error rule (White, 1997)."""
        errors = [_standard_error(self.latencies[cut:]) for cut in range(len(self.latencies) // 2 + 1)]
        cut = errors.index(min(errors))
        return 0.0 if cut == 0 else (self.times[cut - 1] + self.times[cut]) / 2


def _blocks(calls: Sequence[tuple[float, float]]) -> _Blocks | None:
    """Returns the calls in blocks of equal number; None if there are too few."""
    count = min(_BLOCKS, len(calls) // _MIN_CALLS_PER_BLOCK)
    if count < _MIN_BLOCKS:
        return None
    edges = [index * len(calls) // count for index in range(count + 1)]
    parts = [calls[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    times = [sum(scheduled for scheduled, _ in part) / len(part) for part in parts]
    return _Blocks(times, [median(latency for _, latency in part) for part in parts])


def _slopes(times: Sequence[float], values: Sequence[float]) -> list[float]:
    pairs = [(one, other) for other in range(len(times)) for one in range(other) if times[other] > times[one]]
    return [(values[other] - values[one]) / (times[other] - times[one]) for one, other in pairs] or [0.0]


def _lower_rank(points: int, slopes: int) -> int:
    """Returns the rank, from 0, of the lower confidence bound of the slope among the slopes in ascending order."""
    deviation = math.sqrt(points * (points - 1) * (2 * points + 5) / 18)
    return max(0, int((slopes - _NORMAL_QUANTILE * deviation) / 2))


def _standard_error(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) ** 2


def _in_flight(scheduled: Sequence[float], ended: Sequence[float], when: float) -> int:
    return bisect_right(scheduled, when) - bisect_right(ended, when)


def _in_flight_grows(first: int, last: int, sent: int) -> bool:
    """Returns whether so many more calls are in flight that neither the tolerance nor chance explains it."""
    chance = _DEVIATIONS * math.sqrt(max(first, 1) + max(last, 1))
    return last - first > MAX_DRIFT * sent + chance
