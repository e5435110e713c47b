"""Which pictures the command line means: files, folders, standard input, and lists of names.

Owns the way from words to sources; what is in a file is for the client to find out. A folder that cannot be listed is
kept as a failure beside the rest, so that it hurts no other.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.folders import image_paths
from linnaeus.client.transport.message_size import MAX_MESSAGE_BYTES

STANDARD_INPUT = "-"
_PIECE_BYTES = 65_536


@dataclass(slots=True)
class Sources:
    """The pictures of one run, gone through once.

    Attributes:
        arguments: files, folders and `-`, in their order.
        names: a file that names one picture a line; `-` is standard input; None: no such list.
        recursive: whether folders are meant with all below them.
        standard_input: the picture that `-` stands for, read before.
        failures: what could not be listed, complete when the pictures were gone through.
    """

    arguments: Sequence[str]
    names: str | None = None
    recursive: bool = False
    standard_input: bytes = b""
    failures: list[tuple[str, InvalidImage]] = field(default_factory=list)

    def count(self) -> int | None:
        """How many pictures there are; None where only reading a pipe could tell. Lists the folders, opens no picture.

        Raises:
            OSError: the list cannot be read.
        """
        if self.names is not None and not _is_kept(self.names):
            return None
        apart = Sources(self.arguments, self.names, self.recursive)
        return sum(1 for _ in apart._given()) + sum(
            1 for name in _kept_lines(self.names) for _ in apart._expanded(name)
        )

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Paths as they were given, and the content of standard input."""
        for source in self._given():
            yield source
        if self.names is not None:
            async for line in _lines(self.names):
                for source in self._expanded(line):
                    yield source

    def _given(self) -> Iterator[str | bytes]:
        for argument in self.arguments:
            if argument == STANDARD_INPUT:
                yield self.standard_input
            else:
                yield from self._expanded(argument)

    def _expanded(self, name: str) -> Iterator[str]:
        """A folder's pictures, or the name itself."""
        if not os.path.isdir(name):
            yield name
            return
        try:
            yield from map(str, image_paths(name, recursive=self.recursive))
        except InvalidImage as error:
            self.failures.append((name, error))


def read_standard_input() -> bytes:
    """Reads one picture from standard input, whole; of one that is too large, enough to see that it is.

    Read before the event loop runs: a thread that waits for a terminal could not be interrupted.
    """
    return sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)


def _is_kept(names: str) -> bool:
    """Whether the list is a file on disk, which can be read twice and never makes anybody wait."""
    return names != STANDARD_INPUT and os.path.isfile(names)


def _kept_lines(names: str | None) -> Iterator[str]:
    if names is not None:
        with open(names, "rb") as file:
            yield from filter(None, map(_name, file))


def _name(line: bytes) -> str:
    return os.fsdecode(line.rstrip(b"\r\n"))


async def _lines(names: str) -> AsyncIterator[str]:
    if _is_kept(names):
        for name in _kept_lines(names):
            yield name
        return
    descriptor = sys.stdin.fileno() if names == STANDARD_INPUT else os.open(names, os.O_RDONLY)
    rest = b""
    async with contextlib.aclosing(_pieces(descriptor)) as pieces:
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for name in filter(None, map(_name, whole)):
                yield name
    if rest:
        yield _name(rest)


async def _pieces(descriptor: int) -> AsyncGenerator[bytes, None]:
    """What comes over a pipe or a terminal, at most two pieces ahead, beside the event loop.

    The thread is a daemon and reads without Python's buffers: blocked in a read, it keeps no Ctrl-C from its end.
    """
    loop, pieces, places = asyncio.get_running_loop(), asyncio.Queue[bytes](), threading.Semaphore(2)

    def read() -> None:
        # The loop is closed: nobody waits for more.
        with contextlib.suppress(RuntimeError):
            piece = b"."
            while piece:
                places.acquire()
                piece = os.read(descriptor, _PIECE_BYTES)
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

    threading.Thread(target=read, name="linnaeus-standard-input", daemon=True).start()
    while piece := await pieces.get():
        places.release()
        yield piece
