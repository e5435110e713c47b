"""Many pictures through the asyncio client: `many`, with tasks in place of threads.

One task reads the pictures, so that an async iterable sees one task only; every picture under way is a task of its own.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from pathlib import Path

from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.folders import picture_paths
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.sync.many import Shelf

AsyncAsk = Callable[[ImageSource], Awaitable[Classification]]
ManyImages = Iterable[ImageSource] | AsyncIterable[ImageSource]


async def classify_many(
    images: ManyImages, ask: AsyncAsk, *, concurrency: int, ordered: bool
) -> AsyncGenerator[Outcome, None]:
    """Classifies every picture; see `AsyncClient.classify_many` for what is promised."""
    window = _Window(ask, concurrency)
    shelf: Shelf[Outcome] = Shelf(ordered=ordered)
    reading = asyncio.create_task(window.fill(images))
    reading.add_done_callback(window.wake)
    try:
        while window.held or not reading.done():
            while (turn := shelf.take()) is not None:
                yield turn
                window.release()
            if window.held or not reading.done():
                for outcome in await window.arrived():
                    shelf.put(outcome.index, outcome)
        reading.result()
    finally:
        await window.end(reading)


async def folder_paths(
    folder: str | os.PathLike[str], *, recursive: bool, pattern: str | None
) -> AsyncGenerator[Path, None]:
    """The pictures of a folder, listed beside the event loop when the first is asked for.

    Raises:
        InvalidImage: there is no such folder, it cannot be read, or there is no picture in it.
    """
    for path in await asyncio.to_thread(picture_paths, folder, recursive=recursive, pattern=pattern):
        yield path


class _Window:
    """The pictures that were read and whose outcomes were not given out yet: at most `concurrency`."""

    def __init__(self, ask: AsyncAsk, concurrency: int) -> None:
        self.held = 0
        self._ask = ask
        self._places = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._finished: asyncio.Queue[asyncio.Task[Outcome] | None] = asyncio.Queue()

    async def fill(self, images: ManyImages) -> None:
        """Reads picture after picture, each as soon as there is a place for it, before it is read."""
        index = 0
        await self._places.acquire()
        async with contextlib.aclosing(_each(images)) as pictures:
            async for image in pictures:
                self._start(index, image)
                index += 1
                await self._places.acquire()

    def release(self) -> None:
        """An outcome was taken: there is a place again."""
        self.held -= 1
        self._places.release()

    def wake(self, _: object) -> None:
        """Ends the wait for an outcome, though there is none."""
        self._finished.put_nowait(None)

    async def arrived(self) -> list[Outcome]:
        """Waits for something to happen; returns what is finished, also nothing."""
        tasks = [await self._finished.get()]
        while not self._finished.empty():
            tasks.append(self._finished.get_nowait())
        return [task.result() for task in tasks if task is not None]

    async def end(self, reading: "asyncio.Task[None]") -> None:
        """Cancels what is under way, and returns when all of it is gone."""
        remaining = (reading, *self._tasks)
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    def _start(self, index: int, image: ImageSource) -> None:
        self.held += 1
        task = asyncio.create_task(self._outcome(index, image))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._finished.put_nowait)

    async def _outcome(self, index: int, image: ImageSource) -> Outcome:
        started = time.perf_counter()
        result: Classification | None = None
        error: LinnaeusError | None = None
        try:
            result = await self._ask(image)
        except LinnaeusError as failure:
            error = failure
        return Outcome(index, image, result, error, time.perf_counter() - started)


async def _each(images: ManyImages) -> AsyncGenerator[ImageSource, None]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image
