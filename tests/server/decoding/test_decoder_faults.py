"""A fault in a decoder thread, wherever it happens, reaches the callers of its turn and does not end the thread."""

import threading
from collections.abc import Iterator

import pytest
from tests.server.decoding.test_decoder_threads import PATIENCE_SECONDS, DecoderHarness
from tests.server.injected_faults import FAULTS, FailsFirst, refuse_threads

from linnaeus.server.errors import InternalFailure, InvalidImage, StartupError


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderHarness]:
    made = DecoderHarness(monkeypatch)
    yield made
    made.finish()


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_of_the_queue_fails_the_images_of_the_turn_and_the_decoder_goes_on(
    harness: DecoderHarness, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    harness.queue.put = FailsFirst(harness.queue.put, error)  # type: ignore[method-assign]
    lost, good = harness.admit(b"lost"), harness.admit(b"good")
    harness.start()
    ticket, failure = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert ticket is lost and isinstance(failure, InternalFailure)
    assert failure.reference in caplog.text and "injected" not in str(failure)
    assert harness.take() == [good]
    assert harness.faults == ["decoder"]


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_while_a_failure_is_reported_does_not_end_the_decoder(
    harness: DecoderHarness, error: type[BaseException]
) -> None:
    def refuse() -> None:
        raise InvalidImage("image.encoded", "bad picture")

    harness.scripted[b"bad"] = refuse
    harness.on_failure = FailsFirst(harness.on_failure, error)
    harness.admit(b"bad")
    good = harness.admit(b"good")
    harness.start()
    while good not in (taken := harness.take()):
        assert taken
    assert harness.faults == ["decoder"] and harness.failures.empty()


@pytest.mark.parametrize("error", FAULTS)
def test_a_decoder_raises_nothing_of_what_an_image_raises(harness: DecoderHarness, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("injected")

    harness.scripted[b"bad"] = fail
    bad, good = harness.admit(b"bad"), harness.admit(b"good")
    harness.start()
    ticket, failure = harness.failures.get(timeout=PATIENCE_SECONDS)
    assert ticket is bad and isinstance(failure, InternalFailure) and "injected" not in str(failure)
    assert harness.take() == [good] and harness.faults == ["decoder"]


def test_a_fault_between_turns_restarts_the_decoder(harness: DecoderHarness) -> None:
    fault = FailsFirst(harness.queue.next_to_decode, MemoryError)
    harness.queue.next_to_decode = fault  # type: ignore[method-assign]
    harness.start()
    assert fault.raised.wait(PATIENCE_SECONDS)
    good = harness.admit(b"good")
    harness.queue.notify()
    assert harness.take() == [good] and harness.faults == ["decoder"] and harness.fatal.empty()


def test_a_decoder_that_keeps_failing_ends_the_server(harness: DecoderHarness) -> None:
    real = harness.queue.next_to_decode
    harness.queue.next_to_decode = FailsFirst(real, MemoryError, 100)  # type: ignore[method-assign]
    harness.start()
    assert harness.fatal.get(timeout=PATIENCE_SECONDS) == "decoder" and harness.faults == ["decoder"] * 4


def test_decoders_that_cannot_be_started_refuse_the_start(
    harness: DecoderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        refuse_threads(limited, after=1)
        with pytest.raises(StartupError, match=r"only 1 of 3 decoder threads can be started \(can't start new thread"):
            harness.decoders().start(3)


def test_decoders_are_daemons(harness: DecoderHarness) -> None:
    before = set(threading.enumerate())
    harness.start()
    (started,) = set(threading.enumerate()) - before
    assert started.daemon, "a decoder that hangs must not outlive the server"
