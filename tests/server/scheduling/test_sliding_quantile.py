"""Which values a sliding window keeps, and their quantiles."""

from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile


def test_values_outside_the_window_are_forgotten() -> None:
    window = SlidingQuantile(seconds=1.0, min_count=0)
    window.add(1.0, now=0.0)
    window.add(2.0, now=0.5)
    window.add(3.0, now=1.2)
    assert len(window) == 2
    assert window.quantile(1.0) == 3.0


def test_min_count_values_are_kept_however_old() -> None:
    window = SlidingQuantile(seconds=1.0, min_count=2)
    for now in (0.0, 10.0, 20.0):
        window.add(now, now)
    assert len(window) == 2
    assert window.quantile(0.5) == 10.0


def test_at_most_max_count_values_are_kept_the_newest() -> None:
    window = SlidingQuantile(seconds=100.0, min_count=0, max_count=3)
    for value in range(10):
        window.add(float(value), now=0.0)
    assert [window.quantile(share) for share in (0.3, 0.6, 1.0)] == [7.0, 8.0, 9.0]


def test_the_age_is_that_of_the_newest_value_and_infinite_without_values() -> None:
    window = SlidingQuantile(seconds=1.0, min_count=0)
    assert window.age(5.0) == float("inf")
    window.add(1.0, now=2.0)
    window.add(1.0, now=3.0)
    assert window.age(5.0) == 2.0


def test_without_values_a_quantile_is_the_default() -> None:
    assert SlidingQuantile(1.0, min_count=0).quantile(0.5, default=7.0) == 7.0


def test_a_quantile_includes_values_added_after_the_previous_call() -> None:
    window = SlidingQuantile(1.0, min_count=0)
    window.add(1.0, now=0.0)
    assert window.quantile(1.0) == 1.0
    window.add(2.0, now=0.1)
    assert window.quantile(1.0) == 2.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0.0, 1.0))
def test_a_quantile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    window = SlidingQuantile(seconds=1.0, min_count=0)
    for value in values:
        window.add(value, now=0.0)
    enough = [value for value in values if sum(each <= value for each in values) >= share * len(values)]
    assert window.quantile(share) == min(enough)
