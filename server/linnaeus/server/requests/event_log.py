"""What happened to every request and batch, one line of JSON an event: for finding out why a call was late.

Events, each with what else its line has:

    admitted  request, model, version, priority, deadline (null for none), predicted: when its answer is expected
    refused   request, model, version, priority, deadline, reason: it was not admitted
    dropped   request, reason: it was admitted, but will not be run
    batch     batch, device, model, version, requests: a device began to run these together
    ran       batch, succeeded: it has; a batch that a lost device gave back never does, and its requests are in another
    ended     request, outcome: the call is over

Lines are in the order of writing, which may differ from that of `at` by a little. Times
are the engine clock's (CLOCK_MONOTONIC, which all processes of a machine share), in seconds. Writing is cheap but not
free; it is off unless a file is named.
"""

import contextlib
import json
import threading
from pathlib import Path
from typing import Any, Protocol, TextIO

from linnaeus.server.errors import StartupError


class EventLog(Protocol):
    """Any thread may call it; it must not raise.

    Attributes:
        is_on: whether anything is noted; where not, whoever has much to tell saves the trouble.
    """

    is_on: bool

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Notes an event."""

    def close(self) -> None:
        """Whatever was noted can be read from now on."""


class NullEventLog:
    """Notes nothing."""

    is_on = False

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class FileEventLog:
    """Writes to a file, which an earlier run's is replaced by.

    Raises:
        StartupError: the file cannot be written.
    """

    is_on = True

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StartupError(f"trace is {path}, which cannot be written: {error.strerror}") from None
        self._lock = threading.Lock()

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Notes an event; one that comes after `close` is lost."""
        line = json.dumps({"event": event, "at": at, **fields})
        with self._lock, contextlib.suppress(OSError):  # a full disk is no reason to fail a request
            if not self._file.closed:
                self._file.write(line + "\n")

    def close(self) -> None:
        """Closes the file."""
        with self._lock, contextlib.suppress(OSError):
            self._file.close()


def open_event_log(path: str) -> EventLog:
    """An event log in that file; none if there is no path."""
    return FileEventLog(Path(path)) if path else NullEventLog()
