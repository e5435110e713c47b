"""Tests of the decoder threads: order, late and cancelled images, failures and thread priority."""

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
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.process.thread_priority import use_idle_scheduling
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import Batch, BatchQueue, DecodeWork, LaneLimits, LatencyTable, Priority, Stage

LANE = ("fake", 1)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
PATIENCE_SECONDS = 60
WORK = DecodeWork("pixels", 4)


class DecoderHarness:
    """One decoder with a queue; `scripted` maps an image's bytes to what decoding it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        self.queue: BatchQueue[RequestPayload] = BatchQueue(lambda: self.now)
        self.queue.add_device("fake:0", 1)
        self.queue.open_lane(LANE, LaneLimits(16, 100), {"fake:0": LatencyTable({1: 0.01, 16: 0.05})})
        self.decoded: list[bytes] = []
        self.taken: Batch[RequestPayload] | None = None
        self.failures: queue.Queue[tuple[RequestTicket, RequestError]] = queue.Queue()
        self.faults: list[str] = []
        self.fatal: queue.Queue[str] = queue.Queue()
        self.on_failure: Callable[[RequestTicket, RequestError], None] = self._on_failure
        self.scripted: dict[bytes, Callable[[], None]] = {}
        monkeypatch.setattr(decoders_module, "decode", self._decode)

    def start(self, in_background: bool = False) -> None:
        self.decoders(in_background).start(1)

    def decoders(self, in_background: bool = False) -> DecoderThreads:
        clock, supervisor = (lambda: self.now), Supervisor(self.faults.append, self.fatal.put)
        return DecoderThreads(self.queue, self.on_failure, in_background, 1000, clock, supervisor)

    def admit(self, name: bytes, timeout: float | None = None, priority: Priority = Priority.NORMAL) -> RequestTicket:
        future: Any = None  # not used: nothing delivers results
        payload = RequestPayload(0, RawPixels(name, 2, 2, 1), SPEC, 1, future)
        return self.queue.admit(LANE, payload, None if timeout is None else self.now + timeout, priority, WORK)

    def finish(self) -> None:
        """Closes the queue and takes batches until it is empty, so that the decoder ends."""
        self.queue.close()
        while self.take():
            pass

    def take(self) -> list[RequestTicket]:
        """Finishes the device's batch and takes the next one; returns its tickets, none if the queue has ended."""
        self.taken = self.queue.take("fake:0", self.taken)
        return self.taken.tickets if self.taken else []

    def _decode(self, image: RawPixels, spec: InputSpec, most: int) -> Any:
        assert (spec, most) == (SPEC, 1000)
        self.decoded.append(image.data)
        self.scripted.get(image.data, lambda: None)()
        return numpy.zeros((2, 2, 1), numpy.uint8)

    def _on_failure(self, ticket: RequestTicket, error: RequestError) -> None:
        self.queue.cancel(ticket)
        self.failures.put((ticket, error))


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderHarness]:
    made = DecoderHarness(monkeypatch)
    yield made
    made.finish()


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_the_most_urgent_image_is_decoded_first(harness: DecoderHarness) -> None:
    harness.admit(b"patient")
    harness.admit(b"low", timeout=1.0, priority=Priority.LOW)
    harness.admit(b"in 4 s", timeout=4.0)
    harness.admit(b"in 2 s", timeout=2.0)
    harness.admit(b"high", timeout=60.0, priority=Priority.HIGH)
    harness.start()
    harness.finish()
    assert harness.decoded == [b"high", b"in 2 s", b"in 4 s", b"patient", b"low"]


def test_each_image_is_decoded_once_and_queued_with_its_pixels_and_time(harness: DecoderHarness) -> None:
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


def test_a_late_image_is_never_decoded_and_its_request_fails(harness: DecoderHarness) -> None:
    late = harness.admit(b"late", timeout=1.0)
    harness.admit(b"in time", timeout=9.0)
    harness.now = 4.0
    harness.start()
    ticket, error = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert ticket is late and isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds == pytest.approx(2.01, abs=0.001)  # a run takes 0.01 s
    assert str(error).startswith("the image waited for a decoder, and the answer would have come 2.010 s after")
    harness.finish()
    assert harness.decoded == [b"in time"]


