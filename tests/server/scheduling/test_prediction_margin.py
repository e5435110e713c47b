"""What is learnt from predictions that were off."""

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
        margin.observe(error / 100, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=0.0) == pytest.approx(0.94, abs=0.02)


def test_predictions_that_were_too_gloomy_give_a_margin_below_zero() -> None:
    margin = PredictionMargin()
    for _ in range(20):
        margin.observe(-0.2, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=0.0) == -0.2


@pytest.mark.parametrize(("other", "learns"), [(0.3, True), (0.49, True), (1.5, False), (0.1, False), (None, False)])
def test_a_ticket_learns_from_those_with_about_as_much_time(other: float | None, learns: bool) -> None:
    margin = PredictionMargin()
    margin.observe(0.2, 0.4, now=0.0)
    assert (margin.margin_seconds(other, now=0.0) == 0.2) is learns


def test_absurd_timeouts_have_a_kind_too_and_there_are_few_kinds() -> None:
    margin = PredictionMargin()
    for exponent in range(-40, 40):
        margin.observe(0.1, 2.0**exponent, now=0.0)
    assert margin.margin_seconds(1e-9, now=0.0) == 0.1
    assert margin.margin_seconds(1e9, now=0.0) == 0.1
    assert margin.worst(now=0.0) == (0.1, 0.1)


def test_it_forgets_after_two_seconds_without_news() -> None:
    margin = PredictionMargin()
    margin.observe(3.0, 0.5, now=0.0)
    assert margin.margin_seconds(0.5, now=1.9) == 3.0
    assert margin.margin_seconds(0.5, now=2.1) == 0.0
    assert margin.worst(now=2.1) == (0.0, 0.0)


def test_what_is_older_than_two_seconds_makes_way_for_news() -> None:
    margin = PredictionMargin()
    margin.observe(3.0, 0.5, now=0.0)
    margin.observe(0.1, 0.5, now=2.5)
    assert margin.margin_seconds(0.5, now=2.5) == 0.1


def test_the_worst_is_what_is_furthest_from_zero_on_either_side() -> None:
    margin = PredictionMargin()
    margin.observe(0.1, 0.5, now=0.0)
    margin.observe(-0.3, 5.0, now=0.0)
    assert margin.worst(now=0.0) == (-0.3, -0.3)


def test_a_late_answer_counts() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    put(queue, "1", "a", clock.now + 1.0)
    batch = queue.take_nowait("d")
    clock.now += 0.7  # a tenth had been predicted
    assert batch is not None
    queue.mark_answered(batch.tickets)
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(0.6)


def test_a_ticket_dropped_from_a_batch_counts_as_if_it_had_run() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    put(queue, "1", "a", clock.now + 1.0)
    clock.now += 0.95
    batch = queue.take_nowait("d")
    assert batch is not None and not batch.tickets and batch.late
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(0.95)


def test_a_ticket_dropped_before_decoding_counts() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    queue.admit("a", "1", clock.now + 1.0)
    clock.now += 0.95
    turn = queue.next_to_decode_nowait()
    assert turn is not None and not turn.tickets and len(turn.late) == 1
    assert queue.prediction_error("a").median_error_seconds == pytest.approx(0.95)


@pytest.mark.parametrize("stage", [Stage.ADMITTED, Stage.QUEUED, Stage.TAKEN])
def test_a_caller_that_gives_up_at_its_deadline_counts_once_wherever_the_ticket_stands(stage: Stage) -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    ticket = queue.admit("a", "1", clock.now + 1.0)
    if stage is not Stage.ADMITTED:
        decode_all(queue)
    if stage is Stage.TAKEN:
        queue.take_nowait("d")
    clock.now += 1.0
    assert queue.cancel(ticket) is stage
    assert queue.prediction_error("a").margin_seconds == pytest.approx(0.9)
    clock.now += 1.0
    queue.cancel(ticket)
    queue.mark_answered([ticket])
    assert queue.prediction_error("a").margin_seconds == pytest.approx(0.9)


def test_a_cancellation_before_the_deadline_says_nothing() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    ticket = put(queue, "1", "a", clock.now + 1.0)
    clock.now += 0.5
    queue.cancel(ticket)
    assert queue.prediction_error("a").margin_seconds == 0.0


def test_an_estimate_that_is_too_hopeful_corrects_itself_although_nothing_is_answered_in_time() -> None:
    queue, clock = new_queue(seconds=TENTH_AN_IMAGE)
    deadline = clock.now + 0.9
    for _ in range(5):
        queue.admit("a", "hopeful", deadline)
    clock.now = deadline
    turn = queue.next_to_decode_nowait()
    assert turn is not None and len(turn.late) == 5
    with pytest.raises(TooLate):
        queue.admit("a", "the sixth", clock.now + 0.9)
