"""A call that is shared: once at a time, for all who ask meanwhile."""

import asyncio

import pytest

from linnaeus.server.process.shared_call import SharedCall


class Work:
    """A call that ends when it is told to, with the number of calls begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        begun = self.begun
        await self.may_end.wait()
        return begun


async def test_those_who_ask_at_once_share_one_call_and_later_ones_have_another() -> None:
    work = Work()
    shared = SharedCall(work)
    waiting = [asyncio.create_task(shared()) for _ in range(4)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 4
    assert await shared() == 2


async def test_the_call_goes_on_without_a_caller_that_is_cancelled() -> None:
    work = Work()
    shared = SharedCall(work)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.may_end.set()
    assert await second == 1


async def test_an_error_goes_to_those_who_wait_and_the_next_call_is_a_new_one() -> None:
    errors = [OSError("once")]

    async def fail_once() -> str:
        if errors:
            raise errors.pop()
        return "done"

    shared = SharedCall(fail_once)
    with pytest.raises(OSError, match="once"):
        await shared()
    assert await shared() == "done"
