"""What a window keeps of a stream of values."""

from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling.sliding_quantile import SlidingQuantile


def test_values_that_are_too_old_are_let_go() -> None:
    window = SlidingQuantile(seconds=1.0, least=0)
    window.add(1.0, now=0.0)
    window.add(2.0, now=0.5)
    window.add(3.0, now=1.2)
    assert len(window) == 2
    assert window.quantile(1.0) == 3.0


def test_a_few_are_kept_however_old() -> None:
    window = SlidingQuantile(seconds=1.0, least=2)
    for now in (0.0, 10.0, 20.0):
        window.add(now, now)
    assert len(window) == 2
    assert window.quantile(0.5) == 10.0


def test_never_more_than_the_most_are_kept_and_the_newest_stay() -> None:
    window = SlidingQuantile(seconds=100.0, least=0, most=3)
    for value in range(10):
        window.add(float(value), now=0.0)
    assert [window.quantile(share) for share in (0.3, 0.6, 1.0)] == [7.0, 8.0, 9.0]


def test_its_age_is_that_of_the_newest_value_and_endless_without_one() -> None:
    window = SlidingQuantile(seconds=1.0, least=0)
    assert window.age(5.0) == float("inf")
    window.add(1.0, now=2.0)
    window.add(1.0, now=3.0)
    assert window.age(5.0) == 2.0


def test_without_values_a_quantile_is_what_the_caller_says() -> None:
    assert SlidingQuantile(1.0, least=0).quantile(0.5, otherwise=7.0) == 7.0


def test_a_quantile_knows_of_values_that_came_after_it_was_last_asked_for() -> None:
    window = SlidingQuantile(1.0, least=0)
    window.add(1.0, now=0.0)
    assert window.quantile(1.0) == 1.0
    window.add(2.0, now=0.1)
    assert window.quantile(1.0) == 2.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0.0, 1.0))
def test_a_quantile_is_the_smallest_value_that_so_great_a_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    window = SlidingQuantile(seconds=1.0, least=0)
    for value in values:
        window.add(value, now=0.0)
    enough = [value for value in values if sum(each <= value for each in values) >= share * len(values)]
    assert window.quantile(share) == min(enough)
