"""Callers on gRPC's asyncio client for what neither h2load nor the load tester does.

They change images during a run, cancel calls, and may be killed. Each function is meant to run in a process of its own,
so that one loop does not delay another. Nothing here judges the outcome of a call.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import grpc

from linnaeus.client.load.calls import CHANNEL_OPTIONS, SERVICE
from linnaeus.v1 import classifier_pb2 as v1

OK = grpc.StatusCode.OK.name


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


def open_loop(crowd: Crowd, rate: float, change_every: tuple[float, ...] = ()) -> list[Call]:
    """Poisson arrivals, sent whatever becomes of those before.

    Args:
        crowd: with as many pictures for each phase as for the others, the phases one after another.
        rate: calls a second.
        change_every: seconds of each phase but the last.
    """
    return asyncio.run(_open_loop(crowd, rate, change_every))


async def _open_loop(crowd: Crowd, rate: float, change_every: tuple[float, ...]) -> list[Call]:
    messages = bodies(crowd)
    each_phase = len(messages) // (len(change_every) + 1)
    chance, moment, place = random.Random(crowd.seed), crowd.start, 0
    async with connected(crowd.target) as classify, asyncio.TaskGroup() as calls:
        tasks = []
        while (moment := moment + chance.expovariate(rate)) < crowd.start + crowd.seconds:
            await pause_until(moment)
            body = messages[each_phase * phase_at(moment - crowd.start, change_every) + place % each_phase]
            tasks.append(calls.create_task(_call(classify, body, moment, crowd.deadline_seconds)))
            place += 1
    return [task.result() for task in tasks]


def cancelling(crowd: Crowd, callers: int, within_seconds: float) -> list[Call]:
    """Closed loop of callers who cancel each call at a uniformly random moment and send the next one at once."""
    return asyncio.run(_cancelling(crowd, callers, within_seconds))


async def _cancelling(crowd: Crowd, callers: int, within_seconds: float) -> list[Call]:
    messages, ended = cycle(bodies(crowd)), list[Call]()

    async def caller(number: int) -> None:
        chance = random.Random(f"{crowd.seed} {number}")
        while (started := time.monotonic()) < crowd.start + crowd.seconds:
            call = classify(next(messages), timeout=crowd.deadline_seconds)
            timer = asyncio.get_running_loop().call_later(chance.uniform(0, within_seconds), call.cancel)
            code: grpc.StatusCode = await call.code()
            timer.cancel()
            ended.append(Call(started, time.monotonic(), code.name))

    async with connected(crowd.target) as classify:
        await pause_until(crowd.start)
        await asyncio.gather(*(caller(number) for number in range(callers)))
    return ended


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


def bodies(crowd: Crowd) -> list[bytes]:
    """A `ClassifyRequest` for each picture."""
    requests = (v1.ClassifyRequest(image=v1.Image(encoded=each), model=crowd.model, top_k=1) for each in crowd.pictures)
    return [request.SerializeToString() for request in requests]
