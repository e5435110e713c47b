"""A sender in virtual time against scripted servers: no socket, no sleep, and every latency is known exactly."""

import heapq
import math
from itertools import count, cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.generator.arrivals import intended_moments
from linnaeus.client.load.generator.load_generator import Sender
from linnaeus.client.load.generator.request_messages import Messages
from linnaeus.client.load.measurement.statistics import Tally
from linnaeus.client.load.plan import Plan

CAT = (1, "cat", 0.75)


class VirtualTime:
    """A clock that jumps to whatever happens next."""

    def __init__(self, start):
        self.time = start
        self.events = []
        self.order = count()
        self.awake = False

    def now(self):
        return self.time

    def at(self, moment, action):
        heapq.heappush(self.events, (moment, next(self.order), action))

    def wait(self, seconds):
        until = self.time + max(seconds, 0.0)
        while not self.awake and self.events and self.events[0][0] <= until:
            moment, _, action = heapq.heappop(self.events)
            self.time = max(self.time, moment)
            action()
        if not self.awake:
            self.time = until
        self.awake = False

    def wake(self):
        self.awake = True


class ScriptedCaller:
    """Answers each message after `seconds_of(now)`; keeps the truth."""

    def __init__(self, clock, seconds_of, results=None):
        self.clock = clock
        self.seconds_of = seconds_of
        self.results = results or (lambda message: [(0, CAT)] * len(message.pictures))
        self.truth = []
        self.begun = 0
        self.at_once = self.most_at_once = 0

    def begin(self, message, timeout_seconds, ended):
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        seconds = self.seconds_of(self.clock.now())
        late = seconds > timeout_seconds
        self.truth.append(min(seconds, timeout_seconds))
        results = [(4, None)] * len(message.pictures) if late else self.results(message)
        over = []

        def end(results):
            if not over:
                over.append(True)
                self.at_once -= 1
                ended(results)

        self.clock.at(self.clock.now() + self.truth[-1], lambda: end(results))
        return lambda: end([(1, None)] * len(message.pictures))

    def end_late(self):
        pass

    def close(self):
        pass


class Bench:
    """One sender, run to its end, and what it told."""

    def __init__(self, tmp_path, seconds_of, results=None, **options):
        picture = tmp_path / "cat.jpg"
        picture.write_bytes(b"\xff\xd8\xff" + bytes(100))
        settings = {"warmup_seconds": 0.0, "arrivals": "constant"} | options
        self.plan = Plan(target="nowhere:1", pictures=(picture,), **settings)
        self.clock = VirtualTime(-self.plan.warmup_seconds - 0.5)
        self.caller = ScriptedCaller(self.clock, seconds_of, results)
        self.tally = Tally(self.plan.duration_seconds)
        self.in_flight = []
        messages = Messages(self.plan, 0, 1)
        self.sender = Sender(self.plan, messages, [self.caller], self.clock, self.hear)

    def hear(self, news):
        self.tally.add(news.records)
        self.in_flight.append(news.in_flight)

    def run(self):
        if self.plan.concurrency is None:
            self.sender.run_open(intended_moments(self.plan, 0, 1), self.plan.max_in_flight)
        else:
            self.sender.run_closed(self.plan.concurrency)
        return self

    @property
    def counts(self):
        return self.tally.counts()


def stalled(latency, start, end):
    """A server that stands still for a while and then answers all that came in between."""
    return lambda now: (end - now if start <= now < end else 0.0) + latency


def percentile(values, percent):
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def assert_percentiles_true(latency, truth):
    for percent, told in ((50, latency.p50), (90, latency.p90), (95, latency.p95), (99, latency.p99)):
        assert told == pytest.approx(percentile(truth, percent), rel=0.01)
    assert latency.p99_9 == pytest.approx(percentile(truth, 99.9), rel=0.01)
    assert latency.max == pytest.approx(max(truth), rel=0.01)
    assert latency.mean == pytest.approx(sum(truth) / len(truth), rel=0.01)


def bimodal():
    turns = cycle([0.005] * 9 + [0.180])
    return lambda now: next(turns)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("script", [lambda: lambda now: 0.020, bimodal, lambda: stalled(0.020, 3.0, 5.0)])
def test_open_loop_percentiles_are_within_one_percent_of_the_truth(tmp_path, script, arrivals):
    bench = Bench(tmp_path, script(), rate=200, arrivals=arrivals, duration_seconds=10.0).run()
    assert bench.counts.sent == bench.counts.ok == bench.caller.begun
    assert_percentiles_true(bench.tally.latency(), bench.caller.truth)


