"""Warm-up runs every size class before serving and finds the largest batch worth forming, with a fake clock."""

from collections import Counter

import pytest

from linnaeus.server.runtime.warmup import size_classes, warm_up


class FakeModel:
    """A model with given batch durations, which advance its own clock."""

    def __init__(self, seconds_by_size: dict[int, float], cold_runs: int = 0) -> None:
        self.now = 0.0
        self.runs: Counter[int] = Counter()
        self._seconds = seconds_by_size
        self._cold_runs = cold_runs

    def run(self, size: int) -> None:
        self.runs[size] += 1
        cold = 10.0 if self.runs[size] <= self._cold_runs else 0.0
        self.now += self._seconds[size] + cold

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("largest", "classes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12]), (3, [1, 2, 3])]
)
def test_size_classes_are_powers_of_two_and_the_largest(largest: int, classes: list[int]) -> None:
    assert size_classes(largest) == classes


def test_every_size_class_runs_at_least_three_times() -> None:
    machine = FakeModel({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0})
    warm_up(machine.run, 8, choose=False, clock=machine.clock)
    assert set(machine.runs) == {1, 2, 4, 8}
    assert min(machine.runs.values()) >= 3


def test_cold_runs_are_not_reported() -> None:
    machine = FakeModel({1: 1.0, 2: 1.5}, cold_runs=2)
    timings = warm_up(machine.run, 2, choose=False, clock=machine.clock)
    assert [timing.seconds for timing in timings] == [1.0, 1.5]


def test_a_fixed_batch_size_is_kept_however_slow() -> None:
    machine = FakeModel({1: 1.0, 2: 9.0, 4: 99.0})
    assert warm_up(machine.run, 4, choose=False, clock=machine.clock)[-1].size == 4


def test_if_runs_are_long_the_smallest_batch_with_the_best_throughput_is_chosen() -> None:
    machine = FakeModel({1: 1.0, 2: 1.1, 4: 2.0, 8: 3.95, 16: 8.0, 32: 16.0})
    assert warm_up(machine.run, 32, choose=True, clock=machine.clock)[-1].size == 4


def test_if_runs_are_short_the_largest_batch_with_nearly_the_best_throughput_is_chosen() -> None:
    machine = FakeModel({1: 0.0010, 2: 0.0011, 4: 0.0020, 8: 0.0044, 16: 0.0110, 32: 0.0220})
    assert warm_up(machine.run, 32, choose=True, clock=machine.clock)[-1].size == 8
    slower = FakeModel({1: 0.010, 2: 0.012, 4: 0.020, 8: 0.049, 16: 0.110, 32: 0.220})
    assert warm_up(slower.run, 32, choose=True, clock=slower.clock)[-1].size == 4


def test_a_batch_of_one_is_chosen_only_if_larger_ones_gain_nothing() -> None:
    gains = FakeModel({1: 0.0120, 2: 0.0200, 4: 0.0335, 8: 0.0672, 16: 0.134, 32: 0.268})
    assert warm_up(gains.run, 32, choose=True, clock=gains.clock)[-1].size == 4
    no_gain = FakeModel({1: 0.0120, 2: 0.0230, 4: 0.0450, 8: 0.0900, 16: 0.180, 32: 0.360})
    assert warm_up(no_gain.run, 32, choose=True, clock=no_gain.clock)[-1].size == 1


def test_the_search_stops_where_throughput_stops_growing() -> None:
    machine = FakeModel({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0, 32: 999.0})
    warm_up(machine.run, 32, choose=True, clock=machine.clock)
    assert 16 not in machine.runs


def test_one_size_without_gain_does_not_stop_the_search() -> None:
    machine = FakeModel({1: 1.0, 2: 2.0, 4: 1.0})
    assert warm_up(machine.run, 4, choose=True, clock=machine.clock)[-1].size == 4
