"""Streams whose caller sends as fast as it may and reads an answer now and then."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.attack.hostile_load import HostileCalls, Target
from benchmarks.attack.paced_calls import Message
from linnaeus.client.load.generator.unary_calls import CHANNEL_OPTIONS

_WRITTEN, _READ = "written", "read"


@dataclass(frozen=True, slots=True)
class SlowReaders:
    """Implements `HostileLoad`; each stream has a connection of its own and is cancelled at the end.

    Attributes:
        message: written again and again; the answer to it should be long.
        streams: how many at once.
        read_seconds: between two answers that a stream reads.
        most_messages: that a stream writes.
    """

    message: Message
    streams: int
    read_seconds: float
    most_messages: int

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """See `HostileLoad`."""
        ended = Counter[str]()
        async with asyncio.TaskGroup() as streams:
            for _ in range(self.streams):
                streams.create_task(self._stream(target, seconds, ended))
        return HostileCalls(time.monotonic(), ended)

    async def _stream(self, target: Target, seconds: float, ended: Counter[str]) -> None:
        async with grpc.aio.insecure_channel(target.address, options=CHANNEL_OPTIONS) as channel:
            call: Any = channel.stream_stream(self.message.path)(metadata=target.metadata)
            with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(self._write(call, ended), self._read(call, ended))
            call.cancel()

    async def _write(self, call: Any, ended: Counter[str]) -> None:
        for _ in range(self.most_messages):
            await call.write(self.message.content)
            ended[_WRITTEN] += 1

    async def _read(self, call: Any, ended: Counter[str]) -> None:
        while True:
            await asyncio.sleep(self.read_seconds)
            await call.read()
            ended[_READ] += 1
