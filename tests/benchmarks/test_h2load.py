"""h2load sends gRPC calls as gRPC's own server expects them, and a failed call is told from an answered one."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from tests.benchmarks.method_server import serving

from benchmarks.common import h2load
from benchmarks.common.h2load import H2loadMissing, HttpCall, UnaryCall, closed_loop, http_closed_loop, open_loop
from benchmarks.overload.rejecting_server import rejecting_server

SECONDS = 0.3
DEADLINE_SECONDS = 20.0
LARGE = 200_000  # more than a stream's first window, and more than a connection's

needs_h2load = pytest.mark.needs(program="h2load")


class Service:
    """Echoes, refuses every other call, or never answers; keeps what it was sent."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.seconds_left: list[float] = []

    def echo(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.messages.append(message)
        self.seconds_left.append(context.time_remaining())
        return b"answer to " + message

    def refuse_every_other(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self.messages.append(message)
        if len(self.messages) % 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")
        return message

    def never_answer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        ended = threading.Event()
        if context.add_callback(ended.set):
            assert ended.wait(30)
        return message


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def call(service: Service) -> Iterator[UnaryCall]:
    handlers = {
        "Echo": service.echo,
        "RefuseEveryOther": service.refuse_every_other,
        "NeverAnswer": service.never_answer,
    }
    methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
    # One thread: `refuse_every_other` counts.
    with serving(methods, threads=1) as target:
        yield UnaryCall(target=target, path="/test.Service/Echo", message=b"a")


@needs_h2load
def test_a_closed_loop_keeps_calling_for_its_time(call: UnaryCall, service: Service) -> None:
    started = time.monotonic()
    result = closed_loop(call, 3, SECONDS)
    assert result.answered == len(result.calls) > 3 and not result.failures
    assert set(service.messages) == {b"a"} and len(service.messages) >= result.answered
    assert all(each.started <= each.ended for each in result.calls)
    # The log's clock is that of the day.
    assert started - 0.1 < min(each.started for each in result.calls)
    assert max(each.ended for each in result.calls) < time.monotonic() + 0.1
    assert [each.ended for each in result.calls] == sorted(each.ended for each in result.calls)


@needs_h2load
def test_an_open_loop_sends_as_many_calls_as_it_was_told(call: UnaryCall, service: Service) -> None:
    result = open_loop(call, 150.0, SECONDS)
    assert result.answered == len(service.messages) == 45


@needs_h2load
def test_the_server_is_told_the_deadline(call: UnaryCall, service: Service) -> None:
    open_loop(replace(call, deadline_seconds=DEADLINE_SECONDS), 20.0, SECONDS)
    assert service.seconds_left and all(0 < seconds <= DEADLINE_SECONDS for seconds in service.seconds_left)


@needs_h2load
def test_a_message_larger_than_the_windows_arrives_whole(call: UnaryCall, service: Service) -> None:
    message = bytes(range(256)) * (LARGE // 256)
    result = open_loop(replace(call, message=message), 20.0, SECONDS)
    assert result.answered == 6 and set(service.messages) == {message}


@needs_h2load
def test_refused_calls_are_counted_by_their_status(call: UnaryCall) -> None:
    result = open_loop(replace(call, path="/test.Service/RefuseEveryOther"), 100.0, SECONDS)
    assert result.failures == {"RESOURCE_EXHAUSTED": 15} and result.answered == 15


@needs_h2load
def test_a_call_that_is_never_answered_fails_at_its_deadline(call: UnaryCall) -> None:
    never = replace(call, path="/test.Service/NeverAnswer", deadline_seconds=0.1)
    result = open_loop(never, 20.0, SECONDS)
    assert result.failures == {"DEADLINE_EXCEEDED": 6} and result.answered == 0


@needs_h2load
def test_the_rejecting_server_refuses_every_call(call: UnaryCall) -> None:
    with rejecting_server() as target:
        result = open_loop(replace(call, target=target), 50.0, SECONDS)
    assert result.failures == {"DEADLINE_EXCEEDED": 15} and result.answered == 0


@contextmanager
def server_that_hangs_up() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@needs_h2load
def test_a_server_that_hangs_up_is_noticed(call: UnaryCall) -> None:
    with server_that_hangs_up() as target, pytest.raises(RuntimeError, match="no call of .*/test.Service/Echo ended"):
        closed_loop(replace(call, target=target), 1, SECONDS)
    with server_that_hangs_up() as target, pytest.raises(RuntimeError, match="6 failed"):
        open_loop(replace(call, target=target), 20.0, SECONDS)


def test_a_missing_h2load_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(H2loadMissing, match="apt install nghttp2-client"):
        h2load.find_h2load()


@contextmanager
def http_server(status: int) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Answers every POST with a status; yields its address and what it was sent, type and body."""
    received = list[tuple[str, bytes]]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.headers["content-type"], body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@needs_h2load
def test_a_closed_loop_over_http_sends_the_body_and_the_headers_on_every_connection() -> None:
    with http_server(200) as (target, received):
        call = HttpCall(target=target, path="/classify", body=b"picture", headers=["content-type: image/png"])
        result = http_closed_loop(call, 3, SECONDS)
    assert result.answered > 3 and not result.failures
    assert set(received) == {("image/png", b"picture")} and len(received) >= result.answered


@needs_h2load
def test_a_request_over_http_that_is_refused_makes_the_measurement_void() -> None:
    with http_server(429) as (target, _), pytest.raises(RuntimeError, match="failed"):
        http_closed_loop(HttpCall(target=target, path="/classify", body=b"picture"), 1, SECONDS)
