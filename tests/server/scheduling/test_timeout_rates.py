"""How many requests a second came, by the time that they gave."""

from math import inf

import pytest

from linnaeus.server.scheduling.timeout_rates import TimeoutRates


def test_rates_are_summed_up_to_each_timeout() -> None:
    rates = TimeoutRates()
    for timeout, times in ((0.5, 10), (2.0, 5), (None, 25)):
        for _ in range(times):
            rates.add(timeout, 0.0)
    assert rates.up_to_timeout(0.0) == [(0.5, 20.0), (2.0, 30.0), (inf, 80.0)]


def test_timeouts_are_rounded_down_by_at_most_a_sixth() -> None:
    for number in range(1, 2000):
        rates = TimeoutRates()
        rates.add(number / 100, 0.0)
        ((timeout, _),) = rates.up_to_timeout(0.0)
        assert number / 100 * 5 / 6 < timeout <= number / 100


@pytest.mark.parametrize("timeout", [1e-300, 1e300])
def test_extreme_timeouts_are_counted(timeout: float) -> None:
    rates = TimeoutRates()
    rates.add(timeout, 0.0)
    assert len(rates.up_to_timeout(0.0)) == 1


def test_a_steady_rate_is_found_and_forgotten_within_one_and_a_half_seconds() -> None:
    rates = TimeoutRates()
    for number in range(300):
        rates.add(1.0, number / 100)
    assert rates.up_to_timeout(3.0)[-1][1] == pytest.approx(100, rel=0.1)
    assert rates.up_to_timeout(4.0) == []
