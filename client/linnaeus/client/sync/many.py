"""Many pictures through the blocking client: a bounded window of calls, the outcomes in order or as they come.

Owns the window and the order; which thread does what is the whole of it:
    - the caller's thread takes the pictures from their iterable and gives the outcomes out, between two of its steps;
    - as many threads as there may be calls each read one picture, send it and wait.

Knows nothing of channels: how one picture is classified comes in as a function. `many_aio` is the same for asyncio.
"""

import contextlib
import os
import queue
import time
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.sync.call_group import Calls

DEFAULT_CONCURRENCY = 16

Item = TypeVar("Item")
ManyImages = TypeVar("ManyImages", bound=Iterable[ImageSource] | AsyncIterable[ImageSource])
# Classifies one picture through calls that can be cancelled together.
Ask = Callable[[ImageSource, Calls], Classification]
# Begins with the picture of that index.
Start = Callable[[int, ImageSource], "Future[Outcome]"]


def check_concurrency(concurrency: int) -> int:
    """Returns it.

    Raises:
        ValueError: it is no number above 0.
    """
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number from 1, not {concurrency!r}")
    return concurrency


def check_images(images: ManyImages) -> ManyImages:
    """Returns them, unless they are one picture, whose letters, bytes or lines nobody means.

    Raises:
        TypeError: they are no iterable of pictures.
    """
    one = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    one = one or callable(getattr(images, "read", None))
    if one or not (isinstance(images, AsyncIterable) or hasattr(images, "__iter__")):
        raise TypeError(f"classify_many takes an iterable of pictures, not {type(images).__name__}: see classify")
    return images


class Shelf(Generic[Item]):
    """Where what is finished waits for its turn.

    Invariants:
        - every item comes out once;
        - ordered: by index, without a gap; otherwise in the order of arrival.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._waiting: dict[int, Item] = {}
        self._next = 0

    def put(self, index: int, item: Item) -> None:
        """Lays down an item that is finished; the indices count from 0, and each comes once."""
        self._waiting[index] = item

    def take(self) -> Item | None:
        """Returns the item whose turn it is; None where there is none yet."""
        index = self._next if self._ordered else next(iter(self._waiting), self._next)
        item = self._waiting.pop(index, None)
        self._next += item is not None
        return item


class _Reader:
    """The pictures one by one, and what ended them."""

    def __init__(self, images: Iterable[ImageSource]) -> None:
        self._images = enumerate(images)
        self.ended = False
        self.failure: Exception | None = None

    def next(self) -> tuple[int, ImageSource] | None:
        """Returns the next picture with its index; None at the end, when `failure` tells an error from an end."""
        try:
            return next(self._images)
        except StopIteration:
            self.ended = True
        # The boundary to the caller's own iterable: its error is kept until what is under way has come back.
        except Exception as failure:
            self.ended, self.failure = True, failure
        return None


def classify_many(
    images: Iterable[ImageSource], ask: Ask, *, concurrency: int, ordered: bool
) -> Generator[Outcome, None, None]:
    """Classifies every picture; see `Client.classify_many` for what is promised."""
    return through_window(images, _workers(concurrency, ask), concurrency=concurrency, ordered=ordered)


def through_window(
    images: Iterable[ImageSource],
    workers: "contextlib.AbstractContextManager[Start]",
    *,
    concurrency: int,
    ordered: bool,
) -> Generator[Outcome, None, None]:
    """Begins with so many pictures at once as may be, through workers that end with the block."""
    finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    shelf: Shelf[Outcome] = Shelf(ordered=ordered)
    reader, held = _Reader(images), 0
    with workers as start:
        while held or not reader.ended:
            # One picture for one outcome: the window stays full, and a slow iterable keeps back no finished answer.
            if held < concurrency and not reader.ended and (picture := reader.next()) is not None:
                start(*picture).add_done_callback(finished.put)
                held += 1
            may_read = held < concurrency and not reader.ended
            for outcome in _arrived(finished):
                shelf.put(outcome.index, outcome)
            if (turn := shelf.take()) is not None:
                held -= 1
                yield turn
            elif held and not may_read:
                outcome = finished.get().result()
                shelf.put(outcome.index, outcome)
    if reader.failure is not None:
        raise reader.failure


def _arrived(finished: "queue.SimpleQueue[Future[Outcome]]") -> Iterator[Outcome]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield finished.get_nowait().result()


@contextlib.contextmanager
def _workers(concurrency: int, ask: Ask) -> Iterator[Start]:
    """Threads that classify; none is left, and no call either, however the block ends."""
    calls = Calls()
    threads = ThreadPoolExecutor(concurrency, thread_name_prefix="linnaeus-classify-many")
    try:
        yield lambda index, image: threads.submit(_outcome, index, image, ask, calls)
    finally:
        calls.cancel()
        threads.shutdown(cancel_futures=True)


def _outcome(index: int, image: ImageSource, ask: Ask, calls: Calls) -> Outcome:
    started = time.perf_counter()
    try:
        result, error = ask(image, calls), None
    except LinnaeusError as failure:
        result, error = None, failure
    return Outcome(index, image, result, error, time.perf_counter() - started)
