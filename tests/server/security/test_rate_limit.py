"""Each caller gets exactly its burst and its rate, and a refusal returns the exact wait."""

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
requests = st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 150)), min_size=1, max_size=60)


@settings(deadline=None, derandomize=True)
@given(rates, bursts, requests)
def test_in_any_interval_a_caller_gets_at_most_burst_plus_rate(
    rate: float, burst: float, sequence: list[tuple[float, float]]
) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    admitted: list[tuple[float, float]] = []
    for pause, cost in sequence:
        clock.now += pause
        cost = min(cost, burst)
        if limiter.take("caller", cost) == 0.0:
            admitted.append((clock.now, cost))
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            taken = sum(cost for _, cost in admitted[first : last + 1])
            seconds = admitted[last][0] - admitted[first][0]
            assert taken <= burst + rate * seconds + 1e-3 + 1e-6 * rate


@settings(deadline=None, derandomize=True)
@given(rates, bursts, requests)
def test_a_retry_after_the_returned_wait_is_admitted_and_an_earlier_one_is_not(
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
def test_an_idle_caller_has_its_whole_burst_again(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    for _ in range(2):
        assert [limiter.take("caller") for _ in range(burst)] == [0.0] * burst
        assert limiter.take("caller") > 0
        clock.now += burst / rate + 1e-3


def test_a_cost_above_the_burst_is_admitted_and_paid_off_later() -> None:
    clock = Clock()
    limiter = RateLimiter(10, 5, clock)
    assert limiter.take("caller", 50) == 0.0
    assert limiter.take("caller", 1) == pytest.approx(4.6)
    clock.now += 4.6
    assert limiter.take("caller", 1) == 0.0


def test_callers_have_separate_buckets() -> None:
    limiter = RateLimiter(1, 1, Clock())
    assert limiter.take("greedy") == 0.0 and limiter.take("greedy") > 0
    assert limiter.take("modest") == 0.0


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 30), max_size=200))
def test_the_number_of_stored_buckets_is_bounded(callers: list[int]) -> None:
    limiter = RateLimiter(1, 1, Clock(), max_callers=8)
    for caller in callers:
        limiter.take(str(caller))
    assert len(limiter._full_at) <= 8
    if callers:
        assert limiter.take(str(callers[-1])) > 0  # the bucket of the last caller is kept


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0.5)])
def test_a_rate_or_burst_that_admits_nothing_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="a rate must be above 0"):
        RateLimiter(rate, burst, Clock())
