"""The recent errors of completion estimates, and the margin that is added to compensate for them."""

from math import frexp

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile

_RECENT_SECONDS = 2.0
_QUANTILE = 0.95
# Bounds of the timeout classes, as powers of two of a second.
_SHORTEST = -10
_LONGEST = 10


class PredictionMargin:
    """The prediction errors of a flow's tickets: actual minus predicted time of the answer, in seconds.

    Every ticket counts that was answered, was dropped as late, or whose caller gave up at the deadline. Late and
    dropped tickets must count: otherwise an estimate that is too optimistic would never be corrected while it admits
    only requests that end too late.

    Errors are relative to the estimate without its margin, so the correction has no feedback on itself. Errors are kept
    by timeout, in classes of a factor of two: a ticket with a much longer timeout is overtaken by later arrivals, so
    its error does not apply to short timeouts.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._errors: dict[int | None, SlidingQuantile] = {}

    def observe(self, error_seconds: float, timeout_seconds: float | None, now: float) -> None:
        """Records the error of a ticket that has ended, or that cannot end earlier.

        Args:
            error_seconds: actual (or earliest possible) minus predicted time of the answer.
            timeout_seconds: time until its deadline at admission; None for no deadline.
            now: time of the clock, in seconds.
        """
        self._window(timeout_seconds).add(error_seconds, now)

    def margin_seconds(self, timeout_seconds: float | None, now: float) -> float:
        """Returns the seconds to add to an estimate so that 95 % hold; negative if estimates are too pessimistic."""
        window = self._window(timeout_seconds)
        return window.quantile(_QUANTILE) if window.age(now) <= _RECENT_SECONDS else 0.0

    def worst(self, now: float) -> tuple[float, float]:
        """Returns the median error and the margin, each from the timeout class where it is furthest from 0."""
        windows = [window for window in self._errors.values() if window.age(now) <= _RECENT_SECONDS]
        median = max((window.quantile(0.5) for window in windows), key=abs, default=0.0)
        return median, max((window.quantile(_QUANTILE) for window in windows), key=abs, default=0.0)

    def _window(self, timeout_seconds: float | None) -> SlidingQuantile:
        magnitude = None if timeout_seconds is None else min(max(frexp(timeout_seconds)[1], _SHORTEST), _LONGEST)
        if magnitude not in self._errors:
            self._errors[magnitude] = SlidingQuantile(_RECENT_SECONDS, min_count=0)
        return self._errors[magnitude]
