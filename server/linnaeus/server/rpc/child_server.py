"""A server as a child process, on free ports unless told otherwise, for demonstrations, tests and benchmarks.

    with ServerProcess("--repository", "model-repository") as server:
        client = Client(server.target)

This module must not import torch; only the child process does.
"""

import json
import os
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self


class ServerProcess:
    """A `linnaeus-server` child process on free ports; with HTTP if `--http-port 0` is among the arguments.

    As a context manager it waits until the server serves, and stops the server with SIGTERM at the end.

    Args:
        arguments: further command-line arguments.
        start_seconds: the maximum time until the server serves.
        port: the gRPC port to listen on; 0 for a free one.
        metrics_port: the metrics port to listen on; 0 for a free one.

    Attributes:
        port: the gRPC port; 0 until the server listens on it, which by default is when its models are ready.
        metrics_port: the metrics port; 0 until the server loads its models.
        http_port: the HTTP port; 0 until the server loads its models, or if there is none.
        logs: the log so far, one parsed object per event; a line that is not JSON is stored under `message`.
        child: the process.

    Raises:
        RuntimeError: on entry, if the server ends or times out before it serves; the message has its last log lines.
    """

    module = "linnaeus.server"
    """What Python runs."""

    def __init__(self, *arguments: str, start_seconds: float = 120.0, port: int = 0, metrics_port: int = 0) -> None:
        self.port = 0
        self.metrics_port = 0
        self.http_port = 0
        self.logs: list[dict[str, Any]] = []
        self._start_seconds = start_seconds
        self._changed = threading.Condition()
        self._ended = False
        options = ["--port", str(port), "--metrics-port", str(metrics_port), "--log-format", "json"]
        self.child = self._start([*arguments, *options])
        self._reader = threading.Thread(target=self._read_logs, name="server-logs", daemon=True)
        self._reader.start()

    @property
    def target(self) -> str:
        """The address of its gRPC port."""
        return f"127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """The URL of its metrics."""
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
        """Waits until the log contains an event, and returns that entry.

        Raises:
            RuntimeError: if the server ends before, or `start_seconds` pass.
        """
        deadline = time.monotonic() + self._start_seconds
        with self._changed:
            while True:
                for entry in self.logs:
                    if entry.get("event") == event:
                        return entry
                if self._ended or not self._changed.wait(max(deadline - time.monotonic(), 0)):
                    raise RuntimeError(f"the server did not come to {event!r}; its last words: {self._last_lines()}")

    def stop(self, patience_seconds: float = 60.0) -> int:
        """Sends SIGTERM and returns the exit code; kills a server that does not end in time."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(patience_seconds)
        finally:
            self.kill()
        return self.child.returncode

    def kill(self) -> None:
        """Kills the server if it still runs."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._reader.join()

    def _start(self, arguments: list[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", self.module, *arguments]
        # Servers side by side cannot all have the default port. A variable, which servers without HTTP do not mind.
        environment = {"LINNAEUS_HTTP_PORT": "-1"} | os.environ
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
        )

    def _read_logs(self) -> None:
        if self.child.stderr is None:
            raise RuntimeError("the child was started without a pipe for its log")
        with self.child.stderr as lines:
            for line in lines:
                self._append(_parse(line.rstrip("\n")))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _append(self, entry: dict[str, Any]) -> None:
        with self._changed:
            self.port = entry.get("port", self.port)
            self.http_port = entry.get("http_port", self.http_port)
            self.metrics_port = entry.get("metrics_port", self.metrics_port)
            self.logs.append(entry)
            self._changed.notify_all()

    def _last_lines(self) -> str:
        return " | ".join(str(entry["message"]) for entry in self.logs[-5:]) or "none"


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {"message": line}
    return entry if isinstance(entry, dict) else {"message": line}
