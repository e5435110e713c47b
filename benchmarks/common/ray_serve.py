"""Ray Serve with a configuration of ours, as a child process with a Ray of its own, for tests and benchmarks.

It is `serve run CONFIG`, as a user types it; Ray's other processes end with it. It ends with its parent, too.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.common.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / ".venv-ray" / "bin"
_REPLICA = "ray::ServeReplica:"
_START_SECONDS = 400.0  # of several processes, on a machine that does other things
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2


class RayServe:
    """One running application. As a context manager it waits until the application serves, and ends it.

    Args:
        config: as `serve run` takes it; its gRPC and HTTP ports are replaced by free ones.
        environment: further variables.

    Attributes:
        target: the address of Ray's gRPC proxy.
    """

    def __init__(self, config: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self._http_port, self._grpc_port = free_port(), free_port()
        self.target = f"127.0.0.1:{self._grpc_port}"
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray has sockets deep below it
        self._log = self._folder / "log"
        roots = [str(ROOT), *(str(ROOT / each) for each in ("proto", "server", "client", "models"))]
        self._environment = {
            **os.environ,
            "RAY_TMPDIR": str(self._folder),
            "RAY_AUTH_MODE": "disabled",  # the token would be written to the user's home
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join(roots),
            **(environment or {}),
        }
        self._child = self._start(config)

    def __enter__(self) -> Self:
        try:
            self.wait_until(self.is_serving)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the application and Ray have printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def is_serving(self) -> bool:
        """Returns whether a replica answers, and says that it is SERVING."""
        with grpc.insecure_channel(self.target) as channel:
            try:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def replicas(self) -> set[int]:
        """Returns the process ids of the replicas, also of those that are starting."""
        return {pid for pid in _descendants(self._child.pid) if _title(pid).startswith(_REPLICA)}

    def running_replicas(self) -> int:
        """Returns how many replicas Ray has for ready."""
        command = [str(PROGRAMS / "serve"), "status", "--address", self._dashboard]
        status = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=_START_SECONDS)
        return sum(map(int, re.findall(r"RUNNING: (\d+)", status.stdout)))

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Changes the application, as `serve deploy` does; returns before the change is complete."""
        command = [str(PROGRAMS / "serve"), "deploy", "--address", self._dashboard, str(self._write(config))]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=_START_SECONDS)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def wait_until(self, is_reached: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
        """Waits for a state of the application.

        Raises:
            RuntimeError: if it ends, or does not reach the state in time; has the end of the log.
        """
        ends_at = time.monotonic() + seconds
        while not is_reached():
            if self._child.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError(f"Ray Serve did not reach the state:\n{self.log[-6000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ends the application and all of Ray's processes."""
        descendants = _descendants(self._child.pid)
        self._child.terminate()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        ends_at = time.monotonic() + _STOP_SECONDS
        while (left := [pid for pid in descendants if _is_running(pid)]) and time.monotonic() < ends_at:
            time.sleep(_POLL_SECONDS)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _dashboard(self) -> str:
        (found,) = re.findall(r"View the dashboard at .*?(127\.0\.0\.1:\d+)", self.log)
        return f"http://{found}"

    def _start(self, config: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
        command = [str(PROGRAMS / "serve"), "run", str(self._write(config))]
        if setpriv := shutil.which("setpriv"):  # a killed test must not leave a cluster behind
            command = [setpriv, "--pdeathsig", "TERM", *command]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=self._environment, start_new_session=True
            )

    def _write(self, config: Mapping[str, Any]) -> Path:
        ports = {
            "http_options": {"host": "127.0.0.1", "port": self._http_port},
            "grpc_options": {**config["grpc_options"], "port": self._grpc_port},
        }
        path = self._folder / "serve.yaml"
        path.write_text(json.dumps({**config, **ports}), encoding="utf-8")  # JSON is YAML
        return path


def _descendants(ancestor: int) -> set[int]:
    """Returns the process ids of a process's children, their children and so on."""
    parents = {pid: _parent(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
    found = {ancestor}
    while further := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= further
    return found - {ancestor}


def _parent(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(status.rpartition(")")[2].split()[1])


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _is_running(pid: int) -> bool:
    return bool(_title(pid))  # a zombie has none
