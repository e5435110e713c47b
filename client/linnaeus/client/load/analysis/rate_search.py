"""Which rate to try next on the way to the highest that meets an objective.

It must not know how a rate is tried.
"""

PRECISION = 1.02


class Bisection:
    """A search from `lowest` to `highest`: doubling until a rate fails, then halving the gap, down to 2 %.

    A rate that fails is tried once more before that counts, so that one hiccup does not spoil the search.

        search = Bisection(100, 10_000)
        while (rate := search.next_rate) is not None:
            search.tell(met=try_it(rate))
        print(search.found)

    Attributes:
        next_rate: to be tried; None when the search is over.
        found: the highest rate so far that met the objective; None if none did.

    Raises:
        ValueError: `lowest` is not above 0, or above `highest`.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        if not 0 < lowest <= highest:
            raise ValueError(f"a search needs a lowest rate above 0 and at most the highest, not {lowest} to {highest}")
        self._highest = highest
        self._failed: float | None = None
        self._second_try = False
        self.found: float | None = None
        self.next_rate: float | None = lowest

    def tell(self, met: bool) -> None:
        """Takes in what became of `next_rate`.

        Raises:
            ValueError: the search is over.
        """
        if self.next_rate is None:
            raise ValueError("the search is over: there is no rate to tell about")
        if not met and not self._second_try:
            self._second_try = True
            return
        self._second_try = False
        if met:
            self.found = self.next_rate
        else:
            self._failed = self.next_rate
        self.next_rate = self._following()

    def _following(self) -> float | None:
        if self.found is None or self.found >= self._highest:
            return None
        if self._failed is None:
            return min(self.found * 2.0, self._highest)
        if self._failed <= self.found * PRECISION:
            return None
        return (self.found + self._failed) / 2.0
