"""Shared memory in which the pixels of a front end reach the core without a copy through the socket.

This module owns the memory and its division into slots. It must not know messages, models or requests.

    slot = writer.write(pixels)                        # front end; None: wait until a slot is freed
    pixels = reader.view(slot, (224, 224, 3))          # core; no copy
    writer.free(slot)                                  # front end, once the core needs the pixels no more
"""

import itertools
import math
import mmap
import os
import tempfile
import threading
from typing import NamedTuple, TypeAlias

import numpy

from linnaeus.server.runtime.runner import Pixels

DEFAULT_SIZE = 64 << 20
UNIT = 4 << 10  # a page: a smaller unit makes `write` slower, as the bitmap is longer

PixelData: TypeAlias = bytes | bytearray | memoryview | Pixels


class Slot(NamedTuple):
    """A part of a region that holds one image.

    Attributes:
        offset: first byte.
        length: number of bytes.
        generation: number of the hand-out, unique within the region.
    """

    offset: int
    length: int
    generation: int


class PixelWriter:
    """The front end's end of a region: creates it, copies pixels into it and hands out their slots.

    The region is anonymous: it has no name that others could open or that could be left behind, and the size of
    /dev/shm does not limit it. A page takes memory once it is written, and until `close`. Slots are handed out lowest
    address first, so what the process keeps resident follows the most that it held at once, not the region's size.

    Invariants:
        1. Slots that are held do not overlap, and their bytes do not change.
        2. `write` returns None only if no free range is long enough. With no slot held, the whole region is one range.
        3. `free` of a slot that is not held changes nothing.

    Any thread may call `write` and `free`. `close` must be the last call. Small slots find room before large ones: if
    `write` returns None, the caller must let nothing else be written until a slot is freed and it has tried again.

    Args:
        size: bytes of the region, a multiple of `UNIT`.

    Attributes:
        fd: file descriptor of the region, to send to the core; `close` closes it.
        size: bytes of the region.

    Raises:
        ValueError: if the size is not a positive multiple of `UNIT`.
        OSError: if the region cannot be created.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        if size <= 0 or size % UNIT:
            raise ValueError(f"the size of a region must be a positive multiple of {UNIT} bytes, not {size}")
        self.size = size
        self.fd = _anonymous_file()
        try:
            os.ftruncate(self.fd, size)
            self._memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self._lock = threading.Lock()
        self._units = _UnitBitmap(size // UNIT)
        self._held: dict[int, Slot] = {}
        self._generations = itertools.count(1)

    @property
    def held(self) -> int:
        """Number of slots handed out and not yet freed."""
        return len(self._held)

    def write(self, data: PixelData) -> Slot | None:
        """Copies bytes into the lowest free range that is long enough.

        Args:
            data: bytes, or an array in C order.

        Returns:
            The slot, or None if there is no room for it now.

        Raises:
            TypeError: if the data is not contiguous.
            ValueError: if the data is empty or longer than the region, or the region is closed.
        """
        view = memoryview(data)  # type: ignore[arg-type]  # for Python 3.11, numpy does not declare arrays as buffers
        if not 0 < view.nbytes <= self.size:
            raise ValueError(f"{view.nbytes} bytes do not fit into a region of {self.size} bytes")
        source = view.cast("B")
        slot = self._take(source.nbytes)
        if slot is not None:  # held, so that no other thread writes there: the copy needs no lock
            self._memory[slot.offset : slot.offset + slot.length] = source
        return slot

    def free(self, slot: Slot) -> None:
        """Frees a slot.

        Raises:
            ValueError: if the slot is not held: it was freed already, or never handed out.
        """
        with self._lock:
            if self._held.get(slot.generation) != slot:
                raise ValueError(f"{slot} is not held")
            del self._held[slot.generation]
            self._units.give_back(slot.offset // UNIT, _units_of(slot.length))

    def close(self) -> None:
        """Unmaps the region and closes its descriptor. Readers keep what they have mapped."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.fd)

    def _take(self, length: int) -> Slot | None:
        with self._lock:
            first = self._units.take(_units_of(length))
            if first is None:
                return None
            slot = Slot(first * UNIT, length, next(self._generations))
            self._held[slot.generation] = slot
            return slot


class PixelReader:
    """The core's end of a region: returns its slots as arrays. Any thread may call it.

    The region is mapped read-only, and its size is the file's: a front end cannot have the core read outside it. What
    a front end may do is to change its pixels while they are viewed.

    Args:
        fd: file descriptor of the region; closed here, also in case of an error.

    Raises:
        OSError, ValueError: if the descriptor is not of a file with content.
    """

    def __init__(self, fd: int) -> None:
        try:
            memory = mmap.mmap(fd, os.fstat(fd).st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        self._bytes = numpy.frombuffer(memory, numpy.uint8)

    def view(self, slot: Slot, shape: tuple[int, ...]) -> Pixels:
        """Returns the bytes of a slot as a read-only uint8 array, without a copy.

        Raises:
            ValueError: if the slot is not inside the region or not of this shape, or the reader is closed.
        """
        offset, length, _ = slot
        if not 0 <= offset <= offset + length <= self._bytes.size:
            raise ValueError(f"{slot} is not inside the region of {self._bytes.size} bytes")
        if length != math.prod(shape):
            raise ValueError(f"{slot} has {length} bytes, and pixels of the shape {shape} have {math.prod(shape)}")
        return self._bytes[offset : offset + length].reshape(shape)

    def close(self) -> None:
        """Gives up the region, which is unmapped once no view of it is alive: views stay valid."""
        self._bytes = numpy.empty(0, numpy.uint8)  # mmap.close would raise BufferError while there are views


class _UnitBitmap:
    """Which units of a region are taken: bit n of one integer stands for unit n.

    `take` returns the lowest run of free units that is long enough (first fit). There is nothing to coalesce. Against a
    buddy allocator, which rounds 150,528 bytes up to 262,144, no slot wastes more than one unit. The time does not
    depend on how fragmented the region is: it grows with the highest unit taken, and with the logarithm of the run.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0

    def take(self, length: int) -> int | None:
        """Takes a run of units and returns the first; None if no run of free units is long enough."""
        end = min(self._count, self._taken.bit_length() + length)  # from the highest unit taken on, all are free
        starts = self._taken ^ _ones(end)
        run = 1
        while run < length:  # bit n of `starts`: the units from n to n + run are free
            step = min(run, length - run)
            starts &= starts >> step
            run += step
        if not starts:
            return None
        first = (starts & -starts).bit_length() - 1
        self._taken |= _ones(length) << first
        return first

    def give_back(self, first: int, length: int) -> None:
        """Frees a run of units, all of which are taken."""
        self._taken ^= _ones(length) << first


def _ones(count: int) -> int:
    return (1 << count) - 1


def _units_of(length: int) -> int:
    return -(-length // UNIT)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("linnaeus-pixels", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # of mode 0600, without a name
        return os.dup(file.fileno())
