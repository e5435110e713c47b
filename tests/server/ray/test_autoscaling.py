"""Replicas are added while images wait too long or are refused for load, and taken away when fewer can do the work."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.ray.autoscaling import QueueSecondsPolicy, wanted_replicas
from linnaeus.ray.load_meter import Load

TARGET, BUSY = 0.05, 0.7
CALM = Load(queue_seconds=0.0, refused=0.0, busy=0.0)

shares = st.floats(0.0, 1.0)
loads = st.builds(Load, st.floats(0.0, 10.0), shares, shares)


def wanted(each: list[Load], current: int) -> int:
    return wanted_replicas(each, current, TARGET, BUSY)


@given(st.lists(loads, max_size=20), st.integers(1, 1000))
def test_the_number_is_at_least_one_and_at_most_twice_the_present(each: list[Load], current: int) -> None:
    assert 1 <= wanted(each, current) <= 2 * current


@given(st.lists(loads, min_size=1, max_size=20), st.integers(1, 1000), st.floats(0.0, 10.0))
def test_who_waits_longer_never_gets_fewer_replicas(each: list[Load], current: int, further_seconds: float) -> None:
    longer = [Load(load.queue_seconds + further_seconds, load.refused, load.busy) for load in each]
    assert wanted(longer, current) >= wanted(each, current)


@given(st.integers(1, 1000), shares, st.floats(0.0, 0.99 * TARGET))
def test_without_waiting_replicas_are_never_added(current: int, busy: float, wait: float) -> None:
    assert wanted([Load(wait, 0.0, busy)] * 3, current) <= current


@given(st.integers(2, 1000), shares)
def test_after_replicas_were_taken_away_the_others_can_do_the_work(current: int, busy: float) -> None:
    fewer = wanted([Load(0.0, 0.0, busy)], current)
    if fewer < current:
        assert busy * current / fewer <= BUSY + 1e-9


@pytest.mark.parametrize(
    ("load", "current", "number"),
    [
        (Load(0.075, 0.0, 1.0), 4, 6),  # half as long again
        (Load(0.5, 0.0, 1.0), 4, 8),  # ten times as long
        (Load(0.0, 0.02, 0.3), 3, 6),  # short deadlines: nobody waits long, but two in a hundred are refused
        (Load(0.0, 0.005, 1.0), 3, 3),  # busy and in time
        (CALM, 5, 1),
    ],
)
def test_what_is_wanted_of_some_loads(load: Load, current: int, number: int) -> None:
    assert wanted([load] * current, current) == number


def context(current: int, **metrics: dict[str, float]) -> SimpleNamespace:
    return SimpleNamespace(aggregated_metrics=metrics, current_num_replicas=current)


def test_a_replica_that_has_not_told_its_load_yet_does_not_count() -> None:
    policy = QueueSecondsPolicy(TARGET, BUSY)
    told = {"a": 0.1, "b": 0.1}
    number, state = policy(context(2, queue_seconds=told, refused={"a": 0.0}, busy={"a": 1.0, "b": 1.0}))
    assert (number, state) == (4, {})
    assert policy(context(3)) == (3, {})


@pytest.mark.parametrize("targets", [(0.0, 0.5), (-1.0, 0.5), (0.1, 0.0), (0.1, 1.1), (float("nan"), 0.5)])
def test_impossible_targets_are_refused(targets: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        QueueSecondsPolicy(*targets)
