"""Many calls at once on an event loop; `sync/many.py` has the same names for threads.

One task iterates over the images, because an async iterable may not be used by several tasks. Every call has a task.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from linnaeus.client.aio.call_group import CallGroup
from linnaeus.client.bulk.concurrency_window import Window
from linnaeus.client.bulk.outcome import Outcome, PendingImage
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.folders import image_paths
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification

Images: TypeAlias = Iterable[ImageSource] | AsyncIterable[ImageSource]
Classify = Callable[[ImageSource, CallGroup], Awaitable[Classification]]


async def classify_many(
    images: Images, classify: Classify, *, concurrency: int, ordered: bool
) -> AsyncGenerator[Outcome, None]:
    """Classifies every image; `AsyncClient.classify_many` documents the arguments and the promises."""
    window = Window(concurrency, ordered=ordered)
    tasks = _Tasks(classify, window)
    reader = asyncio.create_task(tasks.read(images))
    try:
        while not window.is_done:
            while (outcome := window.pop_outcome()) is not None:
                yield outcome
                tasks.release()
            if not window.is_done:
                await tasks.wait()
        window.raise_read_error()
    finally:
        await tasks.cancel(reader)


async def folder_images(
    folder: str | os.PathLike[str], *, recursive: bool, pattern: str | None
) -> AsyncGenerator[Path, None]:
    """Yields the images of a folder, which is listed in another thread when the first image is requested.

    Raises:
        InvalidImage: if the folder is missing, cannot be read, or holds no image.
    """
    for path in await asyncio.to_thread(image_paths, folder, recursive=recursive, pattern=pattern):
        yield path


class _Tasks:
    """The tasks of one `classify_many`: one that reads images, and one for every call in flight."""

    def __init__(self, classify: Classify, window: Window) -> None:
        self._classify = classify
        self._window = window
        self._calls = CallGroup()
        self._released = asyncio.Event()
        self._in_flight: set[asyncio.Task[Outcome]] = set()
        self._ended: asyncio.Queue[asyncio.Task[Outcome] | None] = asyncio.Queue()

    async def read(self, images: Images) -> None:
        """Reads image after image, each as soon as the window has a place for it, and starts its call."""
        try:
            async with contextlib.aclosing(_iterate(images)) as iterator:
                while await self._can_read():
                    self._start(await anext(iterator))
        except StopAsyncIteration:
            self._window.end_of_images()
        except BaseException as error:
            self._window.end_of_images(error)
            raise
        finally:
            self._ended.put_nowait(None)

    def release(self) -> None:
        """Frees a place in the window."""
        self._window.release()
        self._released.set()

    async def wait(self) -> None:
        """Waits until a call has ended or the reading has; adds the outcomes to the window."""
        ended = [await self._ended.get()]
        while not self._ended.empty():
            ended.append(self._ended.get_nowait())
        for task in ended:
            if task is not None:
                self._window.add_outcome(task.result())

    async def cancel(self, reader: "asyncio.Task[None]") -> None:
        """Cancels the reader and every call; returns when all have ended."""
        tasks = (reader, *self._in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _can_read(self) -> bool:
        while not self._window.can_read:
            self._released.clear()
            await self._released.wait()
        return True

    def _start(self, image: ImageSource) -> None:
        pending = PendingImage(self._window.add_image(), image)
        task = asyncio.create_task(self._outcome(pending))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        task.add_done_callback(self._ended.put_nowait)

    async def _outcome(self, pending: PendingImage) -> Outcome:
        try:
            return pending.outcome(await self._classify(pending.source, self._calls))
        except LinnaeusError as error:
            return pending.outcome(error)


async def _iterate(images: Images) -> AsyncGenerator[ImageSource, None]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image
