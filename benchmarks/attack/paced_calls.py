"""Hostile calls that are sent at a fixed rate whatever becomes of earlier ones: whole messages over one connection."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import grpc

from benchmarks.attack.hostile_load import PATIENCE_SECONDS, HostileCalls, Target
from benchmarks.overload.grpc_callers import sleep_until
from linnaeus.client.load.generator.unary_calls import CHANNEL_OPTIONS

UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it travels, and the method that it is sent to: /SERVICE/METHOD."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedCalls:
    """Implements `HostileLoad` by unary calls.

    Attributes:
        messages: sent in turn.
        rate: calls a second.
        limit: calls at most; None for as many as the time allows.
        deadline_seconds: of each call; None for no deadline.
        cancelled_within_seconds: each call is cancelled at a random moment within this time; None if none is.
    """

    messages: tuple[Message, ...]
    rate: float
    limit: int | None = None
    deadline_seconds: float | None = None
    cancelled_within_seconds: float | None = None

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """See `HostileLoad`."""
        started = time.monotonic()
        count = round(self.rate * seconds) if self.limit is None else self.limit
        async with grpc.aio.insecure_channel(target.address, options=CHANNEL_OPTIONS) as channel:
            await channel.channel_ready()
            methods: dict[str, Any] = {each.path: channel.unary_unary(each.path) for each in self.messages}
            tasks, chance = set[asyncio.Task[str]](), random.Random(1)
            for number, message in zip(range(count), cycle(self.messages), strict=False):
                await sleep_until(started + number / self.rate)
                call = methods[message.path](message.content, timeout=self.deadline_seconds, metadata=target.metadata)
                tasks.add(asyncio.create_task(self._ended(call, chance)))
            last_sent = time.monotonic()
            return HostileCalls(last_sent, await _outcomes(tasks))

    async def _ended(self, call: Any, chance: random.Random) -> str:
        if self.cancelled_within_seconds is not None:
            after = chance.uniform(0, self.cancelled_within_seconds)
            asyncio.get_running_loop().call_later(after, call.cancel)
        code: grpc.StatusCode = await call.code()
        return code.name


async def _outcomes(tasks: set[asyncio.Task[str]]) -> Counter[str]:
    done, pending = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    outcomes = Counter(task.result() for task in done)
    for task in pending:
        task.cancel()
    if pending:
        outcomes[UNANSWERED] = len(pending)
    return outcomes
