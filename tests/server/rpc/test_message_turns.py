"""Streams take turns with each other while other calls come, and none while they are alone."""

import asyncio

from linnaeus.server.rpc.message_turns import MessageTurns


class Stream:
    """Takes turns as fast as it may; `taken` counts them."""

    def __init__(self, turns: MessageTurns) -> None:
        self.taken = 0
        self.turns = turns
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.turns.take()
            self.taken += 1
            await asyncio.sleep(0)  # the message arrives in a later iteration


async def test_while_other_calls_come_all_streams_together_take_a_turn_an_iteration_and_in_order() -> None:
    turns = MessageTurns()
    turns.call_came()
    streams = [Stream(turns) for _ in range(8)]
    for _ in range(80):
        await asyncio.sleep(0)
    taken = [stream.taken for stream in streams]
    for stream in streams:
        stream.task.cancel()
    assert 60 <= sum(taken) <= 82 and max(taken) - min(taken) <= 1


async def test_streams_alone_take_no_turns() -> None:
    turns = MessageTurns()
    streams = [Stream(turns) for _ in range(8)]
    for _ in range(80):
        await asyncio.sleep(0)
    for stream in streams:
        stream.task.cancel()
    assert min(stream.taken for stream in streams) >= 30


async def test_a_stream_that_ended_while_it_waited_holds_up_nobody() -> None:
    turns = MessageTurns()
    turns.call_came()
    first, ended, last = (asyncio.ensure_future(turns.take()) for _ in range(3))
    await asyncio.sleep(0)
    ended.cancel()
    await asyncio.wait_for(asyncio.gather(first, last), 60)
