"""A child of the supervisor: starts a process, talks with it and waits for its end."""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from linnaeus.server.link.connection import Connection
from linnaeus.server.link.control_messages import Start, ToSupervisor
from linnaeus.server.link.messages import Message


class ChildProcess:
    """One run of a process. Belongs to the event loop's thread.

    Args:
        start: what it is to be.
        on_message: receives its messages.

    Attributes:
        pid: its process id; 0 before `spawn`.
    """

    def __init__(self, start: Start, on_message: Callable[[Any], None]) -> None:
        self.start = start
        self.pid = 0
        self._on_message = on_message
        self._process: asyncio.subprocess.Process | None = None
        self._connection: Connection[ToSupervisor] = Connection(ToSupervisor, self._received, lambda _: None)

    async def spawn(self) -> None:
        """Starts the process.

        It gets a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone.

        Raises:
            OSError: if the process may not be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "linnaeus.server.app.child", self.start.role, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.pid = self._process.pid
        await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=ours)
        self.send(self.start)

    def send(self, message: Message) -> None:
        """Sends a message to the process; nothing happens if it has ended."""
        self._connection.send(message)

    async def wait(self) -> int:
        """Waits for the end of the process and returns its exit code, below 0 for a signal."""
        if self._process is None:
            raise RuntimeError("the process was not started")
        code = await self._process.wait()
        self._connection.close()
        return code

    def terminate(self) -> None:
        """Asks the process to end."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _received(self, _: Connection[ToSupervisor], messages: Sequence[ToSupervisor]) -> None:
        for message in messages:
            self._on_message(message)
