"""Whether a queue grew, on simulated steps of a server of known capacity: fixed seeds, no clock."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.analysis.knee import find_knee
from linnaeus.client.load.generator.records import CallOutcome, Records
from linnaeus.client.load.measurement.statistics import Statistics
from linnaeus.client.load.results import Latency, Measurement, QueueTrend
from linnaeus.client.load.results import TesterView as View  # pytest collects classes named Test…

SEEDS = range(8)
CALLS = 2500


def queue_of_one_server(utilization, seed, calls=CALLS, service_seconds=0.001, capacity=None):
    """Simulates a step: Poisson arrivals at one server, after a warm-up of a fifth of the step (M/D/1).

    Args:
        utilization: the rate in units of what the server can do.
        seed: of the arrivals.
        calls: how many are measured, about.
        service_seconds: of every call.
        capacity: how many calls may wait; None for no limit. A further one is refused at once.

    Returns:
        The records, and the duration.
    """
    rng, records = random.Random(seed), Records()
    duration = calls * service_seconds / utilization
    now, ends = -duration / 5, []
    free = now
    while (now := now + rng.expovariate(utilization / service_seconds)) < duration:
        ends = [end for end in ends if end > now] if capacity is not None else ends
        if capacity is not None and len(ends) > capacity:
            records.add(now, 0.0, 0.0001, CallOutcome.REFUSED, 8)
            continue
        free = max(free, now) + service_seconds
        if capacity is not None:
            ends.append(free)
        records.add(now, 0.0, free - now, CallOutcome.OK, 0)
    return records, duration


def trend_of(records, duration) -> QueueTrend:
    statistics = Statistics(duration)
    statistics.add(records)
    return statistics.queue(duration)


def step_of(records, duration, rate):
    statistics = Statistics(duration)
    statistics.add(records)
    latency = Latency(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "")
    queue, view = statistics.queue(duration), View(0.1, 0.0, False, "")
    return Measurement(rate, None, duration, statistics.counts(), latency, (), None, view, queue=queue)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("utilization", [0.1, 0.5, 0.7, 0.8])
def test_a_queue_below_capacity_does_not_grow(utilization, seed):
    trend = trend_of(*queue_of_one_server(utilization, seed))
    assert not trend.grows and abs(trend.drift) < 0.02
    assert trend.steady_after is not None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("utilization", [1.15, 1.5, 3.0])
def test_a_queue_above_capacity_grows_by_what_comes_in_too_much(utilization, seed):
    records, duration = queue_of_one_server(utilization, seed)
    trend = trend_of(records, duration)
    assert trend.grows and trend.steady_after is None
    # Latency counts from arrival: each second of arrivals takes `utilization` seconds to serve.
    assert trend.drift == pytest.approx(utilization - 1, rel=0.35)
    assert trend.in_flight_at_end > 1.5 * trend.in_flight_at_start
    assert trend.answered_per_second == pytest.approx(1000, rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_capacity_the_knee_is_the_rate_below_or_the_rate_itself(seed):
    steps = [
        step_of(*queue_of_one_server(utilization, seed), rate=1000 * utilization)
        for utilization in (0.6, 0.8, 1.0, 1.3)
    ]
    knee = find_knee(steps)
    assert knee.served in (800.0, 1000.0) and knee.not_served in (1000.0, 1300.0)
    assert knee.estimate is None or knee.estimate == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_queue_that_refuses_is_not_served_though_it_does_not_grow(seed):
    steps = [
        step_of(*queue_of_one_server(utilization, seed, capacity=20), rate=1000 * utilization)
        for utilization in (0.5, 0.75, 1.5)
    ]
    assert steps[-1].counts.refused > 100
    knee = find_knee(steps)
    assert (knee.served, knee.not_served) == (750.0, 1500.0)
    assert knee.estimate == pytest.approx(1000, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    utilization=st.sampled_from([0.5, 0.8, 1.0, 1.2, 2.0]),
    seed=st.sampled_from(SEEDS),
    scale=st.integers(-6, 6).map(lambda power: 2.0**power),
)
def test_the_verdict_does_not_depend_on_the_unit_of_time(utilization, seed, scale):
    slow = trend_of(*queue_of_one_server(utilization, seed, calls=800, service_seconds=0.001 * scale))
    assert slow.grows == trend_of(*queue_of_one_server(utilization, seed, calls=800)).grows


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_in_which_processes_report_does_not_matter(seed):
    records, duration = queue_of_one_server(1.0, seed)
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    shuffled = Records()
    for index in order:
        shuffled.add(
            records.scheduled[index], 0.0, records.latencies[index], records.outcomes[index], records.codes[index]
        )
    assert trend_of(shuffled, duration) == trend_of(records, duration)


def test_a_slow_beginning_belongs_to_the_warm_up():
    records = Records()
    for index in range(1000):
        scheduled = index / 100
        records.add(scheduled, 0.0, 0.2 if scheduled < 3.0 else 0.02 + 0.001 * (index % 7), CallOutcome.OK, 0)
    trend = trend_of(records, 10.0)
    assert not trend.grows and trend.steady_after == pytest.approx(3.0, abs=0.6)


def test_a_queue_that_fills_at_first_and_then_stays_level_does_not_grow():
    records = Records()
    for index in range(1000):
        scheduled = index / 100
        records.add(scheduled, 0.0, min(0.01 + scheduled / 10, 0.2) + 0.001 * (index % 7), CallOutcome.OK, 0)
    trend = trend_of(records, 10.0)
    assert not trend.grows and trend.steady_after == pytest.approx(2.0, abs=1.0)


def test_calls_without_an_answer_at_the_end_show_a_queue_that_latencies_do_not():
    records = Records()
    for index in range(1000):
        # Of late the server answers nobody: the calls end at their deadlines.
        scheduled = index / 100
        outcome = CallOutcome.OK if scheduled < 8.0 else CallOutcome.FAILED
        records.add(scheduled, 0.0, 0.01 if outcome == CallOutcome.OK else 30.0, outcome, 0)
    assert trend_of(records, 10.0).grows


def test_one_slow_call_is_no_trend():
    records = Records()
    for index in range(1000):
        records.add(index / 100, 0.0, 5.0 if index == 900 else 0.02, CallOutcome.OK, 0)
    assert not trend_of(records, 10.0).grows


@pytest.mark.parametrize("calls", [0, 1, 5, 29])
def test_of_too_few_calls_nothing_is_said(calls):
    records = Records()
    for index in range(calls):
        records.add(index / 10, 0.0, 0.02, CallOutcome.OK, 0)
    trend = trend_of(records, 10.0)
    assert not trend.grows and trend.steady_after is None
