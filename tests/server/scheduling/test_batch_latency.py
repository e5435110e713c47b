"""Predictions of the latency table, before and after its first observations."""

import random

import pytest

from linnaeus.server.scheduling import LatencyTable

WARM_UP = {1: 0.03, 2: 0.05, 4: 0.09, 8: 0.17}


def observe_batches(
    table: LatencyTable, slowness: float, start: float, batches: int, step: float = 0.05, concurrent: int = 0
) -> float:
    """Records batches of 4, `slowness` times as slow as at warm-up; returns the time at the end."""
    now = start
    for _ in range(batches):
        now += step
        table.observe(4, concurrent, 0.09 * (concurrent + 1) * slowness, now)
    return now


@pytest.mark.parametrize(
    ("size", "seconds"), [(1, 0.03), (2, 0.05), (3, 0.07), (4, 0.09), (6, 0.13), (8, 0.17), (16, 0.34)]
)
def test_predictions_are_interpolated_between_sizes_and_proportional_beyond_the_largest(
    size: int, seconds: float
) -> None:
    table = LatencyTable(WARM_UP)
    assert table.expected(size, 0, now=0.0) == pytest.approx(seconds)
    assert table.longest(size, 0, now=0.0) == pytest.approx(seconds)


def test_below_the_smallest_measured_size_a_batch_takes_as_long_as_that_size() -> None:
    assert LatencyTable({4: 0.1, 8: 0.2}).expected(1, 0, now=0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("concurrent", [0, 1, 3])
def test_concurrent_batches_share_the_device_evenly(concurrent: int) -> None:
    assert LatencyTable(WARM_UP).expected(4, concurrent, now=0.0) == pytest.approx(0.09 * (concurrent + 1))


def test_image_seconds_is_the_share_of_one_image_in_the_largest_batch() -> None:
    table = LatencyTable(WARM_UP)
    assert table.image_seconds(0.0) == table.warm_up_image_seconds == pytest.approx(0.17 / 8)
    assert table.sizes == [1, 2, 4, 8]


def test_after_five_batches_at_half_speed_predictions_for_all_sizes_have_doubled() -> None:
    table = LatencyTable(WARM_UP)
    now = observe_batches(table, 1.0, 0.0, batches=5, step=1.0)
    now = observe_batches(table, 2.0, now, batches=5, step=0.2)
    assert table.expected(4, 0, now) == pytest.approx(0.18, rel=0.05)
    assert table.longest(8, 0, now) == pytest.approx(0.34, rel=0.1)


@pytest.mark.parametrize("step", [0.01, 0.1])
def test_predictions_follow_a_change_within_a_second_after_any_number_of_batches(step: float) -> None:
    table = LatencyTable(WARM_UP)
    now = observe_batches(table, 1.0, 0.0, batches=500, step=step)
    now = observe_batches(table, 2.0, now, batches=round(1.0 / step) + 1, step=step)
    assert table.expected(4, 0, now) == pytest.approx(0.18, rel=0.05)
    now = observe_batches(table, 1.0, now, batches=round(1.0 / step) + 1, step=step)
    assert table.longest(4, 0, now) == pytest.approx(0.09, rel=0.05)


def test_one_outlier_among_twenty_batches_does_not_move_predictions() -> None:
    table = LatencyTable(WARM_UP)
    now = observe_batches(table, 1.0, 0.0, batches=19)
    table.observe(4, 0, 9.0, now)
    assert table.longest(4, 0, now) == pytest.approx(0.09, rel=0.3)
    assert table.expected(4, 0, now) == pytest.approx(0.09, rel=0.3)


def test_longest_is_the_90th_percentile_and_expected_the_median() -> None:
    chance, table, now = random.Random(5), LatencyTable(WARM_UP), 0.0
    within_longest = within_expected = 0
    for _ in range(2000):
        now += 0.05
        size, seconds = chance.choice((1, 3, 8)), chance.lognormvariate(0.0, 0.2)
        seconds *= LatencyTable(WARM_UP).expected(size, 0, 0.0)
        within_longest += seconds <= table.longest(size, 0, now)
        within_expected += seconds <= table.expected(size, 0, now)
        table.observe(size, 0, seconds, now)
    assert within_longest == pytest.approx(1800, abs=120)
    assert within_expected == pytest.approx(1000, abs=120)


def test_without_new_batches_predictions_decay_to_the_shape() -> None:
    table = LatencyTable(WARM_UP)
    now = observe_batches(table, 50.0, 0.0, batches=40, step=0.1)
    shape = table.longest(4, 0, now + 1000.0)
    assert table.longest(4, 0, now) > 20 * 0.09
    assert table.longest(4, 0, now + 0.9) == pytest.approx(table.longest(4, 0, now))
    assert table.longest(4, 0, now + 12.0) == pytest.approx(shape, rel=0.1)


def test_one_slow_moment_leaves_the_shape_nearly_unchanged() -> None:
    table = LatencyTable(WARM_UP)
    now = observe_batches(table, 50.0, 0.0, batches=8, step=0.1)
    assert table.longest(4, 0, now + 60.0) == pytest.approx(0.09, rel=0.25)


def test_the_shape_follows_a_size_that_is_slower_than_at_warm_up() -> None:
    table, now = LatencyTable(WARM_UP), 0.0
    for _ in range(400):
        now += 0.1
        table.observe(1, 0, 0.03, now)
        table.observe(2, 0, 0.05, now)
        table.observe(8, 0, 0.34, now)
    assert table.expected(8, 0, now) == pytest.approx(0.34, rel=0.1)
    assert table.expected(1, 0, now) == pytest.approx(0.03, rel=0.1)


def test_the_shape_follows_the_measured_cost_of_concurrent_batches() -> None:
    table, now = LatencyTable(WARM_UP), 0.0
    for _ in range(400):
        now += 0.1
        table.observe(4, 0, 0.09, now)
        table.observe(4, 0, 0.09, now)
        table.observe(4, 1, 0.12, now)
    assert table.expected(4, 1, now) == pytest.approx(0.12, rel=0.1)
    assert table.expected(4, 0, now) == pytest.approx(0.09, rel=0.1)


@pytest.mark.parametrize("sizes", [(1, 2, 4, 8), (8,)])
def test_a_steady_machine_does_not_make_the_shape_drift(sizes: tuple[int, ...]) -> None:
    chance, table, now = random.Random(7), LatencyTable(WARM_UP), 0.0
    for _ in range(20_000):
        now += 0.05
        size = chance.choice(sizes)
        table.observe(size, 0, 3.0 * WARM_UP[size] * chance.lognormvariate(0.0, 0.2), now)
    for size, seconds in WARM_UP.items():  # including sizes that did not run
        assert table.expected(size, 0, now) == pytest.approx(3.0 * seconds, rel=0.25)
        # After a long idle time only the shape is left, because the pace has decayed.
        assert table.expected(size, 0, now + 1000.0) == pytest.approx(seconds, rel=0.25)


def test_a_run_between_two_measured_sizes_corrects_both() -> None:
    table, now = LatencyTable(WARM_UP), 0.0
    for _ in range(400):
        now += 0.1
        for size in (1, 1, 2):
            table.observe(size, 0, WARM_UP[size], now)
        table.observe(6, 0, 0.26, now)
    assert table.expected(6, 0, now) == pytest.approx(0.26, rel=0.1)
    assert table.expected(4, 0, now) > 0.12
    assert table.expected(8, 0, now) > 0.22


def test_runs_of_zero_seconds_are_accepted() -> None:
    table = LatencyTable(WARM_UP)
    for now in range(50):
        table.observe(4, 0, 0.0, float(now))
    assert 0.0 < table.expected(4, 0, 50.0) < 0.09
    assert table.expected(4, 0, 500.0) > 0.0
