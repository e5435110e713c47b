"""How often each caller may ask. Plain arithmetic on times given from outside; knows nothing of gRPC."""

from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 10_000
# What a clock's arithmetic may be off by: nobody who waited as told is sent away for it.
_ROUNDING_SECONDS = 1e-6


class RateLimiter:
    """A token bucket for each caller: `rate` a second flow in, up to `burst`, and what a caller asks for is taken out.

    A bucket is one number, the time at which it will be full again (the generic cell rate algorithm of ITU-T I.371).

    Invariants:
        - from any moment on, over any t seconds, a caller is given at most burst + rate * t, where nothing that it
          asked for at once costs more than the burst;
        - who is refused and asks again after the seconds it was told, and not before, is not refused;
        - what is refused costs nothing;
        - at most `most_callers` are remembered: beyond them, who was not heard of for longest begins anew.

    Belongs to the event loop's thread.

    Args:
        rate: what flows in, a second; above 0.
        burst: what a bucket holds; at least 1.
        clock: monotonic, in seconds.
        most_callers: how many are remembered.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float], most_callers: int = _MOST_CALLERS):
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a rate must be above 0 and a burst at least 1, not {rate:g} and {burst:g}")
        self.rate = rate
        self._burst = burst
        self._clock = clock
        self._most_callers = most_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str, cost: float = 1.0) -> float:
        """Takes what a caller asks for, or nothing.

        Args:
            caller: whose bucket.
            cost: 1 for a picture. More than a full bucket holds is given when it is full, and paid off after.

        Returns:
            0.0 if it was given; else the seconds until it would be.
        """
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now)
        # Enough is in it once it needs no longer to fill up than what is left of it would need.
        wait_seconds = full_at - now - (self._burst - min(cost, self._burst)) / self.rate
        if wait_seconds > _ROUNDING_SECONDS:
            self._keep(caller, full_at)
            return wait_seconds
        self._keep(caller, full_at + cost / self.rate)
        return 0.0

    def _keep(self, caller: str, full_at: float) -> None:
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._most_callers:
            self._full_at.popitem(last=False)
