"""The knee of a ramp: between the highest rate that was served in full and the next one."""

from dataclasses import replace

import pytest

from linnaeus.client.load.analysis.knee import Knee, find_knee
from linnaeus.client.load.measurement.served import shortfall
from linnaeus.client.load.report.metrics import result_sentence
from linnaeus.client.load.results import QueueTrend

STEADY = QueueTrend(False, 0.0, 3, 4, 100.0, 0.0)


@pytest.fixture
def step(make_measurement):
    """Makes a step of 1,000 calls, of which some were not ok."""

    def make(rate, grows=False, answered=100.0, **outcomes):
        ok = 1000 - sum(outcomes.values())
        queue = replace(STEADY, grows=grows, answered_per_second=answered)
        return replace(make_measurement(rate=rate, milliseconds=(5.0,) * ok, **outcomes), queue=queue)

    return make


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"late": 20}, ""),
        ({"late": 21}, "21 calls were late, wrong or failed"),
        ({"refused": 1}, ""),
        ({"refused": 2}, "2 calls were refused"),
        ({"failed": 1}, ""),
        ({"failed": 2}, "2 calls failed"),
        ({"grows": True}, "the queue grew"),
        ({"grows": True, "refused": 104}, "104 calls were refused"),
    ],
)
def test_a_rate_is_served_only_if_nothing_of_it_fell_short(step, change, reason):
    assert shortfall(step(100.0, **change)) == reason


def test_a_tester_that_fell_behind_may_be_the_reason(make_measurement):
    behind = make_measurement(limit="1 % of the calls left late")
    queue = replace(STEADY, grows=True)
    assert shortfall(replace(behind, queue=queue)) == "the queue grew, or the tester fell behind"


def test_what_piled_up_and_is_answered_later_is_no_goodput(step):
    assert step(300.0, answered=90.0).goodput == 100.0
    assert step(300.0, grows=True, answered=90.0).goodput == 90.0
    assert step(300.0, grows=True, answered=400.0).goodput == 100.0


def test_a_rate_that_was_not_measured_to_the_end_proves_nothing(step, interrupted, make_measurement):
    assert shortfall(interrupted(step(100.0)))
    assert shortfall(make_measurement(milliseconds=()))


def test_the_knee_lies_between_the_highest_rate_served_and_the_next(step):
    steps = [step(100.0), step(200.0), step(300.0, grows=True, answered=240.0), step(400.0)]
    assert find_knee(steps) == find_knee(steps[::-1]) == Knee(200.0, 300.0, 240.0)


def test_what_a_server_answers_beyond_its_knee_is_no_estimate_if_it_is_less(step):
    assert find_knee([step(200.0), step(300.0, grows=True, answered=150.0)]) == Knee(200.0, 300.0, None)


def test_a_ramp_that_was_served_in_full_has_its_knee_above_it(step, make_run):
    assert find_knee([step(100.0), step(200.0)]) == Knee(200.0)
    assert "lies above 200 calls/s" in result_sentence(make_run(step(100.0), step(200.0), knee=200.0))


def test_a_ramp_that_was_never_served_has_none(step, make_run):
    assert find_knee([step(100.0, grows=True), step(200.0)]) == Knee(None, 100.0)
    assert find_knee([]) == Knee()
    sentence = result_sentence(make_run(step(100.0, grows=True), step(200.0), knee_below=100.0))
    assert sentence.startswith("Even the lowest rate was not served in full (the queue grew)")


def test_an_interrupted_step_is_no_upper_bound(step, interrupted):
    assert find_knee([step(100.0), interrupted(step(200.0))]) == Knee(100.0)


def test_the_sentence_says_why_the_next_rate_was_not_served(step, make_run):
    run = make_run(step(200.0), step(300.0, refused=104), knee=200.0, knee_below=300.0, knee_estimate=240.0)
    assert result_sentence(run) == (
        "The knee: 200 calls/s is the highest rate that was still served in full; at 300 calls/s 104 calls were "
        "refused. It lies between them, at about 240."
    )
