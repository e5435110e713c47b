"""A child of the supervisor: starts a process, talks with it and waits for its end."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from linnaeus.server.app.fork_server import ForkServer
from linnaeus.server.link.connection import Connection
from linnaeus.server.link.control_messages import Start, ToSupervisor
from linnaeus.server.link.messages import Message
from linnaeus.server.process.daemon_threads import run_in_thread

_UNKNOWN = 255
# The fork server tells an exit code at once, unless it stands still.
_LONGEST_WAIT_SECONDS = 1.0


class ChildProcess:
    """One run of a process. Belongs to the event loop's thread.

    Args:
        fork_server: starts it.
        start: what it is to be.
        on_message: receives its messages.
    """

    def __init__(self, fork_server: ForkServer, start: Start, on_message: Callable[[Any], None]) -> None:
        self.start = start
        self._fork_server = fork_server
        self._on_message = on_message
        self._process: BaseProcess | None = None
        self._ended = asyncio.Event()
        self._connection: Connection[ToSupervisor] = Connection(
            ToSupervisor, self._received, lambda _: self._ended.set()
        )

    async def spawn(self) -> None:
        """Starts the process.

        Raises:
            OSError: if the process may not be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await run_in_thread(
                "linnaeus-spawn", lambda: self._fork_server.start(self.start.role, theirs)
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=ours)
        self.send(self.start)

    def send(self, message: Message) -> None:
        """Sends a message to the process; nothing happens if it has ended."""
        self._connection.send(message)

    async def wait(self) -> int:
        """Waits for the end of the process and returns its exit code, below 0 for a signal; 255 if it is unknown.

        The end is that of its socket: a process outlives the fork server, which then cannot tell its exit code.
        """
        if self._process is None:
            raise RuntimeError("the process was not started")
        await self._ended.wait()
        process = self._process
        await run_in_thread("linnaeus-wait", lambda: process.join(_LONGEST_WAIT_SECONDS))
        return _UNKNOWN if process.exitcode is None else process.exitcode

    def terminate(self) -> None:
        """Asks the process to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal; not by `multiprocessing`, which takes a process for ended if the fork server is."""
        if self._process is not None and self._process.pid is not None and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _received(self, _: Connection[ToSupervisor], messages: Sequence[ToSupervisor]) -> None:
        for message in messages:
            self._on_message(message)
