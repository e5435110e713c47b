"""Each caller is given its burst and its rate, no more and no less, and is told the true wait."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.security.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


rates = st.floats(0.01, 1000)
bursts = st.floats(1, 100)
asks = st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 150)), min_size=1, max_size=60)


@settings(deadline=None, derandomize=True)
@given(rates, bursts, asks)
def test_over_any_time_nobody_gets_more_than_burst_and_rate(
    rate: float, burst: float, sequence: list[tuple[float, float]]
) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    given_at: list[tuple[float, float]] = []
    for pause, cost in sequence:
        clock.now += pause
        cost = min(cost, burst)
        if limiter.take("caller", cost) == 0.0:
            given_at.append((clock.now, cost))
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            taken = sum(cost for _, cost in given_at[first : last + 1])
            seconds = given_at[last][0] - given_at[first][0]
            assert taken <= burst + rate * seconds + 1e-3 + 1e-6 * rate


@settings(deadline=None, derandomize=True)
@given(rates, bursts, asks)
def test_who_waits_as_told_is_given_and_who_comes_before_is_not(
    rate: float, burst: float, sequence: list[tuple[float, float]]
) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    for pause, cost in sequence:
        clock.now += pause
        wait = limiter.take("caller", cost)
        if wait:
            clock.now += wait / 2
            assert limiter.take("caller", cost) == pytest.approx(wait / 2, abs=1e-5) or wait < 1e-5
            clock.now += wait / 2
            assert limiter.take("caller", cost) == 0.0


@settings(deadline=None, derandomize=True)
@given(rates, st.integers(1, 100))
def test_a_rested_caller_has_its_whole_burst(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    for _ in range(2):
        assert [limiter.take("caller") for _ in range(burst)] == [0.0] * burst
        assert limiter.take("caller") > 0
        clock.now += burst / rate + 1e-3


def test_one_that_asks_for_more_than_the_burst_pays_it_off() -> None:
    clock = Clock()
    limiter = RateLimiter(10, 5, clock)
    assert limiter.take("caller", 50) == 0.0
    assert limiter.take("caller", 1) == pytest.approx(4.6)
    clock.now += 4.6
    assert limiter.take("caller", 1) == 0.0


def test_callers_do_not_pay_for_one_another() -> None:
    limiter = RateLimiter(1, 1, Clock())
    assert limiter.take("greedy") == 0.0 and limiter.take("greedy") > 0
    assert limiter.take("modest") == 0.0


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 30), max_size=200))
def test_however_many_callers_there_are_few_are_remembered(callers: list[int]) -> None:
    limiter = RateLimiter(1, 1, Clock(), most_callers=8)
    for caller in callers:
        limiter.take(str(caller))
    assert len(limiter._full_at) <= 8
    if callers:
        assert limiter.take(str(callers[-1])) > 0  # the last is never the one that is forgotten


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0.5)])
def test_what_would_let_nobody_in_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="a rate must be above 0"):
        RateLimiter(rate, burst, Clock())
