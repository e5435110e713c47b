"""Decoders take the most urgent picture first, waste nothing on late ones, and survive every failure."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.decoding.decoder_threads import Decoders
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, InvalidImage, RequestError, Unavailable
from linnaeus.server.process.thread_priority import give_way
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Work, WorkTicket
from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable, Priority, Stage

LANE = ("fake", 1)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
PATIENCE_SECONDS = 60


class Desk:
    """One decoder on a queue; pictures are scripted by their bytes, and what happens is kept in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        self.queue: BatchQueue[Work] = BatchQueue(lambda: self.now)
        self.queue.add_device("fake:0", 1)
        self.queue.open_lane(LANE, LaneLimits(16, 100), {"fake:0": LatencyTable({1: 0.01, 16: 0.05})})
        self.decoded: list[bytes] = []
        self.taken: Batch[Work] | None = None
        self.given_up: queue.Queue[tuple[WorkTicket, RequestError]] = queue.Queue()
        self.scripted: dict[bytes, Callable[[], None]] = {}
        monkeypatch.setattr(decoders_module, "decode", self._decode)

    def start(self, in_background: bool = False) -> None:
        Decoders(self.queue, self._give_up, 1, in_background, 1000, lambda: self.now).start()

    def admit(self, name: bytes, timeout: float | None = None, priority: Priority = Priority.NORMAL) -> WorkTicket:
        answer: Any = None  # nobody waits here
        work = Work(0, RawPixels(name, 2, 2, 1), SPEC, 1, answer)
        return self.queue.admit(LANE, work, None if timeout is None else self.now + timeout, priority, len(name))

    def finish(self) -> None:
        """Lets the decoder end with all that it has got, and the devices take it."""
        self.queue.close()
        while self.take():
            pass

    def take(self) -> list[WorkTicket]:
        """What the device takes next, once it is done with what it took before; empty when there will be no more."""
        self.taken = self.queue.take("fake:0", self.taken)
        return self.taken.tickets if self.taken else []

    def _decode(self, image: RawPixels, spec: InputSpec, most: int) -> Any:
        assert (spec, most) == (SPEC, 1000)
        self.decoded.append(image.data)
        self.scripted.get(image.data, lambda: None)()
        return numpy.zeros((2, 2, 1), numpy.uint8)

    def _give_up(self, ticket: WorkTicket, error: RequestError) -> None:
        self.queue.abandon(ticket)
        self.given_up.put((ticket, error))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(monkeypatch)
    yield made
    made.finish()


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_the_most_urgent_picture_is_decoded_first(desk: Desk) -> None:
    desk.admit(b"patient")
    desk.admit(b"low", timeout=1.0, priority=Priority.LOW)
    desk.admit(b"in 4 s", timeout=4.0)
    desk.admit(b"in 2 s", timeout=2.0)
    desk.admit(b"high", timeout=60.0, priority=Priority.HIGH)
    desk.start()
    desk.finish()
    assert desk.decoded == [b"high", b"in 2 s", b"in 4 s", b"patient", b"low"]


def test_each_picture_is_decoded_once_and_reaches_the_device_with_its_pixels_and_time(desk: Desk) -> None:
    def pass_time() -> None:
        desk.now += 0.25

    desk.scripted[b"a"] = pass_time
    tickets = [desk.admit(b"a"), desk.admit(b"b")]
    desk.start()
    taken: list[WorkTicket] = []
    while len(taken) < 2:
        taken += desk.take()
    assert taken == tickets and desk.decoded == [b"a", b"b"]
    assert [ticket.payload.decode_seconds for ticket in tickets] == [0.25, 0.0]
    assert all(ticket.payload.content.shape == (2, 2, 1) for ticket in tickets)


def test_a_late_picture_is_never_decoded_and_its_caller_is_told(desk: Desk) -> None:
    late = desk.admit(b"late", timeout=1.0)
    desk.admit(b"in time", timeout=9.0)
    desk.now = 4.0
    desk.start()
    ticket, error = desk.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is late and isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds == pytest.approx(2.01)  # a run takes 0.01 s
    assert str(error).startswith("the image waited for a decoder, and the answer would have come 2.010 s after")
    desk.finish()
    assert desk.decoded == [b"in time"]


