"""Hands a front end's shared memory to the core: its descriptor is the first that travels over the link's socket."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

_MARK = b"m"


def connect_with_memory(path: str, descriptor: int) -> socket.socket:
    """Connects to the core's socket file, and sends it a descriptor.

    Raises:
        OSError: if nothing listens there.
    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.connect(path)
        socket.send_fds(opened, [_MARK], [descriptor])
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def listen_for_front_ends(path: str) -> socket.socket:
    """Listens on a socket file that only this user may use."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(old)
    listener.listen()
    listener.setblocking(False)
    return listener


async def accept_with_memory(
    listener: socket.socket, accepted: Callable[[socket.socket, int], Awaitable[None]]
) -> None:
    """Accepts front ends for ever; passes on the socket and the descriptor of each."""
    loop = asyncio.get_running_loop()
    while True:
        opened, _ = await loop.sock_accept(listener)
        with suppress(OSError):  # it is gone already
            await _wait_readable(loop, opened)
            _, descriptors, _, _ = socket.recv_fds(opened, len(_MARK), 1)
            if descriptors:
                await accepted(opened, descriptors[0])
                continue
        opened.close()


async def _wait_readable(loop: asyncio.AbstractEventLoop, opened: socket.socket) -> None:
    readable = loop.create_future()
    loop.add_reader(opened, readable.set_result, None)
    try:
        await readable
    finally:
        loop.remove_reader(opened)
