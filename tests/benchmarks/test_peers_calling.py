"""The light caller speaks gRPC as gRPC's own server does, and tells what failed."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers import http2_frames as frames
from benchmarks.peers import stream_load as peers_load
from benchmarks.peers.stream_load import Job

SECONDS = 0.05
LARGE = 200_000  # more than a stream's first window, and more than a connection's


def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b"answer to " + request


def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


def echo_two_at_a_time(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """The second of two first, where there are two."""
    for first in requests:
        second = next(requests, None)
        if second is not None:
            yield b"answer to " + second
        yield b"answer to " + first


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Stream": grpc.stream_stream_rpc_method_handler(echo_two_at_a_time),
    }
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def job(bodies: tuple[bytes, ...], method: str = "Echo", judged: list[int] | None = None) -> Job:
    """Judges each answer by its message."""

    def judge(place: int, message: bytes) -> None:
        if judged is not None:
            judged.append(place)
        assert message == b"answer to " + bodies[place]

    return Job(f"/test.Service/{method}", bodies, 1, judge)


def numbered(plain: Job) -> Job:
    """The number stands in front; answers come in another order than messages."""

    def judge(place: int, message: bytes) -> None:
        assert message[len("answer to ") + 8 :] == plain.bodies[place]

    return replace(
        plain,
        judge=judge,
        streaming=True,
        numbered=lambda body, number: number.to_bytes(8) + body,
        number_of=lambda message: int.from_bytes(message[len("answer to ") :][:8]),
    )


def test_every_answer_belongs_to_its_message(target: str) -> None:
    judged: list[int] = []
    answers = peers_load.run(target, job((b"a", b"b" * 1000, b""), judged=judged), 5, SECONDS)
    assert set(judged) == {0, 1, 2}
    # The first answers of all callers and the last ones are judged, but do not count.
    assert 0 < len(answers.latencies) < len(judged)
    assert (
        answers.seconds >= SECONDS
        and len(answers.latencies) % 5 == 0
        and all(latency > 0 for latency in answers.latencies)
    )


def test_messages_larger_than_the_windows_arrive_whole(target: str) -> None:
    answers = peers_load.run(target, job((b"x" * LARGE, b"y" * (3 * LARGE))), 7, SECONDS)  # the job judges each answer
    assert answers.latencies


def test_streamed_answers_may_come_in_any_order(target: str) -> None:
    answers = peers_load.run(target, numbered(job((b"a", b"b" * LARGE, b"c"), "Stream")), 7, SECONDS)
    assert answers.latencies


def test_a_refused_call_ends_the_spell_with_a_sentence(target: str) -> None:
    with pytest.raises(RuntimeError, match="/test.Service/Refuse: a call ended without an answer"):
        peers_load.run(target, job((b"a",), "Refuse"), 3, SECONDS)


def test_a_wrong_answer_ends_the_spell(target: str) -> None:
    def judge(place: int, message: bytes) -> None:
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        peers_load.run(target, replace(job((b"a",)), judge=judge), 1, SECONDS)


@contextmanager
def a_server_that_hangs_up() -> Iterator[str]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_a_server_that_hangs_up_is_noticed() -> None:
    with a_server_that_hangs_up() as where, pytest.raises(ConnectionError):
        peers_load.run(where, job((b"a",)), 1, SECONDS)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=70))), st.data())
def test_frames_are_read_as_they_were_written_however_they_arrive(
    sent: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(frames.frame(kind, flags, 5, payload) for kind, flags, payload in sent)
    received, taken = bytearray(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        received += whole[:size]
        whole = whole[size:]
        taken += frames.take_frames(received)
    assert [(each.kind, each.flags, each.payload) for each in taken] == sent
    assert not received and all(each.stream == 5 for each in taken)


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_messages_are_read_as_they_were_written_however_they_arrive(sent: list[bytes], size: int) -> None:
    whole = b"".join(map(frames.message, sent))
    received, taken = bytearray(), []
    for start in range(0, len(whole), size):
        received += whole[start : start + size]
        taken += frames.take_messages(received)
    assert taken == sent and not received
