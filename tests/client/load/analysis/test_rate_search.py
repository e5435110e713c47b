"""The search for the highest rate, against a function instead of a server."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.analysis.rate_search import RateSearch


def rates_tried(search, meets):
    rates = []
    while (rate := search.next_rate) is not None:
        rates.append(rate)
        search.report(met=meets(rate))
    return rates


@settings(deadline=None)
@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0.5, 2e6))
def test_the_highest_rate_is_found_within_two_percent(lowest, factor, limit):
    search = RateSearch(lowest, lowest * factor)
    tries = rates_tried(search, lambda rate: rate <= limit)
    if limit < lowest:
        assert search.found is None
        assert tries == [lowest, lowest]
        return
    truth = min(limit, lowest * factor)
    assert truth / 1.02 <= search.found <= truth
    assert len(tries) < 40


def test_it_doubles_until_a_rate_fails_and_then_bisects():
    assert rates_tried(RateSearch(100, 10_000), lambda rate: rate <= 500)[:6] == [100, 200, 400, 800, 800, 600]


def test_one_failure_does_not_count():
    results = iter([True, True, False])
    search = RateSearch(100, 400)
    assert rates_tried(search, lambda rate: next(results, True)) == [100, 200, 400, 400]
    assert search.found == 400


@pytest.mark.parametrize(("lowest", "highest"), [(0, 10), (-1, 10), (20, 10)])
def test_a_search_over_no_rates_is_refused(lowest, highest):
    with pytest.raises(ValueError, match="lowest rate above 0"):
        RateSearch(lowest, highest)


def test_a_search_that_has_ended_accepts_no_result():
    search = RateSearch(1, 1)
    search.report(met=True)
    with pytest.raises(ValueError, match="over"):
        search.report(met=True)
