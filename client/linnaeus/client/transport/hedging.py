"""When a second attempt is worth it: recent latencies and the budget of extra calls.

Counts and decides; makes no call. `aio/hedged_call.py` sends the attempts.
After Dean and Barroso, "The Tail at Scale", 2013: https://research.google/pubs/the-tail-at-scale/
"""

import threading
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

# The size of the token bucket: the number of extra calls that may follow one another when a server stalls.
_MAX_BUDGET_TOKENS = 20.0
# Models differ in latency by a factor of a hundred, so each model has a window. A further model replaces the oldest.
_MAX_WINDOWS = 64


@dataclass(frozen=True, slots=True)
class Hedging:
    """Sends a second attempt when the answer to the first is late, and takes the first answer that comes.

    Classifying an image twice changes nothing, so only `classify` is hedged. Hedging helps against rare stalls of a
    server. If more calls than `1 - quantile` are slow, the wait for the second attempt grows until it has no effect.

    Attributes:
        budget: the maximum number of extra calls as a share of all calls; holds at every moment, not on average.
        quantile: of the recent latencies; a call that takes longer is late.
        window: the number of answers of a model that count as recent.
        least_observations: the number of answers of a model before any call is late.
    """

    budget: float = 0.05
    quantile: float = 0.95
    window: int = 500
    least_observations: int = 20

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if a setting is out of range.
        """
        if not 0 < self.budget <= 1:
            raise ValueError(f"hedging: budget must be above 0 and at most 1, not {self.budget!r}")
        if not 0 < self.quantile < 1:
            raise ValueError(f"hedging: quantile must be between 0 and 1, not {self.quantile!r}")
        if not 1 <= self.least_observations <= self.window:
            raise ValueError(
                f"hedging: least_observations must be from 1 to the window of {self.window}, "
                f"not {self.least_observations!r}"
            )


@dataclass(frozen=True, slots=True)
class HedgeCounts:
    """What hedging has done so far.

    Attributes:
        calls: calls that could have been hedged.
        hedged: calls with a second attempt; at most the budget's share of `calls`.
        won: calls whose second attempt answered first.
    """

    calls: int = 0
    hedged: int = 0
    won: int = 0


def parse_hedging(hedging: Hedging | bool) -> Hedging | None:
    """Returns the settings for a client's `hedging` argument; None if calls are not hedged.

    Raises:
        ValueError: if it is neither a `Hedging` nor a bool.
    """
    if isinstance(hedging, Hedging):
        return hedging
    if not isinstance(hedging, bool):
        raise ValueError(f"hedging must be True, False or a Hedging value, not {hedging!r}")
    return Hedging() if hedging else None


class LatencyWindow:
    """The most recent latencies, kept sorted so that a quantile is one look-up.

    Args:
        size: the number of latencies that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_age: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, seconds: float) -> None:
        """Adds a latency; a full window drops its oldest."""
        if len(self._by_age) == self._size:
            del self._sorted[bisect_left(self._sorted, self._by_age.popleft())]
        self._by_age.append(seconds)
        insort(self._sorted, seconds)

    def quantile(self, share: float) -> float:
        """Returns the smallest latency that at least `share` of the latencies do not exceed.

        Raises:
            ValueError: if the window is empty.
        """
        if not self._sorted:
            raise ValueError("no latency was observed yet")
        return self._sorted[min(int(share * len(self._sorted)), len(self._sorted) - 1)]


class Hedger:
    """Decides for all calls of one client when a second attempt is sent. Any thread may use it.

    Invariants:
        - the number of second attempts never exceeds `budget` times the number of calls so far;
        - a call has at most one second attempt, provided that the caller takes one token per call.
    """

    def __init__(self, settings: Hedging) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._windows: OrderedDict[str, LatencyWindow] = OrderedDict()
        self._budget_tokens = 0.0
        self._counts = HedgeCounts()

    @property
    def counts(self) -> HedgeCounts:
        """What was done so far."""
        with self._lock:
            return self._counts

    def start_call(self, model: str) -> float | None:
        """Counts a call and adds its share to the budget.

        Returns:
            The seconds after which the call is late; None while too few latencies of the model are known.
        """
        with self._lock:
            self._counts = replace(self._counts, calls=self._counts.calls + 1)
            self._budget_tokens = min(self._budget_tokens + self._settings.budget, _MAX_BUDGET_TOKENS)
            window = self._windows.get(model)
            if window is None or len(window) < self._settings.least_observations:
                return None
            return window.quantile(self._settings.quantile)

    def take_token(self) -> bool:
        """Takes a token for a second attempt; returns False if the budget is spent."""
        with self._lock:
            # The sum of twenty times 0.05 is slightly below 1: rounding must not cost a call.
            if self._budget_tokens < 1 - 1e-9:
                return False
            self._budget_tokens = max(self._budget_tokens - 1, 0.0)
            self._counts = replace(self._counts, hedged=self._counts.hedged + 1)
            return True

    def record_answer(self, model: str, latency_seconds: float, *, by_second: bool) -> None:
        """Records how long the caller waited, and whether the second attempt answered."""
        with self._lock:
            self._counts = replace(self._counts, won=self._counts.won + by_second)
            self._window(model).add(latency_seconds)

    def _window(self, model: str) -> LatencyWindow:
        window = self._windows.setdefault(model, LatencyWindow(self._settings.window))
        if len(self._windows) > _MAX_WINDOWS:
            self._windows.popitem(last=False)
        return window
