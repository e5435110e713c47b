"""Whole load tests: real processes, real gRPC, and a stub server in a process of its own."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Run
from linnaeus.client.load.scenarios import LoadFailed, NoProgress, Objective, Plan, run_ramp, run_search, run_single

STUB = Path(__file__).with_name("stub_server.py")


class Stub:
    """The process of the stub server: `target` is its address, `stop` returns what it did."""

    def __init__(self, script):
        command = [sys.executable, str(STUB), json.dumps(script)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.target = f"127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"

    def stop(self):
        report, _ = self.process.communicate()
        return json.loads(report)


@pytest.fixture
def start_stub():
    stubs = []

    def start(**script):
        stubs.append(Stub(script))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.process.kill()
        stub.process.communicate()


@pytest.fixture
def plan(tmp_path):
    pictures = [tmp_path / "cat.jpg", tmp_path / "dog.jpg"]
    for size, picture in enumerate(pictures):
        picture.write_bytes(b"\xff\xd8\xff" + bytes(1000 + size))

    def make(stub, **options):
        settings = {"metrics_url": "", "warmup_seconds": 0.0, "duration_seconds": 0.5} | options
        target = stub if isinstance(stub, str) else stub.target
        return Plan(target=target, pictures=tuple(pictures), **settings)

    return make


class ActingProgress(NoProgress):
    """Records the progress; runs an action at each update after the first call was sent."""

    def __init__(self, *actions):
        self.actions = list(actions)
        self.events = []

    def measurement_started(self, plan, number, of):
        self.events.append(("started", number, of))

    def measurement_ended(self, measurement):
        self.events.append(("ended", measurement.rate))

    def update(self, snapshot):
        self.events.append(("update", snapshot.phase))
        if self.actions and (snapshot.in_flight or snapshot.sent):
            self.actions.pop(0)()


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "options",
    [
        {"rpc": "unary", "concurrency": 4, "processes": 2, "connections": 3},
        pytest.param({"rpc": "unary", "rate": 60.0, "processes": 2}, marks=pytest.mark.slow),
        pytest.param({"rpc": "batch", "rate": 60.0, "batch_size": 3}, marks=pytest.mark.slow),
        pytest.param({"rpc": "stream", "concurrency": 4, "connections": 2}, marks=pytest.mark.slow),
        {"rpc": "unary", "rate": 60.0, "corrupt_rate": 0.5},
        pytest.param({"rpc": "batch", "rate": 60.0, "corrupt_rate": 0.5, "batch_size": 3}, marks=pytest.mark.slow),
        {"rpc": "stream", "rate": 60.0, "corrupt_rate": 0.5},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_image_the_server_saw_is_one_call_counted(start_stub, plan, options):
    stub = start_stub(seconds=[0.005])
    run = run_single(plan(stub, **options), NoProgress())
    counts = run.measurements[0].counts
    assert stub.stop()["pictures"] == counts.sent == counts.ok + counts.corrupt > 0
    assert (counts.corrupt > 0) == ("corrupt_rate" in options)
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_one_call_sent_is_one_call_counted_though_the_server_refuses(start_stub, plan):
    stub = start_stub(codes=[14, 8, 0])
    run = run_single(plan(stub, rate=90.0, processes=1), NoProgress())
    counts = run.measurements[0].counts
    assert stub.stop()["pictures"] == counts.sent
    assert counts.by_code.keys() == {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert abs(counts.ok - counts.failed) <= 1
    assert abs(counts.ok - counts.refused) <= 1


def test_answers_that_change_are_counted(start_stub, plan):
    # Two images in turn, four labels in turn: every second answer for an image differs.
    stub = start_stub(labels=["cat", "dog", "newt", "emu"])
    counts = run_single(plan(stub, concurrency=1), NoProgress()).measurements[0].counts
    assert counts.ok + counts.differed == counts.sent
    assert abs(counts.ok - counts.differed) <= 4


@pytest.mark.parametrize("rpc", ["unary", "stream"])
def test_calls_past_the_deadline_are_late(start_stub, plan, rpc):
    stub = start_stub(seconds=[30.0])
    counts = run_single(plan(stub, rate=20.0, rpc=rpc, deadline_seconds=0.2), NoProgress()).measurements[0].counts
    assert counts.late == counts.sent > 0
    assert counts.by_code == {"DEADLINE_EXCEEDED": counts.sent}


def test_a_stall_of_the_server_shows_with_every_arrival_it_delayed(start_stub, plan):
    stub = start_stub(seconds=[0.02], stall=[0.3, 1.0])
    measurement = run_single(
        plan(stub, rate=100.0, arrivals="constant", duration_seconds=2.0), NoProgress()
    ).measurements[0]
    truth = sorted(stub.stop()["seconds"])
    assert measurement.counts.ok == len(truth)
    histogram = Histogram.from_text(measurement.latency.histogram)
    # No call took less time than the server measured; the rest is transport on a busy machine.
    assert all(histogram.at_rank(rank) >= 0.99 * seconds for rank, seconds in enumerate(truth, start=1))
    assert sum(seconds > 0.1 for seconds in truth) >= 10
    assert measurement.latency.max < truth[-1] + 20.0


def test_cancelled_calls_are_counted_as_cancelled(start_stub, plan):
    stub = start_stub(seconds=[20.0])
    counts = run_single(plan(stub, rate=40.0, cancel_rate=1.0), NoProgress()).measurements[0].counts
    assert counts.cancelled == counts.sent > 0


def test_the_first_interrupt_waits_for_calls_in_flight(start_stub, plan):
    progress = ActingProgress(interrupt)
    stub = start_stub(seconds=[1.0])
    run = run_single(plan(stub, concurrency=3, duration_seconds=600.0), progress)
    measurement = run.measurements[0]
    assert measurement.interrupted
    assert 0 < measurement.seconds < 600
    assert measurement.counts.sent == measurement.counts.ok >= 3
    assert stub.stop()["pictures"] == measurement.counts.sent
    assert progress.events[-1] == ("ended", None)


@pytest.mark.slow
def test_the_second_interrupt_cancels_them(start_stub, plan):
    stub = start_stub(seconds=[600.0])
    run = run_single(plan(stub, concurrency=3, duration_seconds=600.0), ActingProgress(interrupt, interrupt))
    assert run.measurements[0].interrupted
    assert run.measurements[0].counts.cancelled == run.measurements[0].counts.sent == 3


def test_a_process_that_dies_is_reported_in_one_sentence(start_stub, plan):
    def kill():
        multiprocessing.active_children()[0].kill()

    with pytest.raises(LoadFailed, match="died with exit code -9"):
        run_single(plan(start_stub(), rate=50.0, duration_seconds=600.0), ActingProgress(kill))


def test_an_image_that_cannot_be_read_is_reported_before_anything_starts(plan):
    missing = plan("127.0.0.1:1", rate=1.0)
    missing.pictures[0].unlink()
    with pytest.raises(FileNotFoundError):
        run_single(missing, NoProgress())


def test_metrics_that_cannot_be_read_are_a_note(start_stub, plan):
    run = run_single(plan(start_stub(), rate=20.0, metrics_url="http://127.0.0.1:9/metrics"), NoProgress())
    assert run.measurements[0].server is None
    assert "cannot be read" in run.notes[0]


def test_a_ramp_runs_lowest_first_and_marks_its_knee(start_stub, plan):
    progress = ActingProgress()
    run = run_ramp(plan(start_stub(), rate=1.0), [40.0, 20.0], progress)
    assert [measurement.rate for measurement in run.measurements] == [20.0, 40.0]
    assert (run.knee, run.knee_below) == (40.0, None)
    assert [event for event in progress.events if event[0] != "update"] == [
        ("started", 1, 2), ("ended", 20.0), ("started", 2, 2), ("ended", 40.0)
    ]  # fmt: skip


def test_a_rate_that_a_server_cannot_serve_is_above_the_knee_though_every_call_is_answered(start_stub, plan):
    # One call at a time, of 10 ms at least: no machine makes that more than 100 a second.
    stub = start_stub(seconds=[0.01], one_at_a_time=True)
    run = run_ramp(plan(stub, rate=1.0, arrivals="constant"), [10.0, 400.0], NoProgress())
    overloaded = run.measurements[1]
    assert overloaded.counts.ok == overloaded.counts.sent == 200
    assert overloaded.queue.grows and overloaded.queue.in_flight_at_end > 100
    assert (run.knee, run.knee_below) == (10.0, 400.0)
    assert run.knee_estimate is None or run.knee_estimate <= 100.0
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_an_interrupted_ramp_tries_no_further_rate(start_stub, plan):
    run = run_ramp(plan(start_stub(), rate=1.0, duration_seconds=600.0), [30.0, 60.0], ActingProgress(interrupt))
    assert [measurement.interrupted for measurement in run.measurements] == [True]
    assert run.knee is None


@pytest.mark.slow
def test_a_search_that_nothing_meets_finds_nothing(start_stub, plan):
    run = run_search(plan(start_stub(codes=[14]), rate=1.0), Objective.parse("p50<60s"), 20.0, 80.0, NoProgress())
    assert run.found_rate is None
    assert len(run.measurements) == 2


def test_a_search_stops_at_the_highest_rate(start_stub, plan):
    run = run_search(plan(start_stub(), rate=1.0), Objective.parse("p50<60s"), 20.0, 30.0, NoProgress())
    assert run.found_rate == 30.0
    assert run.objective == "p50<60s"
