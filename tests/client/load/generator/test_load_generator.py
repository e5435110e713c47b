"""The load generator in virtual time against scripted servers: no socket, no sleep, every latency known exactly."""

import heapq
import math
from collections import Counter
from itertools import count, cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.generator.arrivals import arrival_times
from linnaeus.client.load.generator.failure_reasons import MAX_KINDS, FailureReasons
from linnaeus.client.load.generator.load_generator import LoadGenerator
from linnaeus.client.load.generator.records import CallOutcome
from linnaeus.client.load.generator.request_messages import RequestMessages
from linnaeus.client.load.measurement.statistics import Statistics
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import FailureReason

CAT = (1, "cat", 0.75)


class VirtualTime:
    """A clock that advances to the next event."""

    def __init__(self, start):
        self.time = start
        self.events = []
        self.order = count()
        self.awake = False

    def now(self):
        return self.time

    def at(self, when, action):
        heapq.heappush(self.events, (when, next(self.order), action))

    def wait(self, seconds):
        until = self.time + max(seconds, 0.0)
        while not self.awake and self.events and self.events[0][0] <= until:
            when, _, action = heapq.heappop(self.events)
            self.time = max(self.time, when)
            action()
        if not self.awake:
            self.time = until
        self.awake = False

    def wake(self):
        self.awake = True


class ScriptedCaller:
    """Answers each request after `seconds_of(now)`; `truth` holds the real latencies."""

    def __init__(self, clock, seconds_of, results=None):
        self.clock = clock
        self.seconds_of = seconds_of
        self.results = results or (lambda message: [(0, CAT, "")] * len(message.images))
        self.truth = []
        self.started = 0
        self.in_flight = self.max_in_flight = 0

    def start(self, message, timeout_seconds, on_end):
        self.started += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        seconds = self.seconds_of(self.clock.now())
        late = seconds > timeout_seconds
        self.truth.append(min(seconds, timeout_seconds))
        results = [(4, None, "too late")] * len(message.images) if late else self.results(message)
        over = []

        def end(results):
            if not over:
                over.append(True)
                self.in_flight -= 1
                on_end(results)

        self.clock.at(self.clock.now() + self.truth[-1], lambda: end(results))
        return lambda: end([(1, None, "cancelled")] * len(message.images))

    def expire(self):
        pass

    def close(self):
        pass


class GeneratorRun:
    """One load generator and the statistics of what it sent."""

    def __init__(self, tmp_path, seconds_of, results=None, **options):
        picture = tmp_path / "cat.jpg"
        picture.write_bytes(b"\xff\xd8\xff" + bytes(100))
        settings = {"warmup_seconds": 0.0, "arrivals": "constant"} | options
        self.plan = Plan(target="nowhere:1", pictures=(picture,), **settings)
        self.clock = VirtualTime(-self.plan.warmup_seconds - 0.5)
        self.caller = ScriptedCaller(self.clock, seconds_of, results)
        self.statistics = Statistics(self.plan.duration_seconds)
        self.in_flight = []
        messages = RequestMessages(self.plan, 0, 1)
        self.generator = LoadGenerator(self.plan, messages, [self.caller], self.clock, self.add_update)

    def add_update(self, update):
        self.statistics.add(update.records)
        self.statistics.add_failures(update.failures)
        self.in_flight.append(update.in_flight)

    def run(self):
        if self.plan.concurrency is None:
            self.generator.run_open_loop(arrival_times(self.plan, 0, 1), self.plan.max_in_flight)
        else:
            self.generator.run_closed_loop(self.plan.concurrency)
        return self

    @property
    def counts(self):
        return self.statistics.counts()


def stalled(latency, start, end):
    """Returns the latency of a server that stalls and then answers all calls that arrived meanwhile."""
    return lambda now: (end - now if start <= now < end else 0.0) + latency


