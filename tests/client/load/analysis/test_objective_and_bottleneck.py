"""Conclusions from measurements: objectives, and whether the load tester was the bottleneck."""

from dataclasses import replace
from pathlib import Path

import pytest

from linnaeus.client.load.analysis.objective import Objective, parse_ramp
from linnaeus.client.load.generator.process_messages import Finished
from linnaeus.client.load.generator.records import CallOutcome, Records
from linnaeus.client.load.measurement.generator_bottleneck import load_tester_view
from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.measurement.statistics import Statistics
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import Counts, Measurement
from linnaeus.client.load.results import TesterView as View  # pytest collects classes named Test…

PLAN = Plan(target="localhost:8001", pictures=(Path("cat.jpg"),), rate=100.0)


def measurement(ok=100, seconds=0.05, rate=100.0, **others):
    histogram = Histogram()
    for _ in range(ok):
        histogram.record(seconds)
    counts = Counts(sent=ok + sum(others.values()), ok=ok, **others)
    return Measurement(rate, None, 10.0, counts, histogram.summary(), (), None, View(0.1, 0.0, False, ""))


@pytest.mark.parametrize(
    ("text", "measure", "strict", "bound"),
    [
        ("p99<100ms", "p99", True, 0.1),
        ("p99.9 <= 1.5s", "p99.9", False, 1.5),
        ("MAX<2 s", "max", True, 2.0),
        ("mean<=5ms", "mean", False, 0.005),
    ],
)
def test_an_objective_is_read_as_it_is_written(text, measure, strict, bound):
    objective = Objective.parse(text)
    assert (objective.measure, objective.strict) == (measure, strict)
    assert objective.bound_seconds == pytest.approx(bound)


@pytest.mark.parametrize("text", ["", "p98<1s", "p99>1s", "p99<1", "p99<-1ms", "p99<1ms or so", "p99<one s"])
def test_what_is_no_objective_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="such as p99<100ms"):
        Objective.parse(text)


@pytest.mark.parametrize("measure", ["p50", "p90", "p95", "p99", "p99.9", "max", "mean"])
def test_a_fast_measurement_meets_its_objective_and_a_slow_one_does_not(measure):
    objective = Objective.parse(f"{measure}<100ms")
    assert objective.is_met_by(measurement(seconds=0.05))
    assert not objective.is_met_by(measurement(seconds=0.15))


@pytest.mark.parametrize("bad", ["late", "refused", "failed", "differed"])
def test_calls_that_were_not_ok_count_as_infinitely_late(bad):
    assert Objective.parse("p99<100ms").is_met_by(measurement(ok=99, **{bad: 1}))
    assert not Objective.parse("p99<100ms").is_met_by(measurement(ok=98, **{bad: 2}))
    assert not Objective.parse("mean<100ms").is_met_by(measurement(ok=99, **{bad: 1}))
    assert not Objective.parse("max<100ms").is_met_by(measurement(ok=99, **{bad: 1}))


def test_calls_that_the_load_tester_corrupted_or_cancelled_do_not_count():
    assert Objective.parse("max<100ms").is_met_by(measurement(ok=50, cancelled=25, corrupt=25))


def test_a_measurement_without_calls_meets_no_objective():
    assert not Objective.parse("p50<10s").is_met_by(measurement(ok=0))


def test_a_ramp_is_read_with_both_ends():
    assert parse_ramp("100:1000:10") == tuple(100.0 * step for step in range(1, 11))


@pytest.mark.parametrize("text", ["", "100", "100:200", "a:b:c", "0:10:2", "20:10:2", "10:20:1", "1:2:3:4", "1:inf:3"])
def test_what_is_no_ramp_is_refused(text):
    with pytest.raises(ValueError, match="is no ramp"):
        parse_ramp(text)


def statistics_of(lag=0.0, latency=0.02, calls=1000, failed=0):
    records = Records()
    for call in range(calls):
        records.add(call / calls, lag, latency, *((CallOutcome.FAILED, 14) if call < failed else (CallOutcome.OK, 0)))
    statistics = Statistics()
    statistics.add(records)
    return statistics


def finished(busy=0.2, not_sent=0, full=False):
    return Finished(busy, not_sent, full, {})


def test_a_load_tester_that_kept_its_schedule_was_not_the_bottleneck():
    view = load_tester_view(PLAN, [finished(busy=0.99)], statistics_of(lag=0.009))
    assert not view.was_the_limit
    assert view.reason == ""
    assert view.send_lag_p99 == pytest.approx(0.009, rel=0.01)


@pytest.mark.parametrize(
    ("lag", "latency", "limit"), [(0.011, 0.02, True), (0.011, 0.2, False), (0.021, 0.2, True), (0.009, 0.001, False)]
)
def test_lag_counts_against_ten_milliseconds_or_a_tenth_of_the_median(lag, latency, limit):
    view = load_tester_view(PLAN, [finished()], statistics_of(lag, latency))
    assert view.was_the_limit == limit
    assert ("later than intended" in view.reason) == limit


def test_calls_that_could_not_be_sent_make_the_load_tester_the_bottleneck():
    assert not load_tester_view(PLAN, [finished(not_sent=20)], statistics_of(calls=980)).was_the_limit
    view = load_tester_view(PLAN, [finished(not_sent=15), finished(not_sent=15, full=True)], statistics_of(calls=970))
    assert view.was_the_limit
    assert "97.0%" in view.reason
    assert "--max-in-flight" in view.reason


def test_a_busy_process_makes_the_load_tester_the_bottleneck_of_a_closed_loop():
    closed = replace(PLAN, rate=None, concurrency=64)
    assert not load_tester_view(closed, [finished(0.5), finished(0.9)], statistics_of(lag=5.0)).was_the_limit
    view = load_tester_view(closed, [finished(0.5), finished(0.97)], statistics_of())
    assert (view.busy, view.send_lag_p99, view.was_the_limit) == (0.97, 0.0, True)
    assert "97%" in view.reason
    assert "--processes" in view.reason


@pytest.mark.parametrize(("failed", "limit"), [(0, True), (500, True), (501, False), (1000, False)])
def test_calls_that_fail_at_once_do_not_ask_for_more_processes(failed, limit):
    closed = replace(PLAN, rate=None, concurrency=64)
    assert load_tester_view(closed, [finished(1.0)], statistics_of(failed=failed)).was_the_limit == limit
