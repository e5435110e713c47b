"""Which images of one call are read when, and in which order their outcomes are returned.

Shared by the blocking and the asyncio client, which differ only in how they run many calls at once: threads or tasks.
"""

import os
from collections.abc import AsyncIterable, Iterable
from typing import Generic, TypeVar

from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.images.image_source import ImageSource

DEFAULT_CONCURRENCY = 16

Item = TypeVar("Item")
Images = TypeVar("Images", bound=Iterable[ImageSource] | AsyncIterable[ImageSource])


def check_concurrency(concurrency: int) -> int:
    """Returns the argument.

    Raises:
        ValueError: if it is not an integer above 0.
    """
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number from 1, not {concurrency!r}")
    return concurrency


def check_images(images: Images) -> Images:
    """Returns the argument, unless it is a single image, whose characters, bytes or lines are not images.

    Raises:
        TypeError: if it is not an iterable of images.
    """
    is_one_image = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike) or callable(
        getattr(images, "read", None)
    )
    if is_one_image or not (isinstance(images, AsyncIterable) or hasattr(images, "__iter__")):
        raise TypeError(f"classify_many takes an iterable of pictures, not {type(images).__name__}: see classify")
    return images


class ReorderBuffer(Generic[Item]):
    """Holds finished items until it is their turn.

    Invariants:
        - every item is returned once;
        - if ordered, items are returned by index without a gap; otherwise in the order of arrival.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._items: dict[int, Item] = {}
        self._next = 0

    def add(self, index: int, item: Item) -> None:
        """Adds a finished item; indices count from 0, and each occurs once."""
        self._items[index] = item

    def pop(self) -> Item | None:
        """Returns the item whose turn it is; None if it has not arrived."""
        index = self._next if self._ordered else next(iter(self._items), self._next)
        item = self._items.pop(index, None)
        self._next += item is not None
        return item


class Window:
    """The images that were read and whose outcomes were not yet processed by the caller.

    Not thread-safe: it belongs to the thread or the event loop that returns the outcomes.

    Invariants:
        - the window holds at most `concurrency` images, so memory is bounded however many images there are;
        - every image that was read has one outcome;
        - an error of the images' iterable is raised after the outcomes of the images before it.
    """

    def __init__(self, concurrency: int, *, ordered: bool) -> None:
        self._concurrency = concurrency
        self._outcomes: ReorderBuffer[Outcome] = ReorderBuffer(ordered=ordered)
        self._size = 0
        self._read = 0
        self._is_exhausted = False
        self._error: BaseException | None = None

    @property
    def can_read(self) -> bool:
        """Whether another image may be read now."""
        return self._size < self._concurrency and not self._is_exhausted

    @property
    def is_done(self) -> bool:
        """Whether every image was read and every outcome was returned."""
        return self._is_exhausted and not self._size

    def add_image(self) -> int:
        """Adds the image that was just read; returns its index."""
        self._size += 1
        self._read += 1
        return self._read - 1

    def end_of_images(self, error: BaseException | None = None) -> None:
        """Records that there are no more images, or that reading failed."""
        self._is_exhausted, self._error = True, error

    def add_outcome(self, outcome: Outcome) -> None:
        """Adds the outcome of an image."""
        self._outcomes.add(outcome.index, outcome)

    def pop_outcome(self) -> Outcome | None:
        """Returns the next outcome for the caller; None if there is none yet."""
        return self._outcomes.pop()

    def release(self) -> None:
        """Frees the place of an image whose outcome the caller has processed."""
        self._size -= 1

    def raise_read_error(self) -> None:
        """Raises the error that ended the reading, if there was one."""
        if self._error is not None:
            raise self._error