def test_a_stall_shows_all_the_arrivals_it_delayed_in_an_open_loop(tmp_path):
    bench = Bench(tmp_path, stalled(0.020, 3.0, 5.0), rate=200, duration_seconds=10.0).run()
    delayed = {each.offset: each.max for each in bench.tally.timeline() if each.max > 0.025}
    assert list(delayed) == [3, 4]
    assert delayed[3] == pytest.approx(2.02, rel=0.01)
    # 400 of 2,000 arrivals fell into the stall: from the 80th percentile on, all is stall.
    assert bench.tally.latencies.at_percentile(79.9) == pytest.approx(0.020, rel=0.01)
    assert bench.tally.latencies.at_percentile(80.5) > 0.025
    assert bench.tally.latency().p99 == pytest.approx(1.92, rel=0.01)


def test_the_same_stall_hides_in_a_closed_loop(tmp_path):
    bench = Bench(tmp_path, stalled(0.020, 3.0, 5.0), concurrency=4, duration_seconds=10.0).run()
    assert bench.tally.latency().p99 == pytest.approx(0.020, rel=0.01)
    assert bench.tally.latency().max > 1.9


def test_calls_held_back_by_max_in_flight_still_count_from_their_intended_moment(tmp_path):
    bench = Bench(tmp_path, stalled(0.020, 3.0, 5.0), rate=200, duration_seconds=10.0, max_in_flight=8).run()
    assert bench.caller.most_at_once == 8
    assert bench.sender.was_full
    assert bench.counts.sent == 2000
    # Eight at once catch up at 200 a second: until second 7, 800 of 2,000 calls waited.
    assert bench.tally.latencies.at_percentile(59) == pytest.approx(0.020, rel=0.01)
    assert bench.tally.latencies.at_percentile(61) > 0.021
    assert bench.tally.latency().p99 > 1.9
    assert bench.tally.lags.at_percentile(99) > 1.8


def test_what_could_not_be_sent_in_time_is_told(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.1, rate=100, duration_seconds=10.0, max_in_flight=1).run()
    assert bench.counts.sent + bench.sender.not_sent == 1000
    assert 98 <= bench.counts.sent <= 104  # one at a time, ten a second


def test_the_warm_up_counts_in_the_timeline_only(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.010, rate=50, duration_seconds=4.0, warmup_seconds=2.0).run()
    assert bench.counts.sent == 200
    assert bench.tally.ended == bench.caller.begun == 300
    assert [(each.offset, each.sent) for each in bench.tally.timeline()] == [(offset, 50) for offset in range(-2, 4)]


def test_a_closed_loop_keeps_its_callers_busy_and_no_more(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.1, concurrency=5, duration_seconds=10.0, warmup_seconds=1.0).run()
    assert bench.caller.most_at_once == 5
    assert bench.caller.begun == pytest.approx(5 * 110, abs=10)
    assert bench.counts.ok == pytest.approx(5 * 100, abs=10)
    assert bench.in_flight[-1] == 0


def test_what_the_deadline_ended_or_came_after_it_is_late(tmp_path):
    seconds = cycle([0.1, 0.6])
    bench = Bench(tmp_path, lambda now: next(seconds), rate=10, duration_seconds=2.0, deadline_seconds=0.5).run()
    assert (bench.counts.ok, bench.counts.late) == (10, 10)
    assert bench.counts.by_code == {"OK": 10, "DEADLINE_EXCEEDED": 10}
    # A call that left late is late by its intended moment, though the server was quick.
    held = Bench(tmp_path, lambda now: 0.4, rate=10, duration_seconds=1.0, deadline_seconds=0.5, max_in_flight=1).run()
    assert held.counts.late == held.counts.sent - 1 > 0
    assert held.counts.by_code == {"OK": held.counts.sent}


def test_every_status_counts_under_its_own_name(tmp_path):
    codes = cycle([0, 8, 4, 14, 3])
    bench = Bench(
        tmp_path, lambda now: 0.01, lambda message: [(code := next(codes), None if code else CAT)], rate=10,
        duration_seconds=5.0,
    ).run()  # fmt: skip
    counts = bench.counts
    assert (counts.ok, counts.refused, counts.late, counts.failed) == (10, 10, 10, 20)
    assert counts.by_code == {
        "OK": 10, "INVALID_ARGUMENT": 10, "DEADLINE_EXCEEDED": 10, "RESOURCE_EXHAUSTED": 10, "UNAVAILABLE": 10
    }  # fmt: skip


