"""The event log: one line of JSON for each event in the life of a request or batch, to explain late answers.

Every line has `event` and `at`. The events and their further fields:

    admitted  request, model, version, priority, deadline (null for none), predicted (time of the expected answer)
    refused   request, model, version, priority, deadline, reason
    dropped   request, reason: the request was admitted but will not be run
    batch     batch, device, model, version, requests: a device starts to run these requests together
    ran       batch, succeeded: the batch ended; missing if a removed device returned its requests to the queue
    ended     request, outcome: the request is over

Lines are in the order of writing, which may differ slightly from the order of `at`. Times are seconds of the engine's
clock (CLOCK_MONOTONIC, shared by all processes of a machine). Writing has a cost; the log is off unless a file is
configured. This module must not depend on the engine.
"""

import contextlib
import json
import threading
from pathlib import Path
from typing import Any, Protocol, TextIO

from linnaeus.server.errors import StartupError


class EventLog(Protocol):
    """A log of events. Any thread may call it; it must not raise.

    Attributes:
        is_on: whether events are written; if not, callers skip the work of collecting fields.
    """

    is_on: bool

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Writes one event."""

    def close(self) -> None:
        """Flushes the log; events written later are lost."""


class NullEventLog:
    """An event log that discards every event."""

    is_on = False

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class FileEventLog:
    """An event log in a file; an existing file is replaced.

    Raises:
        StartupError: if the file cannot be opened for writing.
    """

    is_on = True

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StartupError(f"trace is {path}, which cannot be written: {error.strerror}") from None
        self._lock = threading.Lock()

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Writes one event; does nothing after `close`."""
        line = json.dumps({"event": event, "at": at, **fields})
        with self._lock, contextlib.suppress(OSError):  # a full disk must not fail a request
            if not self._file.closed:
                self._file.write(line + "\n")

    def close(self) -> None:
        """Closes the file."""
        with self._lock, contextlib.suppress(OSError):
            self._file.close()


def open_event_log(path: str) -> EventLog:
    """Returns an event log that writes to `path`, or one that discards events if `path` is empty."""
    return FileEventLog(Path(path)) if path else NullEventLog()
