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


class Habits:
    """Work done for somebody who leaves is lost to everybody else.

    Nobody can tell whether a call will be cancelled. But whoever cancelled most of its last calls is likely to do so
    again, and about as soon. On a busy device such a caller's tickets are held back until they have outlived that
    habit. A caller that stays a few times is held back no more.

    Belongs to the queue's lock.
    """

    def __init__(self) -> None:
        # Of each caller, after how many seconds it left; None for a call it stayed for. The one heard of last is last.
        self._callers: OrderedDict[str, deque[float | None]] = OrderedDict()

    def ended(self, caller: str, left_after_seconds: float | None) -> None:
        """A call of that caller ended; None if it stayed."""
        calls = self._callers.setdefault(caller, deque(maxlen=_REMEMBERED_CALLS))
        calls.append(left_after_seconds)
        self._callers.move_to_end(caller)
        if len(self._callers) > _REMEMBERED_CALLERS:
            self._callers.popitem(last=False)

    def hold_seconds(self, caller: str) -> float:
        """How long to wait before anything is done for the caller; 0 for nearly all."""
        calls = self._callers.get(caller, ())
        left = sorted(seconds for seconds in calls if seconds is not None)
        if len(calls) < _LEAST_CALLS or len(left) < _HABITUAL_SHARE * len(calls):
            return 0.0
        return min(left[int(_QUANTILE * (len(left) - 1))], _LONGEST_SECONDS)
