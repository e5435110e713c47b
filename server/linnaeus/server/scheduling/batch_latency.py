"""How long a batch takes on a device: measured at warm-up, corrected by every batch since."""

from collections.abc import Mapping, Sequence
from math import exp, log

from linnaeus.server.scheduling.recent_ratio import RecentRatio

_HIGH_QUANTILE = 0.9
# How fast the shape follows. It may be slow, because sudden changes slow down all sizes alike and belong to the pace.
_SHAPE_STEP = 0.05
_SHAPE_BOUND = log(4.0)
# A change common to all sizes belongs to the pace. Without this leak it would drift into the shape.
_SHAPE_LEAK = 0.002


class LatencyTable:
    """The latency of one model version's batches on one device, by batch size and number of concurrent batches.

    A prediction is a product of two factors. The *shape* compares sizes: it starts with the warm-up times, multiplied
    by the number of batches that share the device, and is corrected slowly. The *pace* is how much slower than the
    shape the device has been lately, over all sizes. So a size that has not run for a while profits from the others,
    and a machine that becomes twice as slow is noticed after a few batches.

    Guarded by the queue's lock.

    Args:
        seconds_by_size: seconds per batch at warm-up, by ascending batch size; at least one entry.
    """

    def __init__(self, seconds_by_size: Mapping[int, float]) -> None:
        self._seconds_alone = dict(seconds_by_size)
        self._sizes = sorted(seconds_by_size)
        self._log_corrections: dict[tuple[int, int], float] = {}
        # Caches: every request looks up a few sizes.
        self._row_shares: dict[int, list[tuple[int, float]]] = {}
        self._row_seconds: dict[tuple[int, int], float] = {}
        self._pace = RecentRatio()

    @property
    def sizes(self) -> list[int]:
        """The batch sizes measured at warm-up, ascending."""
        return list(self._sizes)

    @property
    def warm_up_image_seconds(self) -> float:
        """Seconds per image in the largest batch, as measured at warm-up."""
        return self._seconds_alone[self._sizes[-1]] / self._sizes[-1]

    @property
    def warm_up_seconds(self) -> float:
        """Seconds of a batch of one image that runs alone, as measured at warm-up."""
        return self._seconds_alone[self._sizes[0]]

    def image_seconds(self, now: float) -> float:
        """Returns the predicted seconds per image where many wait: those of the warm-up at the present pace."""
        return self.warm_up_image_seconds * self._pace.quantile(0.5, now)

    def expected(self, size: int, concurrent: int, now: float) -> float:
        """Returns the median of the predicted seconds."""
        return self._shape(size, concurrent) * self._pace.quantile(0.5, now)

    def longest(self, size: int, concurrent: int, now: float) -> float:
        """Returns the 90th percentile of the predicted seconds, on which admission relies."""
        return self._shape(size, concurrent) * self._pace.quantile(_HIGH_QUANTILE, now)

    def observe(self, size: int, concurrent: int, seconds: float, now: float, is_probe: bool = False) -> None:
        """Records the seconds that a batch took; those of a probe replace what was learnt of the device's pace."""
        ratio = max(seconds, 1e-9) / self._shape(size, concurrent)
        if is_probe:
            return self._pace.replace(ratio, now)
        ratio = self._pace.observe(ratio, now)
        step = _SHAPE_STEP * log(ratio / self._pace.quantile(0.5, now))
        for row, share in _interpolation(self._sizes, size):
            moved = self._log_corrections.get((row, concurrent), 0.0) * (1.0 - _SHAPE_LEAK * share) + step * share
            self._log_corrections[row, concurrent] = max(-_SHAPE_BOUND, min(_SHAPE_BOUND, moved))
            self._row_seconds.pop((row, concurrent), None)

    def _shape(self, size: int, concurrent: int) -> float:
        """Returns the shape's seconds: interpolated between rows, proportional to the size beyond the largest row."""
        shares = self._row_shares.get(size)
        if shares is None:
            beyond = max(1.0, size / self._sizes[-1])
            shares = self._row_shares[size] = [
                (row, share * beyond) for row, share in _interpolation(self._sizes, size)
            ]
        seconds = 0.0
        for row, share in shares:
            seconds += (self._row_seconds.get((row, concurrent)) or self._row_estimate(row, concurrent)) * share
        return seconds

    def _row_estimate(self, row: int, concurrent: int) -> float:
        seconds = self._seconds_alone[row] * (concurrent + 1) * exp(self._log_corrections.get((row, concurrent), 0.0))
        self._row_seconds[row, concurrent] = seconds
        return seconds


def _interpolation(sizes: Sequence[int], size: int) -> list[tuple[int, float]]:
    """Returns the measured sizes around a size, each with its weight for linear interpolation."""
    above = next((each for each in sizes if each >= size), sizes[-1])
    below = max((each for each in sizes if each <= size), default=above)
    if above <= below:
        return [(above, 1.0)]
    share = (size - below) / (above - below)
    return [(below, 1.0 - share), (above, share)]
