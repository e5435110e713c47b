"""Hostile loads do what they say: to a server that only counts, so that nothing is attacked."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from tests.benchmarks.method_server import serving as serving_methods

from benchmarks.attack.hostile_load import Target, send
from benchmarks.attack.http2_frames import message_prefix
from benchmarks.attack.paced_calls import Message, PacedCalls
from benchmarks.attack.rapid_resets import RapidResets
from benchmarks.attack.raw_bodies import RawBodies, gzip_bomb, unfinished_bodies
from benchmarks.attack.slow_readers import SlowReaders

SECONDS = 0.3
TOKEN = "hostile"


class Service:
    """Counts calls by method; keeps the messages and tokens that came with them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.messages: set[bytes] = set()
        self.tokens: set[str | None] = set()
        self.cancelled = threading.Semaphore(0)

    def answer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Answer", message, context)
        return b"answer"

    def wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Wait", message, context)
        ended = threading.Event()
        if context.add_callback(ended.set):
            assert ended.wait(30)
        self.cancelled.release()
        return message

    def echo_each(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            self._note("EchoEach", message, context)
            yield message

    def _note(self, method: str, message: bytes, context: grpc.ServicerContext) -> None:
        self.calls[method] += 1
        self.messages.add(message)
        self.tokens.add({key: str(value) for key, value in context.invocation_metadata()}.get("authorization"))


@contextmanager
def serving(service: Service) -> Iterator[Target]:
    unary = {"Answer": service.answer, "Wait": service.wait}
    methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in unary.items()}
    methods["EchoEach"] = grpc.stream_stream_rpc_method_handler(service.echo_each)
    with serving_methods(methods, threads=8) as address:
        yield Target(address, TOKEN)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def target(service: Service) -> Iterator[Target]:
    with serving(service) as found:
        yield found


def message(method: str, content: bytes = b"hostile") -> Message:
    return Message(f"/test.Service/{method}", content)


def test_paced_calls_are_sent_in_turn_at_their_rate_with_the_token(service: Service, target: Target) -> None:
    load = PacedCalls(messages=(message("Answer", b"a"), message("Answer", b"b"), message("Nothing")), rate=100.0)
    calls = send(load, target, SECONDS)
    assert calls.ended == {"OK": 20, "UNIMPLEMENTED": 10}
    assert service.messages == {b"a", b"b"} and service.tokens == {f"Bearer {TOKEN}"}
    assert calls.processor_seconds > 0


def test_a_limit_ends_an_attack_before_its_time(service: Service, target: Target) -> None:
    assert send(PacedCalls(messages=(message("Answer"),), rate=1000.0, limit=1), target, SECONDS).ended == {"OK": 1}
    assert service.calls == {"Answer": 1}


def test_a_caller_without_a_token_sends_none(service: Service, target: Target) -> None:
    send(PacedCalls(messages=(message("Answer"),), rate=1000.0, limit=1), Target(target.address), SECONDS)
    assert service.tokens == {None}


def test_paced_calls_end_at_their_deadline_or_are_cancelled(service: Service, target: Target) -> None:
    late = PacedCalls(messages=(message("Wait"),), rate=100.0, limit=4, deadline_seconds=0.05)
    assert send(late, target, SECONDS).ended == {"DEADLINE_EXCEEDED": 4}
    cancelled = PacedCalls(messages=(message("Wait"),), rate=100.0, limit=4, cancelled_within_seconds=0.05)
    assert send(cancelled, target, SECONDS).ended == {"CANCELLED": 4}


def test_a_reset_call_is_whole_and_cancelled(service: Service, target: Target) -> None:
    calls = send(RapidResets(message("Wait"), rate=200.0), target, SECONDS)
    assert (
        calls.ended["connections"] == 1
        and not calls.ended["reset without body"]
        and calls.ended["reset"] >= 0.2 * SECONDS * 200
    )
    # A call that was cancelled before its handler began is never handled; one that was begun is told.
    for _ in range(service.calls["Wait"]):
        assert service.cancelled.acquire(timeout=30)


def test_a_gzip_bomb_unfolds_to_a_thousand_times_its_size(service: Service, target: Target) -> None:
    load = gzip_bomb("/test.Service/Answer", 1, rate=10.0)
    assert len(load.body) < 1_100
    assert send(load, target, SECONDS).ended == {"ended by the server": 3}
    assert service.messages == {bytes(1_000_000)} and service.calls == {"Answer": 3}


def test_a_body_larger_than_the_first_window_is_sent_as_the_server_grants_it(service: Service, target: Target) -> None:
    content = random.Random(1).randbytes(300_000)
    body = message_prefix(len(content)) + content
    send(RawBodies(path="/test.Service/Answer", body=body, rate=5.0), target, SECONDS)
    assert service.messages == {content}


def test_an_unfinished_body_is_never_a_message(service: Service, target: Target) -> None:
    load = unfinished_bodies("/test.Service/Answer", 1, rate=10.0)
    assert send(load, target, SECONDS).ended == {"unanswered": 3}
    assert not service.calls


def test_a_body_that_the_server_refuses_before_its_end_holds_nothing_up(service: Service, target: Target) -> None:
    load = unfinished_bodies("/test.Service/Nothing", 3, rate=10.0)
    assert send(load, target, SECONDS).ended == {"ended by the server": 3}


def test_slow_readers_write_on_while_they_read_little(service: Service, target: Target) -> None:
    load = SlowReaders(message("EchoEach"), streams=2, read_seconds=SECONDS / 2, most_messages=50)
    calls = send(load, target, SECONDS)
    assert calls.ended["written"] == 100 and calls.ended["read"] <= 4
    assert service.tokens == {f"Bearer {TOKEN}"}
