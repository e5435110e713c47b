"""Warm-up runs every size class before serving and finds where throughput stops growing, with a clock of the test's."""

from collections import Counter

import pytest

from linnaeus.server.runtime.warmup import size_classes, warm_up


class FakeModel:
    """A model whose batches take the seconds it is told; the clock is its own."""

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


def test_cold_runs_are_not_what_is_reported() -> None:
    machine = FakeModel({1: 1.0, 2: 1.5}, cold_runs=2)
    timings = warm_up(machine.run, 2, choose=False, clock=machine.clock)
    assert [timing.seconds for timing in timings] == [1.0, 1.5]


def test_a_batch_size_that_was_asked_for_is_kept_however_slow() -> None:
    machine = FakeModel({1: 1.0, 2: 9.0, 4: 99.0})
    assert warm_up(machine.run, 4, choose=False, clock=machine.clock)[-1].size == 4


def test_of_long_runs_the_smallest_batch_as_fast_as_any_is_chosen() -> None:
    machine = FakeModel({1: 1.0, 2: 1.1, 4: 2.0, 8: 3.95, 16: 8.0, 32: 16.0})
    assert warm_up(machine.run, 32, choose=True, clock=machine.clock)[-1].size == 4


def test_of_short_runs_the_largest_batch_nearly_as_fast_as_any_is_chosen() -> None:
    machine = FakeModel({1: 0.0010, 2: 0.0011, 4: 0.0020, 8: 0.0044, 16: 0.0110, 32: 0.0220})
    assert warm_up(machine.run, 32, choose=True, clock=machine.clock)[-1].size == 8
    slower = FakeModel({1: 0.010, 2: 0.011, 4: 0.020, 8: 0.049, 16: 0.110, 32: 0.220})
    assert warm_up(slower.run, 32, choose=True, clock=slower.clock)[-1].size == 4


def test_one_image_alone_is_no_batch_however_short_its_run_if_larger_ones_gain() -> None:
    gains = FakeModel({1: 0.0096, 2: 0.0178, 4: 0.0335, 8: 0.0672, 16: 0.134, 32: 0.268})
    assert warm_up(gains.run, 32, choose=True, clock=gains.clock)[-1].size == 4
    no_gain = FakeModel({1: 0.0096, 2: 0.0190, 4: 0.0380, 8: 0.0760, 16: 0.152, 32: 0.304})
    assert warm_up(no_gain.run, 32, choose=True, clock=no_gain.clock)[-1].size == 1


def test_trying_stops_where_throughput_stops_growing() -> None:
    machine = FakeModel({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0, 32: 999.0})
    warm_up(machine.run, 32, choose=True, clock=machine.clock)
    assert 16 not in machine.runs


def test_one_size_that_brings_nothing_does_not_stop_the_search() -> None:
    machine = FakeModel({1: 1.0, 2: 2.0, 4: 1.0})
    assert warm_up(machine.run, 4, choose=True, clock=machine.clock)[-1].size == 4
