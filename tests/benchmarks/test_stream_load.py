"""The stream's load generator matches answers with messages, checks them, and names what failed."""

from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from tests.benchmarks.method_server import serving

from benchmarks.peers.request_sets import RequestSet
from benchmarks.peers.stream_load import stream_closed_loop

SECONDS = 0.2
LARGE = 200_000  # more than a stream's first window, and more than a connection's


def echo_two_at_a_time(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """The second of two first, where there are two."""
    for first in requests:
        second = next(requests, None)
        if second is not None:
            yield b"answer to " + second
        yield b"answer to " + first


def refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    next(requests)
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


def answer_one(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"answer to " + next(requests)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    handlers = {"Echo": echo_two_at_a_time, "Refuse": refuse, "AnswerOne": answer_one}
    methods = {name: grpc.stream_stream_rpc_method_handler(handler) for name, handler in handlers.items()}
    with serving(methods, threads=4) as address:
        yield address


def requests(messages: tuple[bytes, ...], method: str = "Echo", checked: list[int] | None = None) -> RequestSet:
    """The id is in front of each message; an answer is checked by the rest of it."""

    def check(place: int, answer: bytes) -> None:
        if checked is not None:
            checked.append(place)
        assert answer[len("answer to ") + 8 :] == messages[place]

    return RequestSet(
        f"/test.Service/{method}",
        messages,
        1,
        check,
        streaming=True,
        with_id=lambda message, number: number.to_bytes(8) + message,
        id_of=lambda answer: int.from_bytes(answer[len("answer to ") :][:8]),
    )


def test_every_answer_belongs_to_its_message_in_whatever_order_they_come(target: str) -> None:
    checked: list[int] = []
    calls = stream_closed_loop(target, requests((b"a", b"b" * 1000, b""), checked=checked), 5, SECONDS)
    assert set(checked) == {0, 1, 2}
    # What was in flight at the end is checked, but is not among the measured calls.
    assert 5 < len(calls) < len(checked)
    assert all(each.started <= each.ended for each in calls)
    assert calls[-1].ended - calls[0].started <= SECONDS + 0.1
    assert [each.ended for each in calls] == sorted(each.ended for each in calls)


def test_messages_larger_than_the_windows_arrive_whole(target: str) -> None:
    assert stream_closed_loop(target, requests((b"x" * LARGE, b"y" * (3 * LARGE))), 7, SECONDS)


@pytest.mark.parametrize("method", ["Refuse", "AnswerOne"])
def test_a_call_that_ends_early_ends_the_measurement(target: str, method: str) -> None:
    # Where a message was still being written, gRPC's client has no status of the server.
    ended = r"the call ended (as (RESOURCE_EXHAUSTED: no more|INTERNAL: .*)|with \d+ messages unanswered)"
    with pytest.raises(RuntimeError, match=f"/test.Service/{method}: {ended}"):
        stream_closed_loop(target, requests((b"a",), method), 3, SECONDS)


def test_a_wrong_answer_ends_the_measurement(target: str) -> None:
    def check(place: int, answer: bytes) -> None:
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        stream_closed_loop(target, replace(requests((b"a",)), check=check), 2, SECONDS)