def percentile(values, percent):
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def assert_percentiles_match(latency, truth):
    for percent, value in ((50, latency.p50), (90, latency.p90), (95, latency.p95), (99, latency.p99)):
        assert value == pytest.approx(percentile(truth, percent), rel=0.01)
    assert latency.p99_9 == pytest.approx(percentile(truth, 99.9), rel=0.01)
    assert latency.max == pytest.approx(max(truth), rel=0.01)
    assert latency.mean == pytest.approx(sum(truth) / len(truth), rel=0.01)


def bimodal():
    turns = cycle([0.005] * 9 + [0.180])
    return lambda now: next(turns)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("script", [lambda: lambda now: 0.020, bimodal, lambda: stalled(0.020, 3.0, 5.0)])
def test_open_loop_percentiles_are_within_one_percent_of_the_truth(tmp_path, script, arrivals):
    run = GeneratorRun(tmp_path, script(), rate=200, arrivals=arrivals, duration_seconds=10.0).run()
    assert run.counts.sent == run.counts.ok == run.caller.started
    assert_percentiles_match(run.statistics.latency(), run.caller.truth)


def test_a_stall_shows_all_the_arrivals_it_delayed_in_an_open_loop(tmp_path):
    run = GeneratorRun(tmp_path, stalled(0.020, 3.0, 5.0), rate=200, duration_seconds=10.0).run()
    delayed = {each.offset: each.max for each in run.statistics.timeline() if each.max > 0.025}
    assert list(delayed) == [3, 4]
    assert delayed[3] == pytest.approx(2.02, rel=0.01)
    # 400 of 2,000 calls arrived during the stall: they are all beyond the 80th percentile.
    assert run.statistics.latencies.at_percentile(79.9) == pytest.approx(0.020, rel=0.01)
    assert run.statistics.latencies.at_percentile(80.5) > 0.025
    assert run.statistics.latency().p99 == pytest.approx(1.92, rel=0.01)


def test_the_same_stall_is_hidden_in_a_closed_loop(tmp_path):
    run = GeneratorRun(tmp_path, stalled(0.020, 3.0, 5.0), concurrency=4, duration_seconds=10.0).run()
    assert run.statistics.latency().p99 == pytest.approx(0.020, rel=0.01)
    assert run.statistics.latency().max > 1.9


def test_calls_delayed_by_max_in_flight_still_count_from_their_scheduled_time(tmp_path):
    run = GeneratorRun(tmp_path, stalled(0.020, 3.0, 5.0), rate=200, duration_seconds=10.0, max_in_flight=8).run()
    assert run.caller.max_in_flight == 8
    assert run.generator.was_full
    assert run.counts.sent == 2000
    # Eight in flight catch up at 200 a second: until second 7, 800 of 2,000 calls waited.
    assert run.statistics.latencies.at_percentile(59) == pytest.approx(0.020, rel=0.01)
    assert run.statistics.latencies.at_percentile(61) > 0.021
    assert run.statistics.latency().p99 > 1.9
    assert run.statistics.lags.at_percentile(99) > 1.8


def test_calls_that_could_not_be_sent_in_time_are_counted(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.1, rate=100, duration_seconds=10.0, max_in_flight=1).run()
    assert run.counts.sent + run.generator.not_sent == 1000
    assert 98 <= run.counts.sent <= 104  # one at a time, ten a second


def test_the_warm_up_counts_in_the_timeline_only(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.010, rate=50, duration_seconds=4.0, warmup_seconds=2.0).run()
    assert run.counts.sent == 200
    assert run.statistics.ended == run.caller.started == 300
    assert [(each.offset, each.sent) for each in run.statistics.timeline()] == [(offset, 50) for offset in range(-2, 4)]


def test_a_closed_loop_has_one_call_in_flight_for_each_caller(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.1, concurrency=5, duration_seconds=10.0, warmup_seconds=1.0).run()
    assert run.caller.max_in_flight == 5
    assert run.caller.started == pytest.approx(5 * 110, abs=10)
    assert run.counts.ok == pytest.approx(5 * 100, abs=10)
    assert run.in_flight[-1] == 0


