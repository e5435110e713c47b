"""How far predictions were off lately, so that the next ones allow for it."""

from math import frexp

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile

_RECENT_SECONDS = 2.0
_QUANTILE = 0.95
# Powers of two of a second, beyond which all timeouts are alike.
_SHORTEST = -10
_LONGEST = 10


class PredictionMargin:
    """The errors of a flow's predictions: when a ticket ended minus when it had been predicted to.

    Every ended ticket counts, and above all those that came too late, were dropped for it or whose callers gave up at
    their deadlines. An estimate that is too hopeful therefore corrects itself even if nothing it admits is ever
    answered in time, which would otherwise go on for ever: what is served is nearly dead, and nobody learns of it.

    Errors are counted against the bare estimate, without the margin, so correcting cannot feed upon itself. Each ticket
    learns from those that had about as much time as it has, within a factor of two: whoever has much more is passed by
    candidates, which says nothing about those candidates.

    Belongs to the queue's lock.
    """

    def __init__(self) -> None:
        self._errors: dict[int | None, SlidingQuantile] = {}

    def observe(self, error_seconds: float, timeout_seconds: float | None, now: float) -> None:
        """Learns from a ticket that had so much time (None: any) and has ended, or will not end before this."""
        self._window(timeout_seconds).add(error_seconds, now)

    def margin_seconds(self, timeout_seconds: float | None, now: float) -> float:
        """What to add to an estimate, so that nearly all such estimates hold; below 0 if they are too gloomy."""
        window = self._window(timeout_seconds)
        return window.quantile(_QUANTILE) if window.age(now) <= _RECENT_SECONDS else 0.0

    def worst(self, now: float) -> tuple[float, float]:
        """The middle error and the margin that are furthest from 0, over all timeouts."""
        windows = [window for window in self._errors.values() if window.age(now) <= _RECENT_SECONDS]
        median = max((window.quantile(0.5) for window in windows), key=abs, default=0.0)
        return median, max((window.quantile(_QUANTILE) for window in windows), key=abs, default=0.0)

    def _window(self, timeout_seconds: float | None) -> SlidingQuantile:
        magnitude = None if timeout_seconds is None else min(max(frexp(timeout_seconds)[1], _SHORTEST), _LONGEST)
        if magnitude not in self._errors:
            self._errors[magnitude] = SlidingQuantile(_RECENT_SECONDS, least=0)
        return self._errors[magnitude]
