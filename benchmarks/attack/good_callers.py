"""The good callers: each sends the same image at a steady pace over a connection of its own, with a deadline.

They run in a process of their own and tell of each call as it ends. They judge nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import grpc

from benchmarks.attack.hostile_load import Target
from benchmarks.attack.paced_calls import Message
from benchmarks.common.child_process import ChildProcess
from benchmarks.overload.grpc_callers import OK, CallOutcome, sleep_until
from linnaeus.client.load.generator.unary_calls import CHANNEL_OPTIONS


@dataclass(frozen=True, slots=True)
class GoodLoad:
    """What the good callers send.

    Attributes:
        callers: the server as each of them sees it.
        message: what each of them sends.
        deadline_seconds: of each call.
    """

    callers: tuple[Target, ...]
    message: Message
    deadline_seconds: float


class GoodCallers:
    """Sends calls, at even distances and by each caller in turn, until the `with` block ends.

    Args:
        load: what is sent, and by whom.
        rate: calls a second of all callers together.
    """

    def __init__(self, load: GoodLoad, rate: float) -> None:
        self._child = ChildProcess(_call_in_process, load, rate)
        self.ended: list[CallOutcome] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.connection.send(None)
        while (outcome := self._child.connection.recv()) is not None:
            self.ended.append(outcome)
        self._child.join()

    def wait_until(self, moment: float) -> None:
        """Adds to `ended` what ends until a moment of `time.monotonic`."""
        while (left := moment - time.monotonic()) > 0:
            if self._child.connection.poll(left):
                self.ended.append(self._child.connection.recv())


def closed_loop(load: GoodLoad, seconds: float) -> float:
    """Returns the answers a second that the callers get when each sends the next call after the last one's end."""
    return asyncio.run(_closed_loop(load, seconds))


async def _closed_loop(load: GoodLoad, seconds: float) -> float:
    async def caller(classify: Any, target: Target) -> int:
        answered = 0
        while time.monotonic() < end:
            code = await classify(load.message.content, timeout=10 * seconds, metadata=target.metadata).code()
            answered += code is grpc.StatusCode.OK
        return answered

    async with _connect(load) as methods:
        started = time.monotonic()
        end = started + seconds
        answered = await asyncio.gather(*map(caller, methods, load.callers))
        return sum(answered) / (time.monotonic() - started)


def _call_in_process(connection: Connection, load: GoodLoad, rate: float) -> None:
    asyncio.run(_call_until_stopped(connection, load, rate))


async def _call_until_stopped(connection: Connection, load: GoodLoad, rate: float) -> None:
    async with _connect(load) as methods, asyncio.TaskGroup() as calls:
        connection.send(OK)
        started = time.monotonic()
        for number in count():
            await sleep_until(intended := started + number / rate)
            if connection.poll():
                break
            place = number % len(methods)
            calls.create_task(_call(connection, load, methods[place], load.callers[place], intended))
    connection.send(None)


async def _call(connection: Connection, load: GoodLoad, classify: Any, target: Target, intended: float) -> None:
    call = classify(load.message.content, timeout=load.deadline_seconds, metadata=target.metadata)
    code: grpc.StatusCode = await call.code()
    connection.send(CallOutcome(intended, time.monotonic(), code.name))


@asynccontextmanager
async def _connect(load: GoodLoad) -> AsyncIterator[Sequence[Any]]:
    """Opens a connection for each caller and yields their methods."""
    async with AsyncExitStack() as opened:
        channels = [
            await opened.enter_async_context(grpc.aio.insecure_channel(caller.address, options=CHANNEL_OPTIONS))
            for caller in load.callers
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield [channel.unary_unary(load.message.path) for channel in channels]
