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
from linnaeus.server.decoding.decoder_threads import DecoderThreads
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, InvalidImage, RequestError, Unavailable
from linnaeus.server.process.thread_priority import use_idle_scheduling
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable, Priority, Stage

LANE = ("fake", 1)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
PATIENCE_SECONDS = 60


class Harness:
    """One decoder on a queue; pictures are scripted by their bytes, and what happens is kept in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        self.queue: BatchQueue[RequestPayload] = BatchQueue(lambda: self.now)
        self.queue.add_device("fake:0", 1)
        self.queue.open_lane(LANE, LaneLimits(16, 100), {"fake:0": LatencyTable({1: 0.01, 16: 0.05})})
        self.decoded: list[bytes] = []
        self.taken: Batch[RequestPayload] | None = None
        self.given_up: queue.Queue[tuple[RequestTicket, RequestError]] = queue.Queue()
        self.scripted: dict[bytes, Callable[[], None]] = {}
        monkeypatch.setattr(decoders_module, "decode", self._decode)

    def start(self, in_background: bool = False) -> None:
        DecoderThreads(self.queue, self._on_failure, 1, in_background, 1000, lambda: self.now).start()

    def admit(self, name: bytes, timeout: float | None = None, priority: Priority = Priority.NORMAL) -> RequestTicket:
        answer: Any = None  # nobody waits here
        payload = RequestPayload(0, RawPixels(name, 2, 2, 1), SPEC, 1, answer)
        return self.queue.admit(LANE, payload, None if timeout is None else self.now + timeout, priority, len(name))

    def finish(self) -> None:
        """Lets the decoder end with all that it has got, and the devices take it."""
        self.queue.close()
        while self.take():
            pass

    def take(self) -> list[RequestTicket]:
        """What the device takes next, once it is done with what it took before; empty when there will be no more."""
        self.taken = self.queue.take("fake:0", self.taken)
        return self.taken.tickets if self.taken else []

    def _decode(self, image: RawPixels, spec: InputSpec, most: int) -> Any:
        assert (spec, most) == (SPEC, 1000)
        self.decoded.append(image.data)
        self.scripted.get(image.data, lambda: None)()
        return numpy.zeros((2, 2, 1), numpy.uint8)

    def _on_failure(self, ticket: RequestTicket, error: RequestError) -> None:
        self.queue.cancel(ticket)
        self.given_up.put((ticket, error))


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    made = Harness(monkeypatch)
    yield made
    made.finish()


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_the_most_urgent_picture_is_decoded_first(harness: Harness) -> None:
    harness.admit(b"patient")
    harness.admit(b"low", timeout=1.0, priority=Priority.LOW)
    harness.admit(b"in 4 s", timeout=4.0)
    harness.admit(b"in 2 s", timeout=2.0)
    harness.admit(b"high", timeout=60.0, priority=Priority.HIGH)
    harness.start()
    harness.finish()
    assert harness.decoded == [b"high", b"in 2 s", b"in 4 s", b"patient", b"low"]


def test_each_picture_is_decoded_once_and_reaches_the_device_with_its_pixels_and_time(harness: Harness) -> None:
    def pass_time() -> None:
        harness.now += 0.25

    harness.scripted[b"a"] = pass_time
    tickets = [harness.admit(b"a"), harness.admit(b"b")]
    harness.start()
    taken: list[RequestTicket] = []
    while len(taken) < 2:
        taken += harness.take()
    assert taken == tickets and harness.decoded == [b"a", b"b"]
    assert [ticket.payload.decode_seconds for ticket in tickets] == [0.25, 0.0]
    assert all(ticket.payload.content.shape == (2, 2, 1) for ticket in tickets)


def test_a_late_picture_is_never_decoded_and_its_caller_is_told(harness: Harness) -> None:
    late = harness.admit(b"late", timeout=1.0)
    harness.admit(b"in time", timeout=9.0)
    harness.now = 4.0
    harness.start()
    ticket, error = harness.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is late and isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds == pytest.approx(2.01)  # a run takes 0.01 s
    assert str(error).startswith("the image waited for a decoder, and the answer would have come 2.010 s after")
    harness.finish()
    assert harness.decoded == [b"in time"]


def test_a_picture_that_can_no_longer_be_answered_in_time_says_how_late_it_would_have_been(harness: Harness) -> None:
    harness.admit(b"late", timeout=1.0)
    harness.now = 1.995  # a run takes 0.01 s
    harness.start()
    _, error = harness.given_up.get(timeout=PATIENCE_SECONDS)
    assert isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds > 0, "it cannot be late by less than nothing"
    assert harness.decoded == []


def test_a_picture_whose_caller_left_is_never_decoded(harness: Harness) -> None:
    gone = harness.admit(b"gone")
    harness.admit(b"there")
    assert harness.queue.cancel(gone) is Stage.ADMITTED
    harness.start()
    harness.finish()
    assert harness.decoded == [b"there"] and harness.given_up.empty()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InvalidImage("image.encoded", "bad picture"), InvalidImage),
        (ZeroDivisionError("secret"), InternalFailure),
        (MemoryError("secret"), InternalFailure),
    ],
)
def test_any_failure_reaches_its_caller_and_the_decoder_lives_on(
    harness: Harness, failure: Exception, told: type[RequestError], caplog: pytest.LogCaptureFixture
) -> None:
    harness.scripted[b"bad"] = fail_with(failure)
    bad, good = harness.admit(b"bad"), harness.admit(b"good")
    harness.start()
    ticket, error = harness.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is bad and type(error) is told and "secret" not in str(error)
    if isinstance(error, InternalFailure):
        assert error.reference in str(error) and error.reference in caplog.text and "secret" in caplog.text
    assert harness.take() == [good]


def test_a_picture_whose_devices_were_lost_while_it_was_decoded_is_given_up(harness: Harness) -> None:
    harness.scripted[b"last"] = lambda: harness.queue.remove_device("fake:0") and None
    last = harness.admit(b"last")
    harness.start()
    ticket, error = harness.given_up.get(timeout=PATIENCE_SECONDS)
    assert ticket is last and isinstance(error, Unavailable) and error.retry_after_seconds > 0
    assert "every device that runs model fake has failed" in str(error)
    assert harness.queue.depth(LANE) == 0


def test_a_picture_that_is_cancelled_while_it_is_decoded_takes_no_place_before_the_device(harness: Harness) -> None:
    cancelled = harness.admit(b"cancelled")
    harness.scripted[b"cancelled"] = lambda: harness.queue.cancel(cancelled) and None
    stayer = harness.admit(b"stayer")
    harness.start()
    assert harness.take() == [stayer]
    assert harness.queue.depth(LANE) == 0 and harness.given_up.empty()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
@pytest.mark.parametrize(("in_background", "policy"), [(True, "SCHED_IDLE"), (False, "SCHED_OTHER")])
def test_decoders_in_the_background_use_idle_scheduling(harness: Harness, in_background: bool, policy: str) -> None:
    seen: queue.Queue[int] = queue.Queue()
    harness.scripted[b"a"] = lambda: seen.put(os.sched_getscheduler(0))
    harness.admit(b"a")
    harness.start(in_background)
    assert seen.get(timeout=PATIENCE_SECONDS) == getattr(os, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "only the decoders give way"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_decoders_leave_the_core_to_the_event_loop_that_wants_it_too(harness: Harness) -> None:
    seen: queue.Queue[int] = queue.Queue()
    harness.scripted[b"a"] = lambda: seen.put(_niceness())
    harness.admit(b"a")
    harness.start()
    before = _niceness()
    assert seen.get(timeout=PATIENCE_SECONDS) > before
    assert _niceness() == before, "only the decoders step back"


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_system_that_forbids_idle_scheduling_decodes_all_the_same(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: fail_with(PermissionError())(), raising=False)
    harness.admit(b"a")
    harness.start(in_background=True)
    harness.finish()
    assert harness.decoded == [b"a"]


def test_a_system_without_such_a_policy_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.delattr(os, "SCHED_IDLE", raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: asked.append(arguments), raising=False)
    use_idle_scheduling()
    assert asked == []


def test_a_closed_queue_ends_every_decoder(harness: Harness) -> None:
    before = set(threading.enumerate())
    DecoderThreads(harness.queue, harness._on_failure, 3, False, 1000, lambda: harness.now).start()
    started = [each for each in threading.enumerate() if each not in before and each.name == "linnaeus-decode"]
    assert len(started) == 3
    harness.admit(b"a")
    harness.finish()
    for thread in started:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in started)
