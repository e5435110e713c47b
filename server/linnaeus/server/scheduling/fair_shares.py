"""Max-min fair shares of a resource among callers, and how far a caller is above its share."""

from collections.abc import Sequence
from typing import NamedTuple

# So much more than its share counts as none: callers that are alike never use exactly the same.
_TOLERANCE_SECONDS = 0.05


class Demand(NamedTuple):
    """What a caller used of a resource lately, that and what it waits for, in seconds; and its weight."""

    used: float
    wanted: float
    weight: float


class FairShares:
    """The max-min fair shares of a resource: who wants less than its share has that, and leaves the rest to the others.

    Attributes:
        used: what all callers used lately, in seconds.
    """

    def __init__(self) -> None:
        self.used = 0.0
        self._demands: list[Demand] = []
        self._levels: dict[float, float] = {}  # by weight

    def share_out(self, demands: Sequence[Demand]) -> None:
        """Begins anew with these demands, one a caller."""
        self.used = sum([demand.used for demand in demands])
        self._demands = sorted([each for each in demands if each.weight], key=lambda each: each.wanted / each.weight)
        self._levels = {}

    def excess_seconds(self, wanted: float, weight: float, kept: float) -> float:
        """Returns how much time its share needs for what a caller wants above it; 0 if it is within.

        Args:
            wanted: what the caller used and waits for, in seconds.
            weight: its weight.
            kept: the part of what was used at the last `share_out` that has not decayed since.
        """
        wanted -= _TOLERANCE_SECONDS
        share = self._level(weight) * weight
        if wanted <= share * kept:
            return 0.0
        return self.used * (wanted / share - kept) if share else wanted

    def _level(self, weight: float) -> float:
        """Returns the share of a weight of 1 if one caller more, of this weight, wanted all that it can have.

        Without one more, a caller that is served at once would be within its share, however much it uses: what the
        others were refused is not among the demands.
        """
        level = self._levels.get(weight)
        if level is None:
            left, weights = self.used, weight + sum([demand.weight for demand in self._demands])
            for demand in self._demands:
                if demand.wanted * weights >= left * demand.weight:
                    break
                left -= demand.wanted
                weights -= demand.weight
            level = self._levels[weight] = max(left, 0.0) / weights
        return level
