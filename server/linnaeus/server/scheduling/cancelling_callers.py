"""Callers that usually cancel their calls, and how long to hold back their tickets."""

from collections import OrderedDict, deque

# How many of a caller's last calls are remembered, and how many are needed to judge it.
_REMEMBERED_CALLS = 32
_MIN_CALLS = 8
_HABITUAL_SHARE = 0.5
_REMEMBERED_CALLERS = 1024
# A caller that cancels usually does so within a certain time. The hold covers nearly all of its past cancellations,
# with a fixed upper bound.
_QUANTILE = 0.9
_MAX_HOLD_SECONDS = 0.2


class CancellingCallers:
    """The callers that usually cancel. Work for a call that is cancelled delays every other call.

    Whether a call will be cancelled is unknown at admission. A caller that cancelled most of its last calls is likely
    to cancel again, after about the same time. While a device is busy, the tickets of such a caller are held back until
    that time has passed. A few calls that are not cancelled end the holding.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._callers: OrderedDict[str, _LastCalls] = OrderedDict()  # least recently used first

    def record(self, caller: str, cancelled_after_seconds: float | None) -> None:
        """Records the end of a call.

        Args:
            caller: the caller's name.
            cancelled_after_seconds: when it cancelled, counted from admission; None if it received its answer.
        """
        calls = self._callers.get(caller)
        if calls is None:
            calls = self._callers[caller] = _LastCalls()
        calls.add(cancelled_after_seconds)
        self._callers.move_to_end(caller)
        if len(self._callers) > _REMEMBERED_CALLERS:
            self._callers.popitem(last=False)

    def hold_seconds(self, caller: str) -> float:
        """Returns how long to hold back a ticket of the caller; 0 unless it usually cancels."""
        calls = self._callers.get(caller)
        if calls is None or not calls.cancels_usually:
            return 0.0
        return min(calls.cancels_within_seconds, _MAX_HOLD_SECONDS)


class _LastCalls:
    """One caller's last calls: seconds until cancellation for each, None for a call that it did not cancel."""

    __slots__ = ("_calls", "_cancelled")

    def __init__(self) -> None:
        self._calls: deque[float | None] = deque()
        self._cancelled = 0  # kept as a counter, because every request reads it

    @property
    def cancels_usually(self) -> bool:
        """Whether the caller cancelled at least half of its calls, once there are enough to judge."""
        return self._cancelled >= _HABITUAL_SHARE * len(self._calls) and len(self._calls) >= _MIN_CALLS

    @property
    def cancels_within_seconds(self) -> float:
        """The time within which nearly all cancellations came; needs at least one cancelled call."""
        left = sorted(seconds for seconds in self._calls if seconds is not None)
        return left[int(_QUANTILE * (len(left) - 1))]

    def add(self, cancelled_after_seconds: float | None) -> None:
        """Adds the newest call and forgets the oldest beyond the limit."""
        self._calls.append(cancelled_after_seconds)
        self._cancelled += cancelled_after_seconds is not None
        if len(self._calls) > _REMEMBERED_CALLS:
            self._cancelled -= self._calls.popleft() is not None
