"""Callers that usually leave before their answers come, and how long to wait until they have."""

from collections import OrderedDict, deque

# What a caller did with its last calls; a habit is told from a few at least.
_REMEMBERED_CALLS = 32
_LEAST_CALLS = 8
_HABITUAL_SHARE = 0.5
_REMEMBERED_CALLERS = 1024
# Those who leave usually do so within a certain time: nearly all of that is waited for, but never for long.
_QUANTILE = 0.9
_LONGEST_SECONDS = 0.2


class CancellingCallers:
    """Work done for somebody who leaves is lost to everybody else.

    Nobody can tell whether a call will be cancelled. But whoever cancelled most of its last calls is likely to do so
    again, and about as soon. On a busy device such a caller's tickets are held back until they have outlived that
    habit. A caller that stays a few times is held back no more.

    Belongs to the queue's lock.
    """

    def __init__(self) -> None:
        self._callers: OrderedDict[str, _LastCalls] = OrderedDict()  # the one heard of last is last

    def record(self, caller: str, cancelled_after_seconds: float | None) -> None:
        """A call of that caller ended; None if it stayed."""
        calls = self._callers.get(caller)
        if calls is None:
            calls = self._callers[caller] = _LastCalls()
        calls.add(cancelled_after_seconds)
        self._callers.move_to_end(caller)
        if len(self._callers) > _REMEMBERED_CALLERS:
            self._callers.popitem(last=False)

    def hold_seconds(self, caller: str) -> float:
        """How long to wait before anything is done for the caller; 0 for nearly all."""
        calls = self._callers.get(caller)
        if calls is None or not calls.cancels_usually:
            return 0.0
        return min(calls.cancels_within_seconds, _LONGEST_SECONDS)


class _LastCalls:
    """A caller's last calls: after how many seconds it left each, None for one that it stayed for."""

    __slots__ = ("_calls", "_cancelled")

    def __init__(self) -> None:
        self._calls: deque[float | None] = deque()
        self._cancelled = 0  # counted as they come and go: every request asks

    @property
    def cancels_usually(self) -> bool:
        """Whether it left most of them, of a few at least."""
        return self._cancelled >= _HABITUAL_SHARE * len(self._calls) and len(self._calls) >= _LEAST_CALLS

    @property
    def cancels_within_seconds(self) -> float:
        """The time within which it left nearly all that it left; there must be one."""
        left = sorted(seconds for seconds in self._calls if seconds is not None)
        return left[int(_QUANTILE * (len(left) - 1))]

    def add(self, cancelled_after_seconds: float | None) -> None:
        """Adds the newest one."""
        self._calls.append(cancelled_after_seconds)
        self._cancelled += cancelled_after_seconds is not None
        if len(self._calls) > _REMEMBERED_CALLS:
            self._cancelled -= self._calls.popleft() is not None
