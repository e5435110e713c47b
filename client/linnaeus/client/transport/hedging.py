"""When a second attempt is worth it: the latencies of late, and what may be spent.

Counts and decides; makes no call and knows no gRPC. `attempts` races the calls.
After Dean and Barroso, "The Tail at Scale", 2013: https://research.google/pubs/the-tail-at-scale/
"""

import threading
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

# The budget saved up in calm times: as many extra calls may come at once when a server stalls.
_MOST_SAVED_CALLS = 20.0
# Models differ in latency by a factor of a hundred, so each has a window; names beyond these push out the oldest.
_MOST_WINDOWS = 64


@dataclass(frozen=True, slots=True)
class Hedging:
    """Ask a second time when the first answer is late, and take the first answer that comes.

    A picture is classified the same however often it is asked, so only `classify` does it. It helps against rare
    stalls of a server; where more calls than `1 - quantile` are slow, the wait grows until it helps no more.

    Attributes:
        budget: how many extra calls there may be, as a share of all; held at every moment, not on average.
        quantile: of the recent latencies; a call that takes longer is late.
        window: how many answers of a model count as recent.
        least_observations: before as many answers of a model, nothing is late.
    """

    budget: float = 0.05
    quantile: float = 0.95
    window: int = 500
    least_observations: int = 20

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: one of them makes no sense.
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
    """What hedging did so far.

    Attributes:
        calls: that might have been hedged.
        hedged: that had a second attempt; at most the budget's share of `calls`.
        won: whose second attempt answered first.
    """

    calls: int = 0
    hedged: int = 0
    won: int = 0


def hedging_from(hedging: Hedging | bool) -> Hedging | None:
    """Returns the settings for what a caller said.

    Raises:
        ValueError: it is neither a `Hedging` nor a yes or no.
    """
    if isinstance(hedging, Hedging):
        return hedging
    if not isinstance(hedging, bool):
        raise ValueError(f"hedging must be True, False or a Hedging value, not {hedging!r}")
    return Hedging() if hedging else None


class Latencies:
    """The last latencies, kept sorted so that a quantile costs nothing.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_age: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, seconds: float) -> None:
        """Takes one in and, when full, the oldest out."""
        if len(self._by_age) == self._size:
            del self._sorted[bisect_left(self._sorted, self._by_age.popleft())]
        self._by_age.append(seconds)
        insort(self._sorted, seconds)

    def quantile(self, share: float) -> float:
        """The least latency that `share` of them do not exceed.

        Raises:
            ValueError: there are none.
        """
        if not self._sorted:
            raise ValueError("no latency was observed yet")
        return self._sorted[min(int(share * len(self._sorted)), len(self._sorted) - 1)]


class Hedger:
    """Decides for all calls of one client. Any thread may use it.

    Invariants:
        - the second attempts so far are at most `budget` times the calls so far;
        - no call has more than one second attempt, given that its caller asks `spend` once.
    """

    def __init__(self, settings: Hedging) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._windows: OrderedDict[str, Latencies] = OrderedDict()
        self._saved_calls = 0.0
        self._counts = HedgeCounts()

    @property
    def counts(self) -> HedgeCounts:
        """What was done so far."""
        with self._lock:
            return self._counts

    def begin(self, model: str) -> float | None:
        """Counts a call.

        Returns:
            After how many seconds it is late; None while too little is known of the model.
        """
        with self._lock:
            self._counts = replace(self._counts, calls=self._counts.calls + 1)
            self._saved_calls = min(self._saved_calls + self._settings.budget, _MOST_SAVED_CALLS)
            window = self._windows.get(model)
            if window is None or len(window) < self._settings.least_observations:
                return None
            return window.quantile(self._settings.quantile)

    def spend(self) -> bool:
        """Whether the budget holds a second attempt; it is spent then."""
        with self._lock:
            # The sum of twenty times 0.05 is a hair below 1: rounding must not cost a call.
            if self._saved_calls < 1 - 1e-9:
                return False
            self._saved_calls = max(self._saved_calls - 1, 0.0)
            self._counts = replace(self._counts, hedged=self._counts.hedged + 1)
            return True

    def answered(self, model: str, seconds: float, *, by_second: bool) -> None:
        """Keeps how long the caller waited, and who answered."""
        with self._lock:
            self._counts = replace(self._counts, won=self._counts.won + by_second)
            self._window(model).add(seconds)

    def _window(self, model: str) -> Latencies:
        window = self._windows.setdefault(model, Latencies(self._settings.window))
        if len(self._windows) > _MOST_WINDOWS:
            self._windows.popitem(last=False)
        return window