def test_an_answer_unlike_the_first_is_told(tmp_path):
    tops = cycle([CAT, (1, "cat", 0.7505), (1, "cat", 0.76), (2, "cat", 0.75), (1, "dog", 0.75)])
    bench = Bench(tmp_path, lambda now: 0.01, lambda message: [(0, next(tops))], rate=10, duration_seconds=5.0).run()
    assert (bench.counts.ok, bench.counts.differed) == (20, 30)
    assert len(bench.tally.latencies) == 50


def test_spoilt_pictures_are_counted_apart_when_they_are_refused_as_they_should_be(tmp_path):
    bench = Bench(
        tmp_path, lambda now: 0.01, lambda message: [(3, None) if message.spoilt else (0, CAT)], rate=100,
        duration_seconds=10.0, corrupt_rate=0.3,
    ).run()  # fmt: skip
    assert bench.counts.ok + bench.counts.corrupt == 1000
    assert 240 < bench.counts.corrupt < 360


def test_a_spoilt_picture_that_is_answered_is_a_failure(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.01, rate=10, duration_seconds=1.0, corrupt_rate=1.0).run()
    assert (bench.counts.ok, bench.counts.failed) == (0, 10)


def test_the_share_to_be_cancelled_is_cancelled_shortly_after_sending(tmp_path):
    bench = Bench(tmp_path, lambda now: 5.0, rate=100, duration_seconds=10.0, cancel_rate=0.25).run()
    assert bench.counts.ok + bench.counts.cancelled == 1000
    assert 190 < bench.counts.cancelled < 310
    assert bench.counts.by_code["CANCELLED"] == bench.counts.cancelled


def test_a_call_answered_before_its_cancellation_counts_as_answered(tmp_path):
    bench = Bench(tmp_path, lambda now: 1e-9, concurrency=1, duration_seconds=1e-6, cancel_rate=1.0).run()
    assert bench.counts.cancelled == 0
    assert bench.counts.ok == bench.counts.sent > 0


def test_stop_sends_nothing_more_but_waits_for_answers(tmp_path):
    bench = Bench(tmp_path, lambda now: 1.0, rate=10, duration_seconds=10.0)
    bench.clock.at(2.05, bench.sender.stop)
    bench.run()
    assert bench.counts.ok == bench.caller.begun == 21
    assert bench.clock.now() == pytest.approx(3.0, abs=0.3)


def test_drop_cancels_what_is_in_flight(tmp_path):
    bench = Bench(tmp_path, lambda now: 20.0, concurrency=7, duration_seconds=10.0)
    bench.clock.at(2.0, bench.sender.drop)
    bench.run()
    assert (bench.counts.sent, bench.counts.cancelled) == (7, 7)
    assert bench.clock.now() < 3.0


def test_a_call_that_outlives_its_deadline_is_given_up_as_late(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.0, rate=1, duration_seconds=1.0, deadline_seconds=1.0)
    bench.caller.begin = lambda message, timeout, ended: lambda: None
    bench.run()
    assert bench.counts.late == bench.counts.sent == 1


def test_each_image_of_a_batch_is_a_call_with_the_latency_of_its_message(tmp_path):
    bench = Bench(tmp_path, lambda now: 0.05, rate=40, rpc="batch", batch_size=4, duration_seconds=5.0).run()
    assert bench.caller.begun == 50
    assert bench.counts.ok == 200
    assert bench.tally.latency().p50 == pytest.approx(0.05, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(1, 300),
    arrivals=st.sampled_from(["poisson", "constant"]),
    latency=st.floats(0.0, 3.0),
    deadline=st.floats(0.05, 2.0),
    cancel=st.floats(0, 0.5),
    corrupt=st.floats(0, 0.5),
    room=st.integers(1, 50),
    stop=st.floats(-1.0, 5.0),
)
def test_every_call_sent_is_counted_once(
    tmp_path_factory, rate, arrivals, latency, deadline, cancel, corrupt, room, stop
):
    bench = Bench(
        tmp_path_factory.getbasetemp(), lambda now: latency, rate=rate, arrivals=arrivals, deadline_seconds=deadline,
        cancel_rate=cancel, corrupt_rate=corrupt, max_in_flight=room, duration_seconds=3.0, warmup_seconds=0.5,
    )  # fmt: skip
    bench.clock.at(stop, bench.sender.stop)
    bench.run()
    counts = bench.counts
    parts = (counts.ok, counts.late, counts.refused, counts.failed, counts.differed, counts.cancelled, counts.corrupt)
    assert sum(parts) == counts.sent == sum(counts.by_code.values())
    assert bench.tally.ended == bench.caller.begun
    assert bench.caller.most_at_once <= room
