"""The images that the command line names: files, folders, standard input, and lists of names.

Expands the arguments into paths; the client opens the files. A folder that cannot be listed, or a list that is no text,
is recorded as a failure and does not affect the other arguments.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from linnaeus.client.cli.classify.name_list import NameList
from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.folders import image_paths
from linnaeus.client.transport.message_size import MAX_MESSAGE_BYTES
from linnaeus.text_files import TextFileError

STANDARD_INPUT = "-"
_CHUNK_BYTES = 65_536
_CHUNKS_AHEAD = 2


@dataclass(slots=True)
class Inputs:
    """The images of one run; may be iterated over once.

    Attributes:
        arguments: files, folders and `-`, in their order.
        names: a file with one path a line; `-` for standard input; None for no such file.
        recursive: whether folders include their subfolders.
        standard_input: the image that `-` in `arguments` stands for.
        failures: the folders and the list that could not be read; complete after the iteration.
    """

    arguments: Sequence[str]
    names: str | None = None
    recursive: bool = False
    standard_input: bytes = b""
    failures: list[tuple[str, InvalidImage]] = field(default_factory=list)

    def count(self) -> int | None:
        """Returns the number of images; None if that is known only after a pipe was read. Opens no image.

        Raises:
            OSError: if the file of names cannot be read.
        """
        if self.names is not None and not _is_regular_file(self.names):
            return None
        copy = Inputs(self.arguments, self.names, self.recursive)  # keeps `failures` of this object empty
        count = sum(1 for _ in copy._from_arguments())
        with contextlib.suppress(TextFileError):  # the iteration reports it
            for name in _names_of_file(self.names):
                count += sum(1 for _ in copy._expand(name))
        return count

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Yields paths as they were given, and the content of standard input."""
        for source in self._from_arguments():
            yield source
        if self.names is None:
            return
        try:
            async for name in _names(self.names):
                # Elsewhere a dash means standard input; in a list it can only be a file.
                for source in self._expand(os.path.join(os.curdir, name) if name == STANDARD_INPUT else name):
                    yield source
        except (OSError, TextFileError) as error:
            cause = getattr(error, "strerror", None) or error
            self.failures.append((self.names, InvalidImage(f"{self.names}: {cause}")))

    def _from_arguments(self) -> Iterator[str | bytes]:
        for argument in self.arguments:
            if argument == STANDARD_INPUT:
                yield self.standard_input
            else:
                yield from self._expand(argument)

    def _expand(self, name: str) -> Iterator[str]:
        """Yields the images of a folder, or the name itself."""
        if not os.path.isdir(name):
            yield name
            return
        try:
            yield from map(str, image_paths(name, recursive=self.recursive))
        except InvalidImage as error:
            self.failures.append((name, error))


def read_standard_input() -> bytes:
    """Reads one image from standard input; of an oversized one, enough to detect that it is.

    To be called before the event loop runs: a thread that waits for a terminal could not be interrupted.
    """
    return sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)


def _is_regular_file(names: str) -> bool:
    """Returns whether the list can be read twice and without blocking."""
    return names != STANDARD_INPUT and os.path.isfile(names)


def _names_of_file(path: str | None) -> Iterator[str]:
    if path is None:
        return
    names = NameList()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield from names.read(piece)
    yield from names.end()


async def _names(path: str) -> AsyncIterator[str]:
    if _is_regular_file(path):
        for name in _names_of_file(path):
            yield name
        return
    descriptor = sys.stdin.fileno() if path == STANDARD_INPUT else os.open(path, os.O_RDONLY)
    names = NameList()
    async with contextlib.aclosing(_chunks(descriptor)) as chunks:
        async for chunk in chunks:
            for name in names.read(chunk):
                yield name
    for name in names.end():
        yield name


async def _chunks(descriptor: int) -> AsyncGenerator[bytes, None]:
    """Yields what comes over a pipe or a terminal, read in another thread and not far ahead.

    The thread is a daemon and reads without Python's buffers: when it blocks in a read, it does not delay Ctrl-C.

    Raises:
        OSError: if it cannot be read.
    """
    loop, free = asyncio.get_running_loop(), threading.Semaphore(_CHUNKS_AHEAD)
    chunks = asyncio.Queue[bytes | OSError]()

    def read() -> None:
        # RuntimeError: the loop is closed, so nothing waits for more.
        with contextlib.suppress(RuntimeError):
            chunk: bytes | OSError = b"."
            while chunk and not isinstance(chunk, OSError):
                free.acquire()
                chunk = _read(descriptor)
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, name="linnaeus-standard-input", daemon=True).start()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        free.release()
        yield chunk


def _read(descriptor: int) -> bytes | OSError:
    """Reads a piece; returns an error, because a thread that raised it would leave the loop waiting."""
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except OSError as error:
        return error
