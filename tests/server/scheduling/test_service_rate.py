"""The rate at which a device drains its backlog."""

import pytest

from linnaeus.server.scheduling.service_rate import ServiceRate


def busy(rate: ServiceRate, start: float, seconds: float, speed: float, step: float = 0.1) -> float:
    """Runs a batch every `step` seconds under backlog at this speed; returns the time at the end."""
    now = start
    for _ in range(round(seconds / step)):
        now += step
        rate.batch_finished(step * speed, now, backlogged=True)
    return now


def test_the_initial_speed_is_that_of_the_warm_up() -> None:
    assert ServiceRate().speed == 1.0


def test_the_speed_follows_a_change_within_about_a_second() -> None:
    rate = ServiceRate()
    now = busy(rate, 0.0, seconds=1.5, speed=0.5)
    assert rate.speed == pytest.approx(0.5, abs=0.05)
    busy(rate, now, seconds=1.5, speed=1.0)
    assert rate.speed == pytest.approx(1.0, abs=0.05)


def test_how_often_batches_end_makes_no_difference() -> None:
    often, seldom = ServiceRate(), ServiceRate()
    busy(often, 0.0, seconds=2.0, speed=0.5, step=0.01)
    busy(seldom, 0.0, seconds=2.0, speed=0.5, step=0.2)
    assert often.speed == pytest.approx(seldom.speed, abs=0.06)


def test_batches_without_a_backlog_do_not_change_the_speed() -> None:
    rate = ServiceRate()
    for now in range(10):
        rate.batch_finished(0.01, float(now), backlogged=False)
    assert rate.speed == 1.0


def test_the_first_interval_starts_when_a_backlog_is_seen() -> None:
    rate = ServiceRate()
    rate.batch_finished(5.0, 10.0, backlogged=True)
    assert rate.speed == 1.0


def test_an_interval_without_continuous_backlog_does_not_count() -> None:
    rate = ServiceRate()
    rate.batch_finished(0.1, 0.0, backlogged=True)
    rate.backlog_ended()
    rate.batch_finished(0.1, 10.0, backlogged=True)
    assert rate.speed == 1.0


def test_an_interval_that_ends_the_backlog_counts_but_the_next_does_not() -> None:
    rate = ServiceRate()
    rate.batch_finished(0.1, 0.0, backlogged=True)
    rate.batch_finished(0.5, 1.0, backlogged=False)
    slower = rate.speed
    assert slower < 1.0
    rate.batch_finished(0.5, 9.0, backlogged=True)
    assert rate.speed == slower


def test_two_batches_that_end_almost_together_both_count() -> None:
    together, in_turn = ServiceRate(), ServiceRate()
    for rate in (together, in_turn):
        rate.batch_finished(0.5, 0.0, backlogged=True)
    for tenth in range(1, 50):
        together.batch_finished(0.05, tenth / 10 - 1e-6, backlogged=True)
        together.batch_finished(0.05, tenth / 10, backlogged=True)
        in_turn.batch_finished(0.05, tenth / 10 - 0.05, backlogged=True)
        in_turn.batch_finished(0.05, tenth / 10, backlogged=True)
    assert together.speed == pytest.approx(in_turn.speed, abs=0.1)
