"""Closed-loop load in one bidirectional gRPC stream, which h2load cannot send.

It runs on gRPC's asyncio client and spends some 110 µs of processor time on a message. Answers are kept and checked
after the run, so that the checks take no time from the server.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any

import grpc
import uvloop

from benchmarks.common.h2load import CallTimes
from benchmarks.peers.request_sets import RequestSet

# A server that has not answered so long after the end has failed.
_GRACE_SECONDS = 30.0


def stream_closed_loop(target: str, requests: RequestSet, concurrency: int, seconds: float) -> list[CallTimes]:
    """Keeps `concurrency` messages in flight and returns those that were answered in time, by their end.

    Raises:
        RuntimeError: if the call fails, or an answer is wrong or does not come within half a minute after the end.
    """
    exchange = _Exchange(requests)
    with _without_garbage_collection(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        calls = runner.run(_run(target, exchange, concurrency, seconds))
    exchange.check()
    return calls


class _Exchange:
    """The messages of one stream, which are sent in turn, and their answers."""

    def __init__(self, requests: RequestSet) -> None:
        self.requests = requests
        self._places = cycle(range(len(requests.messages)))
        self._ids = count(1)
        self._in_flight: dict[int, tuple[int, float]] = {}
        self._answers: list[tuple[int, bytes]] = []

    def next_message(self) -> bytes:
        """Returns the next message, which counts as sent now."""
        number, place = next(self._ids), next(self._places)
        message = self.requests.with_id(self.requests.messages[place], number)
        self._in_flight[number] = (place, time.monotonic())
        return message

    def answered(self, answer: bytes) -> CallTimes:
        """Notes an answer and returns when its message was sent and answered."""
        place, started = self._in_flight.pop(self.requests.id_of(answer))
        self._answers.append((place, answer))
        return CallTimes(started, time.monotonic())

    def check(self) -> None:
        """Checks all answers.

        Raises:
            RuntimeError: if one is wrong or missing.
        """
        if self._in_flight:
            raise RuntimeError(f"{self.requests.path}: the call ended with {len(self._in_flight)} messages unanswered")
        for place, answer in self._answers:
            self.requests.check(place, answer)


async def _run(target: str, exchange: _Exchange, concurrency: int, seconds: float) -> list[CallTimes]:
    path = exchange.requests.path
    async with grpc.aio.insecure_channel(target) as channel:
        method: Any = channel.stream_stream(path)  # its types know no serialized messages
        call = method(timeout=seconds + _GRACE_SECONDS)
        try:
            return await _exchange_messages(call, exchange, concurrency, time.monotonic() + seconds)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:  # the second: a message was written after the end
            status: grpc.StatusCode = await call.code()
            if status is grpc.StatusCode.OK:
                return []  # that message stays unanswered, which the check reports
            raise RuntimeError(f"{path}: the call ended as {status.name}: {await call.details()}") from error


async def _exchange_messages(call: Any, exchange: _Exchange, concurrency: int, end: float) -> list[CallTimes]:
    calls, ended = list[CallTimes](), False
    for _ in range(concurrency):
        await call.write(exchange.next_message())
    while (answer := await call.read()) is not grpc.aio.EOF:
        times = exchange.answered(answer)
        if times.ended < end:
            calls.append(times)
            await call.write(exchange.next_message())
        elif not ended:
            ended = True
            await call.done_writing()
    return calls


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disables the garbage collector, whose pauses would count as the server's latency."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
