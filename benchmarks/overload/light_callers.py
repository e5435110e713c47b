"""Callers that cost the server's cores little: those of `overload_callers` over the connection of `peers_wire`.

A caller on gRPC's own Python client computes two to four times as long for a call that is refused, on cores that the
server needs; what a server keeps under overload is then half a measure of its callers. Each function runs in a process
of its own. It must not know what is made of the calls.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from math import inf

from benchmarks.overload.grpc_callers import OK, Call, Crowd, bodies
from benchmarks.peers.http2_connection import Connection
from benchmarks.peers.stream_load import no_collections
from linnaeus.client.load.calls import SERVICE

# Without a message there was no answer; which status said so is not read.
REFUSED = "REFUSED"
CANCELLED = "CANCELLED"
_LONGEST_WAIT_SECONDS = 0.05
# What is in flight when a crowd ends is waited for so much longer than its deadline.
_GRACE_SECONDS = 1.0


class _Calls:
    """The calls of one crowd over one connection.

    Attributes:
        ended: those that have.
        in_flight: when each was meant to be sent, by its stream.
    """

    def __init__(self, crowd: Crowd, connection: Connection) -> None:
        self.ended: list[Call] = []
        self.in_flight: dict[int, float] = {}
        self._connection = connection
        self._bodies = cycle(bodies(crowd))
        self._answered: set[int] = set()

    def begin(self, intended: float) -> int:
        """Sends the next picture; returns the call's stream."""
        stream = self._connection.open()
        self._connection.send(stream, next(self._bodies), last=True)
        self.in_flight[stream] = intended
        return stream

    def give_up(self, stream: int, code: str = CANCELLED) -> None:
        """Cancels a call that has not ended yet."""
        if stream in self.in_flight:
            self._connection.cancel(stream)
            self._end(stream, code)

    def take(self, until: float) -> int:
        """Waits until something comes or that moment; returns how many calls ended."""
        before = len(self.ended)
        for event in self._connection.receive(min(until - time.monotonic(), _LONGEST_WAIT_SECONDS)):
            if event.message is not None:
                self._answered.add(event.stream)
            else:
                self._end(event.stream, OK if event.stream in self._answered else REFUSED)
        return len(self.ended) - before

    def _end(self, stream: int, code: str) -> None:
        self._answered.discard(stream)
        self.ended.append(Call(self.in_flight.pop(stream), time.monotonic(), code))


def closed_loop(crowd: Crowd, callers: int) -> list[Call]:
    """So many callers, each sending its next picture once its last call has ended."""
    with _connected(crowd) as calls:
        for _ in range(callers):
            calls.begin(time.monotonic())
        end = crowd.start + crowd.seconds
        while time.monotonic() < end:
            for _ in range(calls.take(end)):
                calls.begin(time.monotonic())
        _wait_for_all(calls, end + (crowd.deadline_seconds or inf))
        return calls.ended


def cancelling(crowd: Crowd, callers: int, within_seconds: float) -> list[Call]:
    """So many callers, each cancelling every call at a uniformly random moment and going on at once."""
    chance, leaving = random.Random(crowd.seed), dict[int, float]()
    with _connected(crowd) as calls:

        def begin() -> None:
            now = time.monotonic()
            leaving[calls.begin(now)] = now + chance.uniform(0, within_seconds)

        for _ in range(callers):
            begin()
        while time.monotonic() < crowd.start + crowd.seconds:
            calls.take(min(leaving.values()))
            for stream in [stream for stream, moment in leaving.items() if moment <= time.monotonic()]:
                del leaving[stream]
                calls.give_up(stream)
                begin()
        for stream in leaving:
            calls.give_up(stream)
        return calls.ended


def open_loop(crowd: Crowd, rate: float) -> list[Call]:
    """Poisson arrivals of so many calls a second, sent whatever becomes of those before."""
    chance = random.Random(crowd.seed)
    end = crowd.start + crowd.seconds
    moment = crowd.start + chance.expovariate(rate)
    with _connected(crowd) as calls:
        while moment < end:
            while moment < end and moment <= time.monotonic():
                calls.begin(moment)
                moment += chance.expovariate(rate)
            calls.take(moment)
        _wait_for_all(calls, end + (crowd.deadline_seconds or inf))
        return calls.ended


@contextmanager
def _connected(crowd: Crowd) -> Iterator[_Calls]:
    with Connection(crowd.target, SERVICE + "Classify", crowd.deadline_seconds) as connection, no_collections():
        calls = _Calls(crowd, connection)
        time.sleep(max(crowd.start - time.monotonic(), 0.0))
        yield calls


def _wait_for_all(calls: _Calls, until: float) -> None:
    """What has not ended by then, and a little later, never will: it counts as refused."""
    while calls.in_flight and time.monotonic() < until + _GRACE_SECONDS:
        calls.take(until + _GRACE_SECONDS)
    for stream in list(calls.in_flight):
        calls.give_up(stream, REFUSED)
