"""How measurements compare with what was expected of them lately; one rule for everything that an estimate learns."""

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile

# A machine can slow down within moments, so only the last second counts; of a quieter time the newest measurements.
_RECENT_SECONDS = 1.0
_MIN_COUNT = 4
# One measurement is taken as at most this many times the present median: it may be an outlier. A change that lasts is
# followed all the same, since every measurement may be that much above the one before.
_MAX_STEP = 2.0
# Without new measurements the ratio decays towards 1. Otherwise one slow moment could make admission refuse everything,
# and nothing would ever correct it.
_FORGETTING_HALF_LIFE_SECONDS = 0.5


class RecentRatio:
    """The ratio of measured to expected time over the last second; 1 where nothing was measured lately.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._ratios = SlidingQuantile(_RECENT_SECONDS, _MIN_COUNT)

    def observe(self, ratio: float, now: float) -> float:
        """Records a measurement; returns it without the part that is taken for an outlier."""
        bounded = min(ratio, _MAX_STEP * self.quantile(0.5, now))
        self._ratios.add(bounded, now)
        return bounded

    def replace(self, ratio: float, now: float) -> None:
        """Forgets everything but this measurement."""
        self._ratios.clear()
        self._ratios.add(ratio, now)

    def quantile(self, share: float, now: float) -> float:
        """Returns the ratio that this share of the recent measurements does not exceed."""
        recent = self._ratios.quantile(share, default=1.0)
        stale_seconds = self._ratios.age(now) - _RECENT_SECONDS
        if stale_seconds <= 0.0:
            return recent
        kept: float = 0.5 ** (stale_seconds / _FORGETTING_HALF_LIFE_SECONDS)
        return 1.0 + (recent - 1.0) * kept
