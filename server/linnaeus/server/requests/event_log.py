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
configured. A line that cannot be written, as on a full disk, is counted and lost; requests go on. This module must not
depend on the engine.
"""

import contextlib
import errno
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, Protocol

from linnaeus.server.errors import StartupError
from linnaeus.text_files import reason_of

logger = logging.getLogger(__name__)


class EventLog(Protocol):
    """A log of events. Any thread may call it; it must not raise.

    Attributes:
        is_on: whether events are written; if not, callers skip the work of collecting fields.
        lost_lines: number of lines that could not be written.
    """

    is_on: bool
    lost_lines: int

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Writes one event."""

    def close(self) -> None:
        """Flushes the log; events written later are lost."""


class NullEventLog:
    """An event log that discards every event."""

    is_on = False
    lost_lines = 0

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class FileEventLog:
    """An event log in a file; an existing file is replaced.

    The first line that is lost is logged, and the first one that is written after it; no line is torn or mixed with
    another one.

    Raises:
        StartupError: if the file cannot be opened for writing.
    """

    is_on = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lost_lines = 0
        self._is_losing = False
        self._torn = False
        try:
            # Unbuffered: a buffer would keep, and write later, half of what a full disk refused.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from None
        self._lock = threading.Lock()

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Writes one event; does nothing after `close`."""
        line = json.dumps({"event": event, "at": at, **fields}).encode() + b"\n"
        with self._lock:
            if not self._file.closed:
                self._write_line(line)

    def close(self) -> None:
        """Closes the file."""
        with self._lock, contextlib.suppress(OSError):  # every line is written by now, or was reported as lost
            self._file.close()

    def _write_line(self, line: bytes) -> None:
        # After a line that is there in part only, the next one begins on a line of its own.
        whole = b"\n" + line if self._torn else line
        try:
            written = self._file.write(whole)
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if written == len(whole):
            self._recover()
            return
        self._torn = self._torn or bool(written)
        self._lose(os.strerror(errno.ENOSPC))

    def _lose(self, reason: str) -> None:
        self.lost_lines += 1
        if not self._is_losing:
            self._is_losing = True
            fields = {"event": "trace_lost", "file": str(self._path)}
            logger.error("the trace %s loses lines: %s", self._path, reason, extra={"event": fields})

    def _recover(self) -> None:
        self._torn = False
        if self._is_losing:
            self._is_losing = False
            fields = {"event": "trace_written", "file": str(self._path), "lost_lines": self.lost_lines}
            sentence = "the trace %s is written again; it lost %d lines in all"
            logger.warning(sentence, self._path, self.lost_lines, extra={"event": fields})


def cannot_write(path: Path, error: OSError) -> StartupError:
    """Returns the error for a file that cannot be opened for writing."""
    return StartupError(f"trace is {path}, which cannot be written: {reason_of(error)}")


def open_event_log(path: str) -> EventLog:
    """Returns an event log that writes to `path`, or one that discards events if `path` is empty."""
    return FileEventLog(Path(path)) if path else NullEventLog()
