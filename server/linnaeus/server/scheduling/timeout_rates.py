"""How many requests a second came lately, by the time that they gave."""

from math import inf, log2

# Requests are counted in two periods, the present and the one before, so a request counts for one to two periods.
_PERIOD_SECONDS = 0.5
# Timeouts are counted in classes of a factor of 2**(1/4), about 1.2.
_CLASSES_PER_OCTAVE = 4
_SHORTEST_SECONDS = 0.001
_LONGEST_SECONDS = 1e6


class TimeoutRates:
    """The rates of the requests for one device in the last second, by timeout. Guarded by the queue's lock."""

    def __init__(self) -> None:
        self._now: dict[float, int] = {}
        self._before: dict[float, int] = {}
        self._began_at = -inf

    def add(self, timeout_seconds: float | None, now: float) -> None:
        """Counts a request.

        Args:
            timeout_seconds: time until its deadline; None if it has none.
            now: time of the clock, in seconds.
        """
        self._advance(now)
        rounded = inf if timeout_seconds is None else _rounded(timeout_seconds)
        self._now[rounded] = self._now.get(rounded, 0) + 1

    def up_to_timeout(self, now: float) -> list[tuple[float, float]]:
        """Returns each timeout, rounded down by up to a sixth, and the requests a second with up to that; ascending."""
        self._advance(now)
        seconds, requests, rates = _PERIOD_SECONDS + now - self._began_at, 0, []
        for timeout in sorted({*self._now, *self._before}):
            requests += self._now.get(timeout, 0) + self._before.get(timeout, 0)
            rates.append((timeout, requests / seconds))
        return rates

    def _advance(self, now: float) -> None:
        ended_at = self._began_at + _PERIOD_SECONDS
        if now < ended_at:
            return
        is_next = now < ended_at + _PERIOD_SECONDS
        self._before, self._now = (self._now if is_next else {}), {}
        self._began_at = ended_at if is_next else now


def _rounded(timeout_seconds: float) -> float:
    bounded = min(max(timeout_seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)
    return float(2.0 ** (int((log2(bounded) + 10) * _CLASSES_PER_OCTAVE) / _CLASSES_PER_OCTAVE - 10))
