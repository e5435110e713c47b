"""Many calls at once in threads; `aio/many.py` has the same names for an event loop.

The caller's thread iterates over the images and yields the outcomes; each step of the generator does a part of both.
There is one thread for each call that may be in flight: it reads one image, sends it and waits.
"""

import contextlib
import os
import queue
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from linnaeus.client.bulk.concurrency_window import Window
from linnaeus.client.bulk.outcome import Outcome, PendingImage
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.folders import image_paths
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.sync.call_group import CallGroup

Images: TypeAlias = Iterable[ImageSource]
Classify = Callable[[ImageSource, CallGroup], Classification]
# Begins to classify an image without waiting for the answer.
Start = Callable[[PendingImage], "Future[Outcome]"]


def classify_many(
    images: Images, classify: Classify, *, concurrency: int, ordered: bool
) -> Generator[Outcome, None, None]:
    """Classifies every image; `Client.classify_many` documents the arguments and the promises."""
    return run_window(images, _threads(concurrency, classify), Window(concurrency, ordered=ordered))


def folder_images(folder: str | os.PathLike[str], *, recursive: bool, pattern: str | None) -> Sequence[Path]:
    """Lists the images of a folder.

    Raises:
        InvalidImage: if the folder is missing, cannot be read, or holds no image.
    """
    return image_paths(folder, recursive=recursive, pattern=pattern)


def run_window(
    images: Images, starter: "contextlib.AbstractContextManager[Start]", window: Window
) -> Generator[Outcome, None, None]:
    """Starts as many images at once as the window allows; yields their outcomes.

    Args:
        images: the images.
        starter: returns the function that starts an image; leaving it cancels the calls in flight.
        window: decides what is read and in which order outcomes are yielded.
    """
    iterator, ended = iter(images), queue.SimpleQueue[Future[Outcome]]()
    with starter as start:
        while not window.is_done:
            # One image for one outcome keeps the window full, and a slow iterable delays no outcome that is ready.
            if window.can_read:
                _start_next(iterator, window, start, ended)
            for outcome in _ready(ended):
                window.add_outcome(outcome)
            if (next_outcome := window.pop_outcome()) is not None:
                yield next_outcome
                window.release()
            elif not (window.can_read or window.is_done):
                window.add_outcome(ended.get().result())
    window.raise_read_error()


def _start_next(
    iterator: Iterator[ImageSource], window: Window, start: Start, ended: "queue.SimpleQueue[Future[Outcome]]"
) -> None:
    try:
        image = next(iterator)
    except StopIteration:
        window.end_of_images()
    # The caller's own iterable failed: the window raises its error after the outcomes of the images before it.
    except Exception as error:
        window.end_of_images(error)
    else:
        start(PendingImage(window.add_image(), image)).add_done_callback(ended.put)


def _ready(ended: "queue.SimpleQueue[Future[Outcome]]") -> Iterator[Outcome]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield ended.get_nowait().result()


@contextlib.contextmanager
def _threads(concurrency: int, classify: Classify) -> Iterator[Start]:
    """Threads that classify. However the block ends, no thread and no call is left."""
    calls = CallGroup()
    threads = ThreadPoolExecutor(concurrency, thread_name_prefix="linnaeus-classify-many")
    try:
        yield lambda pending: threads.submit(_outcome, pending, classify, calls)
    finally:
        calls.cancel()
        threads.shutdown(cancel_futures=True)


def _outcome(pending: PendingImage, classify: Classify, calls: CallGroup) -> Outcome:
    try:
        return pending.outcome(classify(pending.source, calls))
    except LinnaeusError as error:
        return pending.outcome(error)
