"""Events happen in the order of their times; arrivals have the rate that was asked for."""

import random
from collections import Counter
from itertools import pairwise
from statistics import mean, variance

import pytest

from benchmarks.simulation.arrivals import bursts, poisson, steady
from benchmarks.simulation.events import Events


def test_events_happen_by_time_and_those_of_one_time_as_they_were_added() -> None:
    events, happened = Events(), list[tuple[str, float]]()
    for moment, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        events.at(moment, lambda name=name: happened.append((name, events.now)))
    events.run(until=2.5)
    assert happened == [("a", 1.0), ("b", 1.0), ("c", 2.0)]


def test_what_falls_into_a_pause_happens_at_its_end() -> None:
    events, happened = Events(pause=(1.0, 4.0)), list[float]()
    for moment in (0.5, 1.0, 3.9, 4.5):
        events.at(moment, lambda: happened.append(events.now))
    events.run()
    assert happened == [0.5, 4.0, 4.0, 4.5]


def test_steady_arrivals_are_equally_far_apart() -> None:
    assert list(steady(4.0, 1.0, 2.0)) == [1.0, 1.25, 1.5, 1.75]


def test_bursts_have_the_mean_rate_and_vary_more_than_poisson_arrivals() -> None:
    def of_each_tenth(moments: list[float]) -> list[int]:
        assert all(earlier <= later for earlier, later in pairwise(moments))
        counted = Counter(int(10 * moment) for moment in moments)
        return [counted[number] for number in range(400)]

    even = of_each_tenth(list(poisson(random.Random(1), 100.0, 0.0, 40.0)))
    bursty = of_each_tenth(list(bursts(random.Random(1), 100.0, 0.0, 40.0)))
    assert mean(even) == pytest.approx(10.0, rel=0.05)
    assert mean(bursty) == pytest.approx(10.0, rel=0.1)
    assert variance(even) == pytest.approx(10.0, rel=0.25)
    assert variance(bursty) > 2 * variance(even)
