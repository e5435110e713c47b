"""Tests of the dispatcher: when it notifies the queue, and when the event loop runs a request itself."""

import asyncio
from typing import Any

import pytest

from linnaeus.server.engine.dispatch import Dispatcher
from linnaeus.server.requests.lane_key import LaneKey

DEVICE = "fake:0"
LANE = LaneKey("short", 1, 1)


class DispatcherHarness:
    """A dispatcher with a fake queue and device that record their calls; each run takes `run_seconds`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.run_seconds = 0.0005
        self.has_images = True
        self.calls: list[str] = []
        queue: Any = self
        self.dispatcher = Dispatcher(queue, {LANE: DEVICE}.get, self.run_inline, lambda: self.now)

    def notify(self) -> bool:
        self.calls.append("notified")
        return False

    def run_inline(self, device: str) -> bool:
        assert device == DEVICE
        if not self.has_images:
            return False
        self.now += self.run_seconds
        self.calls.append("run")
        return True

    async def admit(self, *in_flight: int, lane: LaneKey | None = LANE) -> list[str]:
        """Admits requests in one iteration of the event loop, with these numbers in flight; returns the calls made."""
        self.calls.clear()
        for count in in_flight:
            self.dispatcher.request_admitted(count, lane)
        await asyncio.sleep(0)
        return list(self.calls)

    async def reach_inline_runs(self) -> None:
        """Admits lone requests until one runs on the event loop."""
        while await self.admit(1) != ["run"]:
            pass


@pytest.fixture
async def harness() -> DispatcherHarness:
    return DispatcherHarness()


async def test_the_queue_is_notified_once_for_all_requests_of_one_loop_iteration(harness: DispatcherHarness) -> None:
    assert await harness.admit(1, 2, 3) == ["notified"]
    assert await harness.admit(4) == ["notified"]


async def test_after_many_lone_requests_the_event_loop_runs_all_but_every_sixteenth(
    harness: DispatcherHarness,
) -> None:
    calls = [await harness.admit(1) for _ in range(64)]
    assert calls == [["notified"]] * 32 + ([["run"]] * 15 + [["notified"]]) * 2


@pytest.mark.parametrize("in_flight", [(2,), (1, 2)], ids=["in flight", "in the same iteration"])
async def test_concurrent_requests_go_to_the_workers_until_as_many_lone_ones_follow(
    harness: DispatcherHarness, in_flight: tuple[int, ...]
) -> None:
    await harness.reach_inline_runs()
    assert await harness.admit(*in_flight) == ["notified"]
    assert [await harness.admit(1) for _ in range(33)] == [["notified"]] * 32 + [["run"]]


@pytest.mark.parametrize("lane", [None, LaneKey("long", 1, 1)], ids=["image to decode", "model with long runs"])
async def test_a_request_that_the_event_loop_must_not_run_goes_to_the_workers(
    harness: DispatcherHarness, lane: LaneKey | None
) -> None:
    await harness.reach_inline_runs()
    assert await harness.admit(1, lane=lane) == ["notified"]
    assert await harness.admit(1) == ["run"], "the previous request counts as alone"


async def test_an_inline_run_without_images_notifies_the_queue(harness: DispatcherHarness) -> None:
    await harness.reach_inline_runs()
    harness.has_images = False  # as after a cancellation
    assert await harness.admit(1) == ["notified"]


async def test_a_long_inline_run_sends_the_next_requests_to_the_workers(harness: DispatcherHarness) -> None:
    await harness.reach_inline_runs()
    harness.run_seconds = 0.02
    assert await harness.admit(1) == ["run"]
    assert all([await harness.admit(1) == ["notified"] for _ in range(1_000)])
