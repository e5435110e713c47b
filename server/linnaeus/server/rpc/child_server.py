"""A server as a child process on ports of its own: for demonstrations, tests and benchmarks.

    with ServerProcess("--repository", "model-repository") as server:
        client = Client(server.target)

It must not import torch: the child does.
"""

import json
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self


class ServerProcess:
    """Starts `linnaeus-server` on free ports, waits until it serves, and stops it with SIGTERM at the end.

    Args:
        arguments: further flags.
        start_seconds: how long it may take until it serves.

    Attributes:
        port, metrics_port: known once it listens.
        logs: its log so far, one parsed object an event; lines that are no JSON stand under `message`.

    Raises:
        RuntimeError: it ended, or took too long, before it served; the message has its last words.
    """

    def __init__(self, *arguments: str, start_seconds: float = 120.0) -> None:
        self.port = 0
        self.metrics_port = 0
        self.logs: list[dict[str, Any]] = []
        self._start_seconds = start_seconds
        self._changed = threading.Condition()
        self._ended = False
        command = [sys.executable, "-m", "linnaeus.server", *arguments]
        options = ["--port", "0", "--metrics-port", "0", "--log-format", "json"]
        self.child = subprocess.Popen(
            command + options, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read_logs, name="server-logs", daemon=True)
        self._reader.start()

    @property
    def target(self) -> str:
        """Where its gRPC listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are read."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def __enter__(self) -> Self:
        try:
            self.wait_for("serving")
        except RuntimeError:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Waits until the log tells of the event and returns that entry."""
        deadline = time.monotonic() + self._start_seconds
        with self._changed:
            while True:
                for entry in self.logs:
                    if entry.get("event") == event:
                        return entry
                if self._ended or not self._changed.wait(max(deadline - time.monotonic(), 0)):
                    raise RuntimeError(f"the server did not come to {event!r}; its last words: {self._last_words()}")

    def stop(self, patience_seconds: float = 60.0) -> int:
        """Sends SIGTERM and returns the exit code; a server that does not end in time is killed."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(patience_seconds)
        finally:
            self.kill()
        return self.child.returncode

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._reader.join()

    def _read_logs(self) -> None:
        if self.child.stderr is None:
            raise RuntimeError("the child was started without a pipe for its log")
        with self.child.stderr as lines:
            for line in lines:
                self._note(_parse(line.rstrip("\n")))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note(self, entry: dict[str, Any]) -> None:
        with self._changed:
            if entry.get("event") == "listening":
                self.port, self.metrics_port = entry["port"], entry["metrics_port"]
            self.logs.append(entry)
            self._changed.notify_all()

    def _last_words(self) -> str:
        return " | ".join(str(entry["message"]) for entry in self.logs[-5:]) or "none"


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {"message": line}
    return entry if isinstance(entry, dict) else {"message": line}