def test_a_call_that_ended_at_its_deadline_or_after_it_is_late(tmp_path):
    seconds = cycle([0.1, 0.6])
    run = GeneratorRun(tmp_path, lambda now: next(seconds), rate=10, duration_seconds=2.0, deadline_seconds=0.5).run()
    assert (run.counts.ok, run.counts.late) == (10, 10)
    assert run.counts.by_code == {"OK": 10, "DEADLINE_EXCEEDED": 10}
    # A call that was sent late is late by its scheduled time, though the server was fast.
    delayed = GeneratorRun(
        tmp_path, lambda now: 0.4, rate=10, duration_seconds=1.0, deadline_seconds=0.5, max_in_flight=1
    ).run()
    assert delayed.counts.late == delayed.counts.sent - 1 > 0
    assert delayed.counts.by_code == {"OK": delayed.counts.sent}


def test_every_status_counts_under_its_own_name(tmp_path):
    codes = cycle([0, 8, 4, 14, 3])

    def results(message):
        code = next(codes)
        return [(code, None if code else CAT, f"status {code}" if code else "")]

    run = GeneratorRun(tmp_path, lambda now: 0.01, results, rate=10, duration_seconds=5.0).run()
    counts = run.counts
    assert (counts.ok, counts.refused, counts.late, counts.failed) == (10, 10, 10, 20)
    assert counts.by_code == {
        "OK": 10, "INVALID_ARGUMENT": 10, "DEADLINE_EXCEEDED": 10, "RESOURCE_EXHAUSTED": 10, "UNAVAILABLE": 10
    }  # fmt: skip


def test_every_call_that_was_not_ok_has_its_reason(tmp_path):
    sentences = cycle(["", "the queue holds 512 images", "the queue holds 640 images", "no such model"])

    def results(message):
        sentence = next(sentences)
        code = 0 if not sentence else 8 if "queue" in sentence else 3
        return [(code, None if code else CAT, sentence)]

    run = GeneratorRun(tmp_path, lambda now: 0.01, results, rate=40, duration_seconds=5.0, warmup_seconds=1.0).run()
    assert run.statistics.failures() == (
        FailureReason("RESOURCE_EXHAUSTED", 100, "the queue holds 512 images"),
        FailureReason("INVALID_ARGUMENT", 50, "cat.jpg: no such model"),
    )


def test_answers_that_are_late_or_differ_have_a_reason_too(tmp_path):
    tops = cycle([CAT, (2, "dog", 0.75)])
    run = GeneratorRun(tmp_path, lambda now: 0.01, lambda message: [(0, next(tops), "")], rate=10, duration_seconds=2.0)
    (reason,) = run.run().statistics.failures()
    assert (reason.code, reason.calls) == ("OK", 10) and "another one than before" in reason.sentence


@given(st.lists(st.tuples(st.sampled_from([3, 8, 13]), st.text(max_size=8)), max_size=200))
def test_reasons_are_counted_in_full_and_do_not_grow_without_bound(refusals):
    ours, theirs = FailureReasons(), FailureReasons()
    for index, (code, sentence) in enumerate(refusals):
        (ours, theirs)[index % 2].add(CallOutcome.FAILED, code, sentence, "")
    ours.merge(theirs)
    counted = Counter()
    for code, calls, _ in ours.by_count():
        counted[code] += calls
    assert counted == Counter(code for code, _ in refusals)
    assert len(ours.counts) <= MAX_KINDS + 3


def test_an_answer_that_differs_from_the_first_one_is_counted(tmp_path):
    tops = cycle([CAT, (1, "cat", 0.7505), (1, "cat", 0.76), (2, "cat", 0.75), (1, "dog", 0.75)])
    run = GeneratorRun(
        tmp_path, lambda now: 0.01, lambda message: [(0, next(tops), "")], rate=10, duration_seconds=5.0
    ).run()
    assert (run.counts.ok, run.counts.differed) == (20, 30)
    assert len(run.statistics.latencies) == 50


