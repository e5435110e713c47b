"""Callers on gRPC's asyncio client for what neither h2load nor the load tester does.

They change images during a run, cancel calls, or are killed. Each function is meant to run in a process of its own, so
that one event loop does not delay another. Nothing here judges the outcome of a call.
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

from linnaeus.client.load.generator.unary_calls import CHANNEL_OPTIONS, SERVICE
from linnaeus.v1 import classifier_pb2 as v1

OK = grpc.StatusCode.OK.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What is called, and how long.

    Attributes:
        target: the server's address.
        model: its name.
        images: encoded, sent in turn.
        start: seconds of `time.monotonic`; callers that are ready later begin at once.
        seconds: how long new calls are sent.
        deadline_seconds: of each call; None for no deadline.
        seed: of the random moments.
    """

    target: str
    model: str
    images: tuple[bytes, ...]
    start: float
    seconds: float
    deadline_seconds: float | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """A call that ended: the planned send time and the end (seconds of `time.monotonic`), and the status name."""

    intended: float
    ended: float
    code: str


def open_loop(load: LoadSpec, rate: float, phase_seconds: tuple[float, ...] = ()) -> list[CallOutcome]:
    """Sends Poisson arrivals whatever becomes of earlier calls.

    Args:
        load: its images are those of all phases one after another, the same number for each phase.
        rate: calls a second.
        phase_seconds: duration of each phase but the last; empty for a single phase.
    """
    return asyncio.run(_open_loop(load, rate, phase_seconds))


async def _open_loop(load: LoadSpec, rate: float, phase_seconds: tuple[float, ...]) -> list[CallOutcome]:
    messages = _request_messages(load)
    each_phase = len(messages) // (len(phase_seconds) + 1)
    random_source, moment, place = random.Random(load.seed), load.start, 0
    async with connect(load.target) as classify, asyncio.TaskGroup() as calls:
        tasks = []
        while (moment := moment + random_source.expovariate(rate)) < load.start + load.seconds:
            await sleep_until(moment)
            message = messages[each_phase * phase_index(moment - load.start, phase_seconds) + place % each_phase]
            tasks.append(calls.create_task(_call(classify, message, moment, load.deadline_seconds)))
            place += 1
    return [task.result() for task in tasks]


def cancelling(load: LoadSpec, callers: int, within_seconds: float) -> list[CallOutcome]:
    """Runs a closed loop of callers who cancel each call at a uniformly random moment within `within_seconds`."""
    return asyncio.run(_cancelling(load, callers, within_seconds))


async def _cancelling(load: LoadSpec, callers: int, within_seconds: float) -> list[CallOutcome]:
    messages, ended = cycle(_request_messages(load)), list[CallOutcome]()

    async def caller(number: int) -> None:
        random_source = random.Random(f"{load.seed} {number}")
        while (started := time.monotonic()) < load.start + load.seconds:
            call = classify(next(messages), timeout=load.deadline_seconds)
            timer = asyncio.get_running_loop().call_later(random_source.uniform(0, within_seconds), call.cancel)
            code: grpc.StatusCode = await call.code()
            timer.cancel()
            ended.append(CallOutcome(started, time.monotonic(), code.name))

    async with connect(load.target) as classify:
        await sleep_until(load.start)
        await asyncio.gather(*(caller(number) for number in range(callers)))
    return ended


def phase_index(offset: float, phase_seconds: tuple[float, ...]) -> int:
    """Returns the index of the phase at `offset` seconds after the start."""
    ends = [sum(phase_seconds[: place + 1]) for place in range(len(phase_seconds))]
    return sum(offset >= end for end in ends)


async def _call(classify: Any, message: bytes, intended: float, deadline_seconds: float | None) -> CallOutcome:
    code: grpc.StatusCode = await classify(message, timeout=deadline_seconds).code()
    return CallOutcome(intended, time.monotonic(), code.name)


@asynccontextmanager
async def connect(target: str) -> AsyncIterator[Any]:
    """Opens a connection and yields its `Classify`, which maps serialized requests to serialized responses."""
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        await channel.channel_ready()
        yield channel.unary_unary(SERVICE + "Classify")


async def sleep_until(moment: float) -> None:
    """Sleeps until a moment of `time.monotonic`; lets other tasks run even if it has passed."""
    await asyncio.sleep(max(moment - time.monotonic(), 0.0))


def _request_messages(load: LoadSpec) -> list[bytes]:
    """Returns a serialized `ClassifyRequest` for each image."""
    requests = (v1.ClassifyRequest(image=v1.Image(encoded=each), model=load.model, top_k=1) for each in load.images)
    return [request.SerializeToString() for request in requests]
