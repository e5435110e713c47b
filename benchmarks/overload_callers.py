"""Callers of our own for what the load tester cannot do: no deadline, cancelling, changing pictures, being killed.

Each function runs in a process of its own, so that no caller's loop holds up another's. It must not know what is
made of the calls.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from linnaeus.client.load.calls import CHANNEL_OPTIONS, SERVICE
from linnaeus.v1 import classifier_pb2 as v1

OK = grpc.StatusCode.OK.name
CANCELLED = grpc.StatusCode.CANCELLED.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who calls what.

    Attributes:
        target: the server's address.
        model: that all call.
        pictures: encoded, sent in turn.
        start: seconds of `time.monotonic`; a crowd that is ready later begins at once.
        seconds: how long new calls are sent.
        deadline_seconds: of each call; None sends none.
        seed: of all chance.
    """

    target: str
    model: str
    pictures: tuple[bytes, ...]
    start: float
    seconds: float
    deadline_seconds: float | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """One call that ended: when it was meant to be sent and when it ended (`time.monotonic`), and its status code."""

    intended: float
    ended: float
    code: str


def closed_loop(crowd: Crowd, callers: int) -> list[Call]:
    """So many callers, each sending its next picture once it has its answer."""
    return asyncio.run(_together(crowd, callers, _patient))


def cancelling(crowd: Crowd, callers: int, within_seconds: float) -> list[Call]:
    """So many callers, each cancelling every call at a uniformly random moment and going on at once."""

    async def impatient(classify: Any, body: bytes, crowd: Crowd, chance: random.Random) -> Call:
        return await _cancelled_call(classify, body, crowd, chance.uniform(0, within_seconds))

    return asyncio.run(_together(crowd, callers, impatient))


def open_loop(crowd: Crowd, rate: float, change_every: tuple[float, ...] = ()) -> list[Call]:
    """Poisson arrivals, sent whatever becomes of those before.

    Args:
        crowd: with as many pictures for each phase as for the others, the phases one after another.
        rate: calls a second.
        change_every: seconds of each phase but the last.
    """
    return asyncio.run(_open_loop(crowd, rate, change_every))


_Turn = Callable[[Any, bytes, Crowd, random.Random], Awaitable[Call]]


async def _together(crowd: Crowd, callers: int, turn: _Turn) -> list[Call]:
    bodies = _bodies(crowd)
    calls: list[Call] = []

    async def caller(classify: Any, place: int) -> None:
        chance = random.Random(f"{crowd.seed} {place}")
        while time.monotonic() < crowd.start + crowd.seconds:
            calls.append(await turn(classify, bodies[place % len(bodies)], crowd, chance))
            place += 1

    async with connected(crowd.target) as classify:
        await pause_until(crowd.start)
        await asyncio.gather(*(caller(classify, place) for place in range(callers)))
    return calls


async def _patient(classify: Any, body: bytes, crowd: Crowd, chance: random.Random) -> Call:
    return await _call(classify, body, time.monotonic(), crowd.deadline_seconds)


async def _cancelled_call(classify: Any, body: bytes, crowd: Crowd, after_seconds: float) -> Call:
    intended = time.monotonic()
    call = classify(body, timeout=crowd.deadline_seconds)
    await asyncio.sleep(after_seconds)
    call.cancel()
    return Call(intended, time.monotonic(), (await call.code()).name)


async def _open_loop(crowd: Crowd, rate: float, change_every: tuple[float, ...]) -> list[Call]:
    bodies = _bodies(crowd)
    each_phase = len(bodies) // (len(change_every) + 1)
    chance, moment, place = random.Random(crowd.seed), crowd.start, 0
    async with connected(crowd.target) as classify, asyncio.TaskGroup() as calls:
        tasks = []
        while (moment := moment + chance.expovariate(rate)) < crowd.start + crowd.seconds:
            await pause_until(moment)
            body = bodies[each_phase * phase_at(moment - crowd.start, change_every) + place % each_phase]
            tasks.append(calls.create_task(_call(classify, body, moment, crowd.deadline_seconds)))
            place += 1
    return [task.result() for task in tasks]


def phase_at(offset: float, change_every: tuple[float, ...]) -> int:
    """The number, from 0, of the phase that holds so many seconds after the start."""
    ends = [sum(change_every[: place + 1]) for place in range(len(change_every))]
    return sum(offset >= end for end in ends)


async def _call(classify: Any, body: bytes, intended: float, deadline_seconds: float | None) -> Call:
    code: grpc.StatusCode = await classify(body, timeout=deadline_seconds).code()
    return Call(intended, time.monotonic(), code.name)


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Any]:
    """A connection's `Classify`, which takes bytes and gives bytes."""
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        await channel.channel_ready()
        yield channel.unary_unary(SERVICE + "Classify")


async def pause_until(moment: float) -> None:
    """Sleeps, but lets others run in any case."""
    await asyncio.sleep(max(moment - time.monotonic(), 0.0))


def _bodies(crowd: Crowd) -> list[bytes]:
    requests = (v1.ClassifyRequest(image=v1.Image(encoded=each), model=crowd.model, top_k=1) for each in crowd.pictures)
    return [request.SerializeToString() for request in requests]
