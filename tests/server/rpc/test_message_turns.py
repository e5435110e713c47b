"""Streams take turns with each other and pause while other calls are open, and do neither while they are alone."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from linnaeus.server.rpc.message_turns import MessageTurns

CORES, MESSAGES = 2, 16
STREAMS = 40


class SimulatedSelector(selectors.DefaultSelector):
    """Advances the clock by what the event loop would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0.0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only while all tasks wait."""

    def __init__(self) -> None:
        self.simulated = SimulatedSelector()
        super().__init__(self.simulated)

    def time(self) -> float:
        return self.simulated.now


def simulate(scenario: Callable[[MessageTurns], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario(MessageTurns(CORES))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(run())


async def seconds_of(turns: MessageTurns, rounds: int) -> float:
    """Returns the seconds in which streams take `MESSAGES` turns `rounds` times; each gets as many as the others."""
    taken = [0] * STREAMS

    async def stream(number: int) -> None:
        while sum(taken) < MESSAGES * rounds:
            await turns.take()
            taken[number] += 1
            await asyncio.sleep(0)  # the message arrives in a later iteration

    started = asyncio.get_running_loop().time()
    streams = [asyncio.create_task(stream(number)) for number in range(STREAMS)]
    await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
    seconds = asyncio.get_running_loop().time() - started
    await asyncio.gather(*streams)
    assert max(taken) - min(taken) <= 2
    return seconds


def test_streams_alone_never_wait() -> None:
    async def scenario(turns: MessageTurns) -> None:
        assert await seconds_of(turns, 100) == 0.0

    simulate(scenario)


def test_a_call_that_has_ended_slows_no_stream() -> None:
    async def scenario(turns: MessageTurns) -> None:
        turns.call_came("probe")
        turns.call_ended("probe")
        assert await seconds_of(turns, 100) == 0.0

    simulate(scenario)


def test_while_a_call_is_open_all_streams_together_take_16_messages_a_millisecond_and_none_starves() -> None:
    async def scenario(turns: MessageTurns) -> None:
        turns.call_came("call")
        assert await seconds_of(turns, 4) == pytest.approx(0.003, rel=0.02)

    simulate(scenario)


def test_the_longer_a_call_waits_the_longer_streams_pause() -> None:
    async def scenario(turns: MessageTurns) -> None:
        turns.call_came("waiting")
        turns.call_came("other")
        await asyncio.sleep(0.1)
        turns.call_ended("other")
        assert await seconds_of(turns, 2) == pytest.approx(0.1 / 5)
        assert await seconds_of(turns, 2) > 0.12 / 5
        turns.call_ended("waiting")
        await asyncio.sleep(0.2)  # the last pause
        assert await seconds_of(turns, 20) == 0.0

    simulate(scenario)


def test_a_call_that_never_ends_slows_streams_for_a_second() -> None:
    async def scenario(turns: MessageTurns) -> None:
        turns.call_came("for ever")
        await asyncio.sleep(1.001)
        assert await seconds_of(turns, 100) == 0.0

    simulate(scenario)


def test_a_stream_that_ended_while_it_waited_holds_up_nobody() -> None:
    async def scenario(turns: MessageTurns) -> None:
        turns.call_came("call")
        for _ in range(MESSAGES):
            await turns.take()
        ended = [asyncio.ensure_future(turns.take()) for _ in range(MESSAGES)]
        last = asyncio.ensure_future(turns.take())
        await asyncio.sleep(0)
        for each in ended:
            each.cancel()
        await last
        assert asyncio.get_running_loop().time() == pytest.approx(0.001)

    simulate(scenario)
