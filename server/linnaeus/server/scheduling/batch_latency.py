"""How long a batch takes: measured before the first request, and followed ever after."""

from collections.abc import Mapping, Sequence
from math import exp, log

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile

# Machines slow down within moments: what ran in the last second tells of the next, and eight runs at least.
_RECENT_SECONDS = 1.0
_LEAST_RUNS = 8
_HIGH_QUANTILE = 0.9
# A table nobody feeds forgets how busy the machine was: it would refuse everything for ever after one bad moment.
_FORGETTING_HALF_LIFE_SECONDS = 1.0
# How fast the table's shape follows. It has all the time there is, for sudden changes slow all sizes down alike.
_SHAPE_STEP = 0.05
_SHAPE_BOUND = log(4.0)
# What all sizes have in common is the pace's; without a leak it would wander into the shape.
_SHAPE_LEAK = 0.002


class LatencyTable:
    """How long a batch of one model version takes on one device, by its size and by how many batches run beside it.

    A prediction is a product. The *shape* says how sizes compare: it begins with the warm-up's times, each batch
    beside making a run as much longer as it takes of the device, and is corrected slowly. The *pace* says how much
    slower than that the device has been lately, over all sizes: sizes not seen for a while profit from the others,
    and a machine that becomes twice as slow is known to be after a few batches.

    Belongs to the queue's lock.

    Args:
        seconds_by_size: the warm-up's times, for growing sizes, at least one.
    """

    def __init__(self, seconds_by_size: Mapping[int, float]) -> None:
        self._alone = dict(seconds_by_size)
        self._sizes = sorted(seconds_by_size)
        self._shift: dict[tuple[int, int], float] = {}
        # Every request asks for a few sizes, and no two for the same: what can be kept for that is kept.
        self._shares: dict[int, list[tuple[int, float]]] = {}
        self._row_seconds: dict[tuple[int, int], float] = {}
        self._paces = SlidingQuantile(_RECENT_SECONDS, _LEAST_RUNS)

    @property
    def sizes(self) -> list[int]:
        """The sizes that were measured before serving, growing."""
        return list(self._sizes)

    @property
    def image_seconds(self) -> float:
        """What one image of the largest batch costs, as measured before serving."""
        return self._alone[self._sizes[-1]] / self._sizes[-1]

    def expected(self, size: int, concurrent: int, now: float) -> float:
        """Seconds that about half of such batches need at most."""
        return self._shape(size, concurrent) * self._pace(0.5, now)

    def longest(self, size: int, concurrent: int, now: float) -> float:
        """Seconds that nearly all such batches need at most; what promises are made with."""
        return self._shape(size, concurrent) * self._pace(_HIGH_QUANTILE, now)

    def observe(self, size: int, concurrent: int, seconds: float, now: float) -> None:
        """Learns from a batch that has run."""
        ratio = max(seconds, 1e-9) / self._shape(size, concurrent)
        self._paces.add(ratio, now)
        step = _SHAPE_STEP * log(ratio / self._paces.quantile(0.5))
        for row, share in _between(self._sizes, size):
            moved = self._shift.get((row, concurrent), 0.0) * (1.0 - _SHAPE_LEAK * share) + step * share
            self._shift[row, concurrent] = max(-_SHAPE_BOUND, min(_SHAPE_BOUND, moved))
            self._row_seconds.pop((row, concurrent), None)

    def _pace(self, quantile: float, now: float) -> float:
        pace = self._paces.quantile(quantile, otherwise=1.0)
        idle_seconds = self._paces.age(now) - _RECENT_SECONDS
        if idle_seconds <= 0.0:
            return pace
        kept: float = 0.5 ** (idle_seconds / _FORGETTING_HALF_LIFE_SECONDS)
        return 1.0 + (pace - 1.0) * kept

    def _shape(self, size: int, concurrent: int) -> float:
        """The rows around that size, joined by a straight line; beyond the largest, in proportion."""
        shares = self._shares.get(size)
        if shares is None:
            beyond = max(1.0, size / self._sizes[-1])
            shares = self._shares[size] = [(row, share * beyond) for row, share in _between(self._sizes, size)]
        seconds = 0.0
        for row, share in shares:
            seconds += (self._row_seconds.get((row, concurrent)) or self._row(row, concurrent)) * share
        return seconds

    def _row(self, row: int, concurrent: int) -> float:
        seconds = self._alone[row] * (concurrent + 1) * exp(self._shift.get((row, concurrent), 0.0))
        self._row_seconds[row, concurrent] = seconds
        return seconds


def _between(sizes: Sequence[int], size: int) -> list[tuple[int, float]]:
    """Those of the growing sizes that a size lies between, with its share in each."""
    above = next((each for each in sizes if each >= size), sizes[-1])
    below = max((each for each in sizes if each <= size), default=above)
    if above <= below:
        return [(above, 1.0)]
    share = (size - below) / (above - below)
    return [(below, 1.0 - share), (above, share)]
