"""How long a batch takes: measured before the first request, and followed ever after."""

from collections.abc import Mapping
from math import exp, log

from linnaeus.server.batching.window import Window

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
        self._shapes: dict[tuple[int, int], float] = {}  # those that were asked for since the shape last changed
        self._paces = Window(_RECENT_SECONDS, _LEAST_RUNS)

    @property
    def sizes(self) -> list[int]:
        """The sizes that were measured before serving, growing."""
        return list(self._sizes)

    @property
    def image_seconds(self) -> float:
        """What one image of the largest batch costs, as measured before serving."""
        return self._alone[self._sizes[-1]] / self._sizes[-1]

    def expected(self, size: int, beside: int, now: float) -> float:
        """Seconds that about half of such batches need at most."""
        return self._shape(size, beside) * self._pace(0.5, now)

    def longest(self, size: int, beside: int, now: float) -> float:
        """Seconds that nearly all such batches need at most; what promises are made with."""
        return self._shape(size, beside) * self._pace(_HIGH_QUANTILE, now)

    def observe(self, size: int, beside: int, seconds: float, now: float) -> None:
        """Learns from a batch that has run."""
        ratio = max(seconds, 1e-9) / self._shape(size, beside)
        self._paces.add(ratio, now)
        step = _SHAPE_STEP * log(ratio / self._paces.quantile(0.5))
        self._shapes.clear()
        for row, share in self._rows(size):
            moved = self._shift.get((row, beside), 0.0) * (1.0 - _SHAPE_LEAK * share) + step * share
            self._shift[row, beside] = max(-_SHAPE_BOUND, min(_SHAPE_BOUND, moved))

    def _pace(self, quantile: float, now: float) -> float:
        pace = self._paces.quantile(quantile, otherwise=1.0)
        idle_seconds = max(self._paces.age(now) - _RECENT_SECONDS, 0.0)
        kept: float = 0.5 ** (idle_seconds / _FORGETTING_HALF_LIFE_SECONDS)
        return 1.0 + (pace - 1.0) * kept

    def _shape(self, size: int, beside: int) -> float:
        """The rows around that size, joined by a straight line; beyond the largest, in proportion."""
        shape = self._shapes.get((size, beside))
        if shape is None:
            joined = sum(self._row(row, beside) * share for row, share in self._rows(size))
            shape = self._shapes[size, beside] = joined * max(1.0, size / self._sizes[-1])
        return shape

    def _row(self, row: int, beside: int) -> float:
        return self._alone[row] * (beside + 1) * exp(self._shift.get((row, beside), 0.0))

    def _rows(self, size: int) -> list[tuple[int, float]]:
        """The rows that a size lies between, with its share in each."""
        above = next((row for row in self._sizes if row >= size), self._sizes[-1])
        below = max((row for row in self._sizes if row <= size), default=above)
        if above <= below:
            return [(above, 1.0)]
        share = (size - below) / (above - below)
        return [(below, 1.0 - share), (above, share)]