def test_the_error_of_an_image_too_late_to_decode_states_the_expected_delay(harness: DecoderHarness) -> None:
    harness.admit(b"late", timeout=1.0)
    harness.now = 1.995  # a run takes 0.01 s
    harness.start()
    _, error = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert isinstance(error, DeadlineExceeded)
    assert error.late_by_seconds > 0, "the delay is positive"
    assert harness.decoded == []


def test_a_cancelled_image_is_never_decoded(harness: DecoderHarness) -> None:
    cancelled = harness.admit(b"cancelled")
    harness.admit(b"waiting")
    assert harness.queue.cancel(cancelled) is Stage.ADMITTED
    harness.start()
    harness.finish()
    assert harness.decoded == [b"waiting"] and harness.failures.empty()


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (InvalidImage("image.encoded", "bad picture"), InvalidImage),
        (ZeroDivisionError("secret"), InternalFailure),
        (MemoryError("secret"), InternalFailure),
    ],
)
def test_every_failure_reaches_its_caller_and_the_decoder_continues(
    harness: DecoderHarness, failure: Exception, expected: type[RequestError], caplog: pytest.LogCaptureFixture
) -> None:
    harness.scripted[b"bad"] = fail_with(failure)
    bad, good = harness.admit(b"bad"), harness.admit(b"good")
    harness.start()
    ticket, error = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert ticket is bad and type(error) is expected and "secret" not in str(error)
    if isinstance(error, InternalFailure):
        assert error.reference in str(error) and error.reference in caplog.text and "secret" in caplog.text
    assert harness.take() == [good]


def test_an_image_whose_devices_are_removed_during_decoding_fails(harness: DecoderHarness) -> None:
    harness.scripted[b"last"] = lambda: harness.queue.remove_device("fake:0") and None
    last = harness.admit(b"last")
    harness.start()
    ticket, error = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert ticket is last and isinstance(error, Unavailable) and error.retry_after_seconds > 0
    assert "every device that runs model fake has failed" in str(error)
    assert harness.queue.depth(LANE) == 0


def test_an_image_cancelled_during_decoding_is_not_queued_for_the_device(harness: DecoderHarness) -> None:
    cancelled = harness.admit(b"cancelled")
    harness.scripted[b"cancelled"] = lambda: harness.queue.cancel(cancelled) and None
    waiting = harness.admit(b"waiting")
    harness.start()
    assert harness.take() == [waiting]
    assert harness.queue.depth(LANE) == 0 and harness.failures.empty()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
@pytest.mark.parametrize(("in_background", "policy"), [(True, "SCHED_IDLE"), (False, "SCHED_OTHER")])
def test_background_decoders_use_idle_scheduling(harness: DecoderHarness, in_background: bool, policy: str) -> None:
    seen: queue.Queue[int] = queue.Queue()
    harness.scripted[b"a"] = lambda: seen.put(os.sched_getscheduler(0))
    harness.admit(b"a")
    harness.start(in_background)
    assert seen.get(timeout=PATIENCE_SECONDS) == getattr(os, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "only the decoders change their policy"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_decoders_have_a_lower_priority_than_the_event_loop(harness: DecoderHarness) -> None:
    seen: queue.Queue[int] = queue.Queue()
    harness.scripted[b"a"] = lambda: seen.put(_niceness())
    harness.admit(b"a")
    harness.start()
    before = _niceness()
    assert seen.get(timeout=PATIENCE_SECONDS) > before
    assert _niceness() == before, "only the decoders lower their priority"


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_decoding_works_where_idle_scheduling_is_forbidden(
    harness: DecoderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: fail_with(PermissionError())(), raising=False)
    harness.admit(b"a")
    harness.start(in_background=True)
    harness.finish()
    assert harness.decoded == [b"a"]


def test_a_system_without_idle_scheduling_is_left_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.delattr(os, "SCHED_IDLE", raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: calls.append(arguments), raising=False)
    use_idle_scheduling()
    assert calls == []


def test_a_closed_queue_ends_every_decoder(harness: DecoderHarness) -> None:
    before = set(threading.enumerate())
    harness.decoders().start(3)
    started = [each for each in threading.enumerate() if each not in before and each.name == "linnaeus-decode"]
    assert len(started) == 3
    harness.admit(b"a")
    harness.finish()
    for thread in started:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in started)
