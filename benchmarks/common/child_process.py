"""A function that runs in a process of its own, at the other end of a pipe."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class ChildProcess:
    """A process that has started and sent its first message, which says that it is ready.

    It ends with the process that started it.

    Args:
        call: runs in the process; its first argument is the process's end of the pipe.
        arguments: its further arguments.

    Attributes:
        connection: this end of the pipe.
        first_message: what the process sent.
        pid: its process id.

    Raises:
        EOFError: if the process ends before its first message.
    """

    def __init__(self, call: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=call, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()  # otherwise `recv` would not notice that the process has ended
        self.first_message = self.connection.recv()
        self.pid = self._process.pid or 0

    def join(self) -> None:
        """Waits until the process has ended."""
        self._process.join()

    def kill(self) -> None:
        """Kills the process and waits until it has ended."""
        self._process.kill()
        self._process.join()
