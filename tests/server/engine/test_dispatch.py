"""Who is called for what was admitted, and when the event loop runs it itself."""

import asyncio
from typing import Any

import pytest

from linnaeus.server.engine.dispatch import Dispatcher

DEVICE = "fake:0"


class Harness:
    """Dispatcher before a queue that counts its calls, and a device that takes so long for each run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.run_seconds = 0.0005
        self.is_there = True
        self.said: list[str] = []
        queue: Any = self
        self.dispatcher = Dispatcher(queue, self.run_inline, lambda: self.now)

    def notify(self) -> bool:
        self.said.append("called")
        return False

    def run_inline(self, device: str) -> bool:
        assert device == DEVICE
        if not self.is_there:
            return False
        self.now += self.run_seconds
        self.said.append("run")
        return True

    async def admit(self, *in_flight: int, inline_device: str | None = DEVICE) -> list[str]:
        """Images that come in one step of the event loop, with so many in the server; returns what was done."""
        self.said.clear()
        for count in in_flight:
            self.dispatcher.request_admitted(count, inline_device)
        await asyncio.sleep(0)
        return list(self.said)

    async def reach_inline_runs(self) -> None:
        """Enough images come alone for the next to be run here."""
        while await self.admit(1) != ["run"]:
            pass


@pytest.fixture
async def harness() -> Harness:
    return Harness()


async def test_devices_are_called_once_for_all_that_came_in_one_step(harness: Harness) -> None:
    assert await harness.admit(1, 2, 3) == ["called"]
    assert await harness.admit(4) == ["called"]


async def test_the_event_loop_runs_an_image_once_many_were_alone_and_leaves_one_in_sixteen_to_the_threads(
    harness: Harness,
) -> None:
    said = [await harness.admit(1) for _ in range(64)]
    assert said == [["called"]] * 32 + ([["run"]] * 15 + [["called"]]) * 2


@pytest.mark.parametrize("in_flight", [(2,), (1, 2)], ids=["under way", "in the same step"])
async def test_company_sends_all_to_the_threads_until_as_many_were_alone_again(
    harness: Harness, in_flight: tuple[int, ...]
) -> None:
    await harness.reach_inline_runs()
    assert await harness.admit(*in_flight) == ["called"]
    assert [await harness.admit(1) for _ in range(33)] == [["called"]] * 32 + [["run"]]


async def test_an_image_that_takes_a_thread_goes_to_one(harness: Harness) -> None:
    await harness.reach_inline_runs()
    assert await harness.admit(1, inline_device=None) == ["called"]
    assert await harness.admit(1) == ["run"], "it was alone all the same"


async def test_what_is_not_there_to_be_run_is_left_to_the_queue(harness: Harness) -> None:
    await harness.reach_inline_runs()
    harness.is_there = False  # its caller may have left, or it is held back
    assert await harness.admit(1) == ["called"]


async def test_a_run_that_took_the_event_loop_too_long_is_the_last_for_long(harness: Harness) -> None:
    await harness.reach_inline_runs()
    harness.run_seconds = 0.02
    assert await harness.admit(1) == ["run"]
    assert all([await harness.admit(1) == ["called"] for _ in range(1_000)])