def test_corrupt_images_that_are_refused_are_counted_separately(tmp_path):
    def results(message):
        return [(3, None, "no image") if message.corrupt else (0, CAT, "")]

    run = GeneratorRun(
        tmp_path, lambda now: 0.01, results, rate=100, duration_seconds=10.0, corrupt_rate=0.3
    ).run()  # fmt: skip
    assert run.counts.ok + run.counts.corrupt == 1000
    assert 240 < run.counts.corrupt < 360


def test_a_corrupt_image_that_is_answered_is_a_failure(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.01, rate=10, duration_seconds=1.0, corrupt_rate=1.0).run()
    assert (run.counts.ok, run.counts.failed) == (0, 10)


def test_the_share_to_be_cancelled_is_cancelled_shortly_after_sending(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 5.0, rate=100, duration_seconds=10.0, cancel_rate=0.25).run()
    assert run.counts.ok + run.counts.cancelled == 1000
    assert 190 < run.counts.cancelled < 310
    assert run.counts.by_code["CANCELLED"] == run.counts.cancelled


def test_a_call_answered_before_its_cancellation_counts_as_answered(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 1e-9, concurrency=1, duration_seconds=1e-6, cancel_rate=1.0).run()
    assert run.counts.cancelled == 0
    assert run.counts.ok == run.counts.sent > 0


def test_stop_sends_nothing_more_but_waits_for_answers(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 1.0, rate=10, duration_seconds=10.0)
    run.clock.at(2.05, run.generator.stop)
    run.run()
    assert run.counts.ok == run.caller.started == 21
    assert run.clock.now() == pytest.approx(3.0, abs=0.3)


def test_cancel_all_cancels_the_calls_in_flight(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 20.0, concurrency=7, duration_seconds=10.0)
    run.clock.at(2.0, run.generator.cancel_all)
    run.run()
    assert (run.counts.sent, run.counts.cancelled) == (7, 7)
    assert run.clock.now() < 3.0


def test_a_call_that_exceeds_its_deadline_is_ended_as_late(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.0, rate=1, duration_seconds=1.0, deadline_seconds=1.0)
    run.caller.start = lambda message, timeout, on_end: lambda: None
    run.run()
    assert run.counts.late == run.counts.sent == 1


def test_each_image_of_a_batch_is_a_call_with_the_latency_of_its_message(tmp_path):
    run = GeneratorRun(tmp_path, lambda now: 0.05, rate=40, rpc="batch", batch_size=4, duration_seconds=5.0).run()
    assert run.caller.started == 50
    assert run.counts.ok == 200
    assert run.statistics.latency().p50 == pytest.approx(0.05, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(1, 300),
    arrivals=st.sampled_from(["poisson", "constant"]),
    latency=st.floats(0.0, 3.0),
    deadline=st.floats(0.05, 2.0),
    cancel=st.floats(0, 0.5),
    corrupt=st.floats(0, 0.5),
    max_in_flight=st.integers(1, 50),
    stop=st.floats(-1.0, 5.0),
)
def test_every_call_sent_is_counted_once(
    tmp_path_factory, rate, arrivals, latency, deadline, cancel, corrupt, max_in_flight, stop
):
    run = GeneratorRun(
        tmp_path_factory.getbasetemp(), lambda now: latency, rate=rate, arrivals=arrivals, deadline_seconds=deadline,
        cancel_rate=cancel, corrupt_rate=corrupt, max_in_flight=max_in_flight, duration_seconds=3.0, warmup_seconds=0.5,
    )  # fmt: skip
    run.clock.at(stop, run.generator.stop)
    run.run()
    counts = run.counts
    outcomes = (
        counts.ok,
        counts.late,
        counts.refused,
        counts.failed,
        counts.differed,
        counts.cancelled,
        counts.corrupt,
    )
    assert sum(outcomes) == counts.sent == sum(counts.by_code.values())
    assert run.statistics.ended == run.caller.started
    assert run.caller.max_in_flight <= max_in_flight
