"""How fast a device is believed to work off its backlog."""

import pytest

from linnaeus.server.scheduling.service_rate import ServiceRate


def busy(rate: ServiceRate, start: float, seconds: float, speed: float, step: float = 0.1) -> float:
    """Runs a batch every `step` seconds under backlog, at that speed; returns the time at the end."""
    now = start
    for _ in range(round(seconds / step)):
        now += step
        rate.batch_finished(step * speed, now, backlogged=True)
    return now


def test_before_it_has_been_busy_a_device_works_as_fast_as_measured() -> None:
    assert ServiceRate().speed == 1.0


def test_a_machine_that_becomes_half_as_fast_is_known_after_about_a_second() -> None:
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


def test_what_a_device_does_without_a_backlog_says_nothing() -> None:
    rate = ServiceRate()
    for now in range(10):
        rate.batch_finished(0.01, float(now), backlogged=False)
    assert rate.speed == 1.0


def test_the_first_stretch_begins_when_the_backlog_is_seen() -> None:
    rate = ServiceRate()
    rate.batch_finished(5.0, 10.0, backlogged=True)
    assert rate.speed == 1.0


def test_a_stretch_in_which_the_device_ran_dry_does_not_count() -> None:
    rate = ServiceRate()
    rate.batch_finished(0.1, 0.0, backlogged=True)
    rate.backlog_ended()
    rate.batch_finished(0.1, 10.0, backlogged=True)
    assert rate.speed == 1.0


def test_a_stretch_that_ends_without_a_backlog_counts_but_the_next_does_not() -> None:
    rate = ServiceRate()
    rate.batch_finished(0.1, 0.0, backlogged=True)
    rate.batch_finished(0.5, 1.0, backlogged=False)
    slower = rate.speed
    assert slower < 1.0
    rate.batch_finished(0.5, 9.0, backlogged=True)
    assert rate.speed == slower


def test_of_two_batches_that_end_almost_together_both_count() -> None:
    together, in_turn = ServiceRate(), ServiceRate()
    for rate in (together, in_turn):
        rate.batch_finished(0.5, 0.0, backlogged=True)
    for tenth in range(1, 50):
        together.batch_finished(0.05, tenth / 10 - 1e-6, backlogged=True)
        together.batch_finished(0.05, tenth / 10, backlogged=True)
        in_turn.batch_finished(0.05, tenth / 10 - 0.05, backlogged=True)
        in_turn.batch_finished(0.05, tenth / 10, backlogged=True)
    assert together.speed == pytest.approx(in_turn.speed, abs=0.1)