def test_a_picture_that_can_no_longer_be_answered_in_time_says_how_late_it_would_have_been(desk: Desk) -> None:
    desk.admit(b"late", timeout=1.0)
    desk.now = 1.995  # a run takes 0.01 s
    desk.start()
    _, error = desk.given_up.get(timeout=PATIENCE_SECONDS)
    assert isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds > 0, "it cannot be late by less than nothing"
    assert desk.decoded == []


def test_a_picture_whose_caller_left_is_never_decoded(desk: Desk) -> None:
    gone = desk.admit(b"gone")
    desk.admit(b"there")
    assert desk.queue.abandon(gone) is Stage.ADMITTED
    desk.start()
    desk.finish()
    assert desk.decoded == [b"there"] and desk.given_up.empty()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InvalidImage("image.encoded", "bad picture"), InvalidImage),
        (ZeroDivisionError("secret"), InternalFailure),
        (MemoryError("secret"), InternalFailure),
    ],
)
def test_any_failure_reaches_its_caller_and_the_decoder_lives_on(
    desk: Desk, failure: Exception, told: type[RequestError], caplog: pytest.LogCaptureFixture
) -> None:
    desk.scripted[b"bad"] = fail_with(failure)
    bad, good = desk.admit(b"bad"), desk.admit(b"good")
    desk.start()
    ticket, error = desk.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is bad and type(error) is told and "secret" not in str(error)
    if isinstance(error, InternalFailure):
        assert error.reference in str(error) and error.reference in caplog.text and "secret" in caplog.text
    assert desk.take() == [good]


def test_a_picture_whose_devices_were_lost_while_it_was_decoded_is_given_up(desk: Desk) -> None:
    desk.scripted[b"last"] = lambda: desk.queue.remove_device("fake:0") and None
    last = desk.admit(b"last")
    desk.start()
    ticket, error = desk.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is last and isinstance(error, Unavailable) and error.retry_after_seconds > 0
    assert "every device that runs model fake has failed" in str(error)
    assert desk.queue.depth(LANE) == 0


def test_a_picture_whose_caller_leaves_while_it_is_decoded_takes_no_place_before_the_device(desk: Desk) -> None:
    leaver = desk.admit(b"leaver")
    desk.scripted[b"leaver"] = lambda: desk.queue.abandon(leaver) and None
    stayer = desk.admit(b"stayer")
    desk.start()
    assert desk.take() == [stayer]
    assert desk.queue.depth(LANE) == 0 and desk.given_up.empty()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
@pytest.mark.parametrize(("in_background", "policy"), [(True, "SCHED_IDLE"), (False, "SCHED_OTHER")])
def test_decoders_in_the_background_give_way_to_all_other_threads(desk: Desk, in_background: bool, policy: str) -> None:
    seen: queue.Queue[int] = queue.Queue()
    desk.scripted[b"a"] = lambda: seen.put(os.sched_getscheduler(0))
    desk.admit(b"a")
    desk.start(in_background)
    assert seen.get(timeout=PATIENCE_SECONDS) == getattr(os, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "only the decoders give way"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_decoders_leave_the_core_to_the_event_loop_that_wants_it_too(desk: Desk) -> None:
    seen: queue.Queue[int] = queue.Queue()
    desk.scripted[b"a"] = lambda: seen.put(_niceness())
    desk.admit(b"a")
    desk.start()
    before = _niceness()
    assert seen.get(timeout=PATIENCE_SECONDS) > before
    assert _niceness() == before, "only the decoders step back"


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_system_that_forbids_giving_way_decodes_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: fail_with(PermissionError())(), raising=False)
    desk.admit(b"a")
    desk.start(in_background=True)
    desk.finish()
    assert desk.decoded == [b"a"]


def test_a_system_without_such_a_policy_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.delattr(os, "SCHED_IDLE", raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: asked.append(arguments), raising=False)
    give_way()
    assert asked == []


def test_a_closed_queue_ends_every_decoder(desk: Desk) -> None:
    before = set(threading.enumerate())
    Decoders(desk.queue, desk._give_up, 3, False, 1000, lambda: desk.now).start()
    started = [each for each in threading.enumerate() if each not in before and each.name == "linnaeus-decode"]
    assert len(started) == 3
    desk.admit(b"a")
    desk.finish()
    for thread in started:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in started)
