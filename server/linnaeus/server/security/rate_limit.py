"""The rate limit per caller. Independent of gRPC; the clock is injected."""

from collections import OrderedDict
from collections.abc import Callable

from linnaeus.server.config.settings import Settings

_MAX_CALLERS = 10_000
# Tolerance for rounding, so that a caller that waits exactly as long as required is not refused again.
_ROUNDING_SECONDS = 1e-6


class RateLimiter:
    """A token bucket per caller, refilled with `rate` units a second up to `burst` units.

    A bucket is stored as the time at which it is full again (generic cell rate algorithm, ITU-T I.371).

    Invariants:
        - in any interval of t seconds a caller gets at most burst + rate * t, if no single cost exceeds the burst;
        - a refused caller that retries after the returned wait, and not earlier, is admitted;
        - a refusal costs nothing;
        - at most `max_callers` buckets are stored: beyond that the least recently used one is dropped, and its caller
          starts with a full bucket.

    Belongs to the event loop's thread.

    Args:
        rate: units a second; above 0.
        burst: capacity of a bucket in units; at least 1.
        clock: monotonic, in seconds.
        max_callers: the maximum number of stored buckets.

    Raises:
        ValueError: if rate or burst is out of range.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float], max_callers: int = _MAX_CALLERS):
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a rate must be above 0 and a burst at least 1, not {rate:g} and {burst:g}")
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._max_callers = max_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str, cost: float = 1.0) -> float:
        """Takes the whole cost from a caller's bucket, or nothing.

        Args:
            caller: the bucket's key.
            cost: units, 1 per image. A cost above the burst is admitted when the bucket is full, and leaves it in debt.

        Returns:
            0.0 if the cost was taken; else the seconds until it can be.
        """
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now)
        # The bucket holds `cost` once the time until it is full is at most the time to refill `burst - cost`.
        wait_seconds = full_at - now - (self._burst - min(cost, self._burst)) / self._rate
        if wait_seconds > _ROUNDING_SECONDS:
            self._store(caller, full_at)
            return wait_seconds
        self._store(caller, full_at + cost / self._rate)
        return 0.0

    def _store(self, caller: str, full_at: float) -> None:
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._max_callers:
            self._full_at.popitem(last=False)


def rate_limiter(settings: Settings, clock: Callable[[], float]) -> RateLimiter | None:
    """Returns the rate limiter of the settings; None if they set no rate limit."""
    if not settings.rate_limit:
        return None
    return RateLimiter(settings.rate_limit, max(settings.rate_burst or settings.rate_limit, 1.0), clock)
