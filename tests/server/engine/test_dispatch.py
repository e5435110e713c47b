"""Tests of the dispatcher: when it notifies the queue."""

import asyncio
from typing import Any

from linnaeus.server.engine.dispatch import Dispatcher


class RecordingQueue:
    """A queue that counts its notifications, and leaves an image to a busy decoder as often as it is told."""

    def __init__(self, left: int = 0) -> None:
        self.notified = 0
        self.left = left
        self.is_done = asyncio.Event()

    def notify(self) -> bool:
        self.notified += 1
        if self.notified > self.left:
            self.is_done.set()
        return self.notified <= self.left


async def test_the_queue_is_notified_once_for_all_requests_of_one_loop_iteration() -> None:
    queue: Any = RecordingQueue()
    dispatcher = Dispatcher(queue)
    for expected in (1, 2):
        for _ in range(3):
            dispatcher.request_admitted()
        await asyncio.sleep(0)
        assert queue.notified == expected


async def test_the_queue_is_notified_again_until_no_image_is_left_to_a_busy_decoder() -> None:
    queue: Any = RecordingQueue(left=2)
    dispatcher = Dispatcher(queue)
    dispatcher.request_admitted()
    async with asyncio.timeout(30):
        await queue.is_done.wait()
    assert queue.notified == 3
