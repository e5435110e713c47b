"""How much of the decoders and devices each caller used lately, and how far that is above its share."""

from collections import OrderedDict

# Use is forgotten with this half-life.
_HALF_LIFE_SECONDS = 1.0
_REMEMBERED_CALLERS = 1024
# Use that has decayed below this counts no caller as active.
_MIN_USE_SECONDS = 1e-3


class CallerUse:
    """Seconds of decoding and running for each caller, which decay.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        # Seconds as of `_as_of`; least recently used first. All decay alike, so only the scale changes with time.
        self._seconds: OrderedDict[str, float] = OrderedDict()
        self._total = 0.0
        self._as_of = 0.0

    def record(self, caller: str, seconds: float, now: float) -> None:
        """Records that a caller's image was decoded or run for `seconds`."""
        self._decay(now)
        self._seconds[caller] = self._seconds.get(caller, 0.0) + seconds
        self._total += seconds
        self._seconds.move_to_end(caller)
        if len(self._seconds) > _REMEMBERED_CALLERS:
            self._total -= self._seconds.popitem(last=False)[1]

    def excess_seconds(self, caller: str, weight: float, now: float) -> float:
        """Returns how much more the caller used lately than its share of what all used; 0 if less.

        Args:
            caller: the caller.
            weight: its share, relative to that of any other caller.
            now: time of the clock, in seconds.
        """
        used = self._seconds.get(caller)
        if used is None:
            return 0.0
        excess = used - self._total * weight / (len(self._seconds) - 1 + weight)
        return excess * _kept(now - self._as_of) if excess > 0.0 else 0.0

    def _decay(self, now: float) -> None:
        """Brings all seconds to the present, a few times a second, and forgets the callers that used hardly any."""
        if now - self._as_of < _HALF_LIFE_SECONDS / 4:
            return
        kept = _kept(now - self._as_of)
        used = ((caller, seconds * kept) for caller, seconds in self._seconds.items())
        self._seconds = OrderedDict((caller, seconds) for caller, seconds in used if seconds >= _MIN_USE_SECONDS)
        self._total = sum(self._seconds.values())
        self._as_of = now


def _kept(seconds: float) -> float:
    return float(0.5 ** (seconds / _HALF_LIFE_SECONDS))
