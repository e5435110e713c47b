"""Whole runs: real processes, real gRPC, a stub of a server in a process of its own."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.client.load.load_test import LoadFailed, Objective, Plan, Silence, run_ramp, run_search, run_single
from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Run

STUB = Path(__file__).with_name("stub_server.py")


class Stub:
    """The stub's process: `target` is its address, `stop` tells what it did."""

    def __init__(self, script):
        command = [sys.executable, str(STUB), json.dumps(script)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.target = f"127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"

    def stop(self):
        told, _ = self.process.communicate()
        return json.loads(told)


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


class Act(Silence):
    """Does something at the first tick that shows an answer or a call in flight."""

    def __init__(self, *actions):
        self.actions = list(actions)
        self.heard = []

    def spell_started(self, plan, number, of):
        self.heard.append(("started", number, of))

    def spell_ended(self, spell):
        self.heard.append(("ended", spell.rate))

    def tick(self, snapshot):
        self.heard.append(("tick", snapshot.phase))
        if self.actions and (snapshot.in_flight or snapshot.sent):
            self.actions.pop(0)()


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "options",
    [
        {"rpc": "unary", "concurrency": 4, "processes": 2, "connections": 3},
        {"rpc": "unary", "rate": 60.0, "processes": 2},
        {"rpc": "batch", "rate": 60.0, "batch_size": 3},
        {"rpc": "stream", "concurrency": 4, "connections": 2},
        {"rpc": "unary", "rate": 60.0, "corrupt_rate": 0.5},
        {"rpc": "batch", "rate": 60.0, "corrupt_rate": 0.5, "batch_size": 3},
        {"rpc": "stream", "rate": 60.0, "corrupt_rate": 0.5},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_picture_the_server_saw_is_one_call_counted(start_stub, plan, options):
    stub = start_stub(seconds=[0.005])
    run = run_single(plan(stub, **options), Silence())
    counts = run.spells[0].counts
    assert stub.stop()["pictures"] == counts.sent == counts.ok + counts.corrupt > 0
    assert (counts.corrupt > 0) == ("corrupt_rate" in options)
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_one_call_sent_is_one_call_counted_though_the_server_refuses(start_stub, plan):
    stub = start_stub(codes=[14, 8, 0])
    run = run_single(plan(stub, rate=90.0, processes=1), Silence())
    counts = run.spells[0].counts
    assert stub.stop()["pictures"] == counts.sent
    assert counts.by_code.keys() == {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert abs(counts.ok - counts.failed) <= 1
    assert abs(counts.ok - counts.refused) <= 1


def test_answers_that_change_are_told(start_stub, plan):
    # Two pictures in turn, four labels in turn: every second answer to each picture is another.
    stub = start_stub(labels=["cat", "dog", "newt", "emu"])
    counts = run_single(plan(stub, concurrency=1), Silence()).spells[0].counts
    assert counts.ok + counts.differed == counts.sent
    assert abs(counts.ok - counts.differed) <= 4


@pytest.mark.parametrize("rpc", ["unary", "stream"])
def test_calls_past_the_deadline_are_late(start_stub, plan, rpc):
    stub = start_stub(seconds=[30.0])
    counts = run_single(plan(stub, rate=20.0, rpc=rpc, deadline_seconds=0.2), Silence()).spells[0].counts
    assert counts.late == counts.sent > 0
    assert counts.by_code == {"DEADLINE_EXCEEDED": counts.sent}


def test_a_stall_of_the_server_shows_with_every_arrival_it_delayed(start_stub, plan):
    stub = start_stub(seconds=[0.02], stall=[0.3, 1.0])
    spell = run_single(plan(stub, rate=100.0, arrivals="constant", duration_seconds=2.0), Silence()).spells[0]
    truth = sorted(stub.stop()["seconds"])
    assert spell.counts.ok == len(truth)
    histogram = Histogram.from_text(spell.latency.histogram)
    # No call took less than the server knows it did; what it took more is the way there and back on a busy machine.
    assert all(histogram.at_rank(rank) >= 0.99 * seconds for rank, seconds in enumerate(truth, start=1))
    assert sum(seconds > 0.1 for seconds in truth) >= 10
    assert spell.latency.max < truth[-1] + 20.0


def test_cancelled_calls_are_counted_as_cancelled(start_stub, plan):
    stub = start_stub(seconds=[20.0])
    counts = run_single(plan(stub, rate=40.0, cancel_rate=1.0), Silence()).spells[0].counts
    assert counts.cancelled == counts.sent > 0


def test_the_first_interrupt_waits_for_calls_in_flight(start_stub, plan):
    progress = Act(interrupt)
    stub = start_stub(seconds=[1.0])
    run = run_single(plan(stub, concurrency=3, duration_seconds=600.0), progress)
    spell = run.spells[0]
    assert spell.interrupted
    assert 0 < spell.seconds < 600
    assert spell.counts.sent == spell.counts.ok >= 3
    assert stub.stop()["pictures"] == spell.counts.sent
    assert progress.heard[-1] == ("ended", None)


def test_the_second_interrupt_drops_them(start_stub, plan):
    stub = start_stub(seconds=[600.0])
    run = run_single(plan(stub, concurrency=3, duration_seconds=600.0), Act(interrupt, interrupt))
    assert run.spells[0].interrupted
    assert run.spells[0].counts.cancelled == run.spells[0].counts.sent == 3


def test_a_process_that_dies_is_told_in_one_sentence(start_stub, plan):
    def kill():
        multiprocessing.active_children()[0].kill()

    with pytest.raises(LoadFailed, match="died with exit code -9"):
        run_single(plan(start_stub(), rate=50.0, duration_seconds=600.0), Act(kill))


def test_a_picture_that_cannot_be_read_is_told_before_anything_starts(plan):
    missing = plan("127.0.0.1:1", rate=1.0)
    missing.pictures[0].unlink()
    with pytest.raises(FileNotFoundError):
        run_single(missing, Silence())


def test_metrics_that_cannot_be_read_are_a_note(start_stub, plan):
    run = run_single(plan(start_stub(), rate=20.0, metrics_url="http://127.0.0.1:9/metrics"), Silence())
    assert run.spells[0].server is None
    assert "cannot be read" in run.notes[0]


def test_a_ramp_runs_lowest_first_and_marks_its_knee(start_stub, plan):
    progress = Act()
    run = run_ramp(plan(start_stub(), rate=1.0), [60.0, 30.0], progress)
    assert [spell.rate for spell in run.spells] == [30.0, 60.0]
    assert run.knee == 60.0
    assert [word for word in progress.heard if word[0] != "tick"] == [
        ("started", 1, 2), ("ended", 30.0), ("started", 2, 2), ("ended", 60.0)
    ]  # fmt: skip


def test_an_interrupted_ramp_tries_no_further_rate(start_stub, plan):
    run = run_ramp(plan(start_stub(), rate=1.0, duration_seconds=600.0), [30.0, 60.0], Act(interrupt))
    assert [spell.interrupted for spell in run.spells] == [True]
    assert run.knee is None


def test_a_search_that_nothing_meets_finds_nothing(start_stub, plan):
    run = run_search(plan(start_stub(codes=[14]), rate=1.0), Objective.parse("p50<60s"), 20.0, 80.0, Silence())
    assert run.found_rate is None
    assert len(run.spells) == 2


def test_a_search_stops_at_the_highest_rate(start_stub, plan):
    run = run_search(plan(start_stub(), rate=1.0), Objective.parse("p50<60s"), 20.0, 30.0, Silence())
    assert run.found_rate == 30.0
    assert run.objective == "p50<60s"
