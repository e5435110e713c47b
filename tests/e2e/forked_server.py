"""A server that is forked from a process which has imported torch and gRPC, in place of importing them again.

Importing takes two seconds of processor time, most of a start with `lenet`. What is forked is the whole server from its
command line on. Tests of the start, of signals and of the process itself take `ServerProcess`, and so does the server
that most tests share.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tests.e2e.server_forks import LENGTH_BYTES

from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parent.parent.parent


class Forks:
    """The process that forks servers. Any thread may use it.

    Args:
        python: the interpreter, of an environment that has what servers need.
    """

    def __init__(self, python: str) -> None:
        self._requests, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [python, "-m", "tests.e2e.server_forks", str(theirs.fileno())]
        # numpy's linear algebra would start a thread at its import, which no fork has.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()]
            )

    def fork(self, arguments: list[str], environment: Mapping[str, str], errors: int, report: int) -> None:
        """Forks a server with these arguments, which writes its log to `errors`; see `server_forks` for `report`."""
        told = {"arguments": arguments, "environment": os.environ | environment, "folder": os.getcwd()}
        request = json.dumps(told).encode()
        with self._lock:
            socket.send_fds(self._requests, [len(request).to_bytes(LENGTH_BYTES, "big")], [errors, report])
            self._requests.sendall(request)

    def close(self) -> None:
        self._requests.close()
        self._process.wait(60)


_STARTED: dict[str, Forks] = {}


def forks(python: str) -> Forks:
    """Returns the process that forks the servers of this test process; it starts with the first of them."""
    if python not in _STARTED:
        _STARTED[python] = Forks(python)
    return _STARTED[python]


def close_forks() -> None:
    """Ends the processes that fork servers."""
    while _STARTED:
        _STARTED.popitem()[1].close()


class ForkedChild:
    """A forked process, with the part of `subprocess.Popen` that `ServerProcess` and tests use."""

    def __init__(self, arguments: list[str], python: str, environment: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self._lock = threading.Lock()
        (errors, errors_end), (report, report_end) = os.pipe(), os.pipe()
        self.stderr = TextIOWrapper(os.fdopen(errors, "rb"), encoding="utf-8")
        self._report = os.fdopen(report, "rb", buffering=0)
        try:
            forks(python).fork(arguments, environment, errors_end, report_end)
        finally:
            os.close(errors_end)
            os.close(report_end)
        self.pid = self._read_number()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            if self.returncode is None:
                if not select.select([self._report], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("linnaeus-server", timeout or 0)
                self.returncode = self._read_number()
                self._report.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read_number(self) -> int:
        line = self._report.readline()
        if not line:
            raise RuntimeError("the process that forks servers has ended")
        return int(line)


class ForkedServer(ServerProcess):
    """A `ServerProcess` that starts in a tenth of the time.

    Args:
        arguments, keywords: as of `ServerProcess`.
        python: the interpreter, if not that of the tests.
        environment: variables besides those of the tests.
    """

    def __init__(
        self,
        *arguments: str,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> None:
        self._python = python
        self._environment = environment or {}
        super().__init__(*arguments, **keywords)

    def _start(self, arguments: list[str]) -> ForkedChild:
        return ForkedChild(arguments, self._python, self._environment)
