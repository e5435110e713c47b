"""The margin that results from prediction errors."""

import pytest
from builders import TENTH_AN_IMAGE, decode_all, new_queue, put

from linnaeus.server.scheduling import Stage, TooLate
from linnaeus.server.scheduling.prediction_margin import PredictionMargin


def test_without_errors_there_is_no_margin() -> None:
    assert PredictionMargin().margin_seconds(0.5, now=0.0) == 0.0
    assert PredictionMargin().worst(now=0.0) == (0.0, 0.0)


def test_the_margin_covers_nearly_all_errors_but_not_the_rarest() -> None:
    margin = PredictionMargin()
    for error in range(100):
        margin.observe(error / 1000, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=0.0) == pytest.approx(0.089, abs=0.002)


def test_one_event_however_bad_raises_the_margin_by_a_tenth_of_the_timeout_at_most() -> None:
    margin = PredictionMargin()
    for moment in range(100):
        margin.observe(1000.0, 0.9, now=moment * 1e-4)
    assert margin.margin_seconds(0.9, now=0.01) == pytest.approx(0.1)


def test_errors_that_last_are_learnt_in_full_within_a_quarter_of_a_second() -> None:
    margin = PredictionMargin()
    for moment in range(13):
        margin.observe(0.6, 0.9, now=moment * 0.021)
    assert margin.margin_seconds(0.9, now=0.25) == pytest.approx(0.6)


def test_predictions_that_were_too_late_give_a_negative_margin() -> None:
    margin = PredictionMargin()
    for _ in range(20):
        margin.observe(-0.2, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=0.0) == -0.2


@pytest.mark.parametrize(("other", "learns"), [(0.3, True), (0.49, True), (1.5, False), (0.1, False)])
def test_errors_apply_to_timeouts_within_a_factor_of_two(other: float, learns: bool) -> None:
    margin = PredictionMargin()
    margin.observe(0.02, 0.4, now=0.0)
    assert (margin.margin_seconds(other, now=0.0) == 0.02) is learns


def test_extreme_timeouts_share_the_outermost_classes() -> None:
    margin = PredictionMargin()
    for exponent in range(-40, 40):
        margin.observe(1e-5, 2.0**exponent, now=0.0)
    assert margin.margin_seconds(1e-9, now=0.0) == 1e-5
    assert margin.margin_seconds(1e9, now=0.0) == 1e-5
    assert margin.worst(now=0.0) == (1e-5, 1e-5)


def test_errors_are_forgotten_after_a_second() -> None:
    margin = PredictionMargin()
    margin.observe(0.03, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=0.9) == 0.03
    assert margin.margin_seconds(0.5, now=1.1) == 0.0
    assert margin.worst(now=1.1) == (0.0, 0.0)


def test_a_new_error_replaces_errors_older_than_a_second() -> None:
    margin = PredictionMargin()
    margin.observe(0.03, 0.5, now=0.0)
    margin.observe(0.01, 0.5, now=1.5)
    assert margin.margin_seconds(0.5, now=1.5) == 0.01


def test_worst_is_the_error_furthest_from_zero() -> None:
    margin = PredictionMargin()
    margin.observe(0.1, 0.5, now=0.0)
    margin.observe(-0.3, 5.0, now=0.0)
    assert margin.worst(now=0.0) == (-0.3, -0.3)


def test_a_late_answer_is_recorded_as_an_error() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    put(queue, "1", "a", clock.now + 1.0)
    batch = queue.take_nowait("d")
    clock.now += 0.15  # 0.1 s was predicted
    assert batch is not None
    queue.mark_answered(batch.tickets)
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(
        0.04, abs=0.001
    )  # decoding was expected to take 0.01 s


def test_a_ticket_dropped_from_a_batch_is_recorded_as_if_it_had_run() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    put(queue, "1", "a", clock.now + 1.0)
    clock.now += 0.95
    batch = queue.take_nowait("d")
    assert batch is not None and not batch.tickets and batch.late
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(0.2)  # by as much as one event may count


def test_a_ticket_dropped_before_decoding_is_recorded() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    queue.admit("a", "1", clock.now + 1.0)
    clock.now += 0.95
    turn = queue.next_to_decode_nowait()
    assert turn is not None and not turn.tickets and len(turn.late) == 1
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(0.2)  # by as much as one event may count


@pytest.mark.parametrize("stage", [Stage.ADMITTED, Stage.QUEUED, Stage.TAKEN])
def test_an_expired_ticket_is_recorded_once_at_any_stage(stage: Stage) -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    ticket = queue.admit("a", "1", clock.now + 1.0)
    if stage is not Stage.ADMITTED:
        decode_all(queue)
    if stage is Stage.TAKEN:
        queue.take_nowait("d")
    clock.now += 1.0
    assert queue.cancel(ticket) is stage
    assert queue.prediction_error("a").margin_seconds == pytest.approx(0.2)
    clock.now += 1.0
    queue.cancel(ticket)
    queue.mark_answered([ticket])
    assert queue.prediction_error("a").margin_seconds == pytest.approx(0.2)


def test_a_cancellation_before_the_deadline_is_not_recorded() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    ticket = put(queue, "1", "a", clock.now + 1.0)
    clock.now += 0.5
    queue.cancel(ticket)
    assert queue.prediction_error("a").margin_seconds == 0.0


def test_a_too_optimistic_estimate_is_corrected_even_if_nothing_is_answered_in_time() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    with pytest.raises(TooLate):
        for _ in range(9):
            queue.admit("a", "another so that the lane is not idle")
            queue.admit("a", "hopeful", clock.now + 0.9)
            clock.now += 0.9
            assert (turn := queue.next_to_decode_nowait()) is not None and len(turn.late) == 1
