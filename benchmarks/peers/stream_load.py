"""Closed loops over one connection: so many callers, each of whom sends its next message once it has its answer.

Answers are kept and judged when the spell is over, so that judging costs the server nothing.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle

from benchmarks.peers.http2_connection import Connection


@dataclass(frozen=True, slots=True)
class Job:
    """What is sent, and what makes a right answer.

    Attributes:
        path: the method, /SERVICE/METHOD.
        bodies: messages; every caller sends the next of them.
        images: in each of them.
        streaming: whether all go through one call, whose answers come in any order.
        judge: told which message (its place in `bodies`) and the answer; raises if it is not right. Where the answers
            come in any order, `number_of` says to which message an answer belongs.
        numbered: a streamed message with its number.
        number_of: the number in a streamed message's answer.
    """

    path: str
    bodies: tuple[bytes, ...]
    images: int
    judge: Callable[[int, bytes], None]
    streaming: bool = False
    numbered: Callable[[bytes, int], bytes] = lambda body, _: body
    number_of: Callable[[bytes], int] = lambda _: 0


@dataclass(slots=True)
class Answers:
    """What a spell brought.

    Attributes:
        latencies: seconds, of each message that was answered within the spell.
        seconds: how long the spell was.
        busy: how much of it this process computed.
    """

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0


class _Spell:
    """Decides which answers count.

    A spell begins when as many answers came as there are callers, so that nobody's first message counts, which all sent
    at once. It ends after its time, with a number of answers that is a multiple of the callers: answers come in bursts,
    as batches end, and a spell that began behind a burst and ended before one would take the server for slower than it
    is, the more so the larger its batches are.
    """

    def __init__(self, callers: int, seconds: float) -> None:
        self.answers = Answers()
        self.got: list[tuple[int, bytes]] = []
        self._ahead = self._callers = callers
        self._seconds = seconds
        self._started = self._processor = 0.0

    def answered(self, begun: float) -> bool:
        """Notes an answer to what was sent at that time; returns whether to send more."""
        now = time.perf_counter()
        if self._ahead:
            self._ahead -= 1
            self._started, self._processor = now, time.process_time()
            return True
        if self.answers.seconds:
            return False
        self.answers.latencies.append(now - begun)
        if now < self._started + self._seconds or len(self.answers.latencies) % self._callers:
            return True
        self.answers.seconds = now - self._started
        self.answers.busy = (time.process_time() - self._processor) / self.answers.seconds
        return False


def run(target: str, job: Job, callers: int, seconds: float) -> Answers:
    """One spell.

    Raises:
        OSError, RuntimeError: the server failed, or an answer was not right.
    """
    loop, spell = _stream_loop if job.streaming else _unary_loop, _Spell(callers, seconds)
    with Connection(target, job.path) as connection, no_collections():
        loop(connection, job, callers, spell)
    for place, message in spell.got:
        job.judge(place, message)
    return spell.answers


@contextmanager
def no_collections() -> Iterator[None]:
    """Keeps the collector away, whose pauses would be the server's in the figures."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _unary_loop(connection: Connection, job: Job, callers: int, spell: _Spell) -> None:
    places, sent, answered = cycle(range(len(job.bodies))), dict[int, tuple[int, float]](), set[int]()

    def begin() -> None:
        stream, place = connection.open(), next(places)
        sent[stream] = (place, time.perf_counter())
        connection.send(stream, job.bodies[place], last=True)

    for _ in range(callers):
        begin()
    while sent:
        for event in connection.receive():
            if event.message is not None:
                spell.got.append((sent[event.stream][0], event.message))
                answered.add(event.stream)
                continue
            if event.stream not in answered:
                raise RuntimeError(f"{job.path}: a call ended without an answer")
            answered.remove(event.stream)
            if spell.answered(sent.pop(event.stream)[1]):
                begin()


def _stream_loop(connection: Connection, job: Job, callers: int, spell: _Spell) -> None:
    numbers, places, sent = count(1), cycle(range(len(job.bodies))), dict[int, tuple[int, float]]()
    stream, ending, ended = connection.open(), False, False

    def begin() -> None:
        number, place = next(numbers), next(places)
        sent[number] = (place, time.perf_counter())
        connection.send(stream, job.numbered(job.bodies[place], number), last=False)

    for _ in range(callers):
        begin()
    while not ended:
        for event in connection.receive():
            if event.message is None:
                ended = True
                continue
            place, begun = sent.pop(job.number_of(event.message))
            spell.got.append((place, event.message))
            if spell.answered(begun):
                begin()
            elif not ending:
                ending = True
                connection.end(stream)
    if sent:
        raise RuntimeError(f"{job.path}: the call ended with {len(sent)} messages unanswered")
