"""The recent errors of completion estimates, and the margin that is added to compensate for them."""

from math import frexp

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile

_RECENT_SECONDS = 1.0
_QUANTILE = 0.9
# Bounds of the timeout classes, as powers of two of a second.
_SHORTEST = -10
_LONGEST = 10
# Errors that end within this time may have one cause: a long batch, a pause of the machine. Together they raise the
# margin by at most this share of the timeout.
_EVENT_SECONDS = 0.02
_MAX_STEP = 0.1


class PredictionMargin:
    """The prediction errors of a flow's tickets: actual minus predicted time of the answer, in seconds.

    Every ticket with a deadline counts that was answered, was dropped as late, or whose caller gave up at the deadline.
    Late and dropped tickets must count: otherwise an estimate that is too optimistic would never be corrected while it
    admits only requests that end too late.

    Errors are relative to the estimate without its margin, so the correction has no feedback on itself. Errors are kept
    by timeout, in classes of a factor of two: a ticket with a much longer timeout is overtaken by later arrivals, so
    its error does not apply to short timeouts.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._errors: dict[int, _Errors] = {}

    def observe(self, error_seconds: float, timeout_seconds: float, now: float) -> None:
        """Records the error of a ticket that has ended, or that cannot end earlier.

        Args:
            error_seconds: actual (or earliest possible) minus predicted time of the answer.
            timeout_seconds: time until its deadline at admission.
            now: time of the clock, in seconds.
        """
        self._class_of(timeout_seconds).add(error_seconds, now)

    def margin_seconds(self, timeout_seconds: float, now: float) -> float:
        """Returns the seconds to add to an estimate so that 90 % hold; negative if estimates are too pessimistic."""
        return self._class_of(timeout_seconds).quantile(_QUANTILE, now)

    def worst(self, now: float) -> tuple[float, float]:
        """Returns the median error and the margin, each from the timeout class where it is furthest from 0."""
        medians = [errors.quantile(0.5, now) for errors in self._errors.values()]
        margins = [errors.quantile(_QUANTILE, now) for errors in self._errors.values()]
        return max(medians, key=abs, default=0.0), max(margins, key=abs, default=0.0)

    def _class_of(self, timeout_seconds: float) -> "_Errors":
        magnitude = min(max(frexp(timeout_seconds)[1], _SHORTEST), _LONGEST)
        if magnitude not in self._errors:
            self._errors[magnitude] = _Errors(_MAX_STEP * 2.0**magnitude)
        return self._errors[magnitude]


class _Errors:
    """The errors of the last second, in seconds.

    Args:
        max_step: how far above the present margin an error is taken for what it is, in seconds.
    """

    def __init__(self, max_step: float) -> None:
        self._recent = SlidingQuantile(_RECENT_SECONDS, min_count=0)
        self._max_step = max_step
        self._bound = 0.0
        self._event_ends_at = 0.0

    def add(self, error: float, now: float) -> None:
        if now >= self._event_ends_at:
            self._bound = max(self.quantile(_QUANTILE, now), 0.0) + self._max_step
            self._event_ends_at = now + _EVENT_SECONDS
        self._recent.add(min(error, self._bound), now)

    def quantile(self, share: float, now: float) -> float:
        """Returns the error that this share of the recent ones does not exceed; 0 if there was none."""
        return self._recent.quantile(share) if self._recent.age(now) <= _RECENT_SECONDS else 0.0
