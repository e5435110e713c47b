"""The next rate to try in the search for the highest rate that meets an objective."""

PRECISION = 1.02


class RateSearch:
    """A search from `lowest` to `highest`: doubles until a rate fails, then bisects, down to 2 %.

    A rate that fails is tried a second time before that counts, so that one disturbance does not spoil the search.

        search = RateSearch(100, 10_000)
        while (rate := search.next_rate) is not None:
            search.report(met=try_it(rate))
        print(search.found)

    Attributes:
        next_rate: the rate to try; None when the search has ended.
        found: the highest rate so far that met the objective; None if none did.

    Raises:
        ValueError: if `lowest` is not above 0 or exceeds `highest`.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        if not 0 < lowest <= highest:
            raise ValueError(f"a search needs a lowest rate above 0 and at most the highest, not {lowest} to {highest}")
        self._highest = highest
        self._failed: float | None = None
        self._is_second_try = False
        self.found: float | None = None
        self.next_rate: float | None = lowest

    def report(self, met: bool) -> None:
        """Takes the result of `next_rate`.

        Raises:
            ValueError: if the search has ended.
        """
        if self.next_rate is None:
            raise ValueError("the search is over: there is no rate to tell about")
        if not met and not self._is_second_try:
            self._is_second_try = True
            return
        self._is_second_try = False
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
