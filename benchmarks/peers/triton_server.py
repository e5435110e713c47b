"""NVIDIA's tritonserver as a child process: where it is, whether it can run here, and how it is started and stopped.

The program comes with the wheel of nvidia-pytriton, which `make` installs into `.venv-peers` beside numpy 1. It knows
nothing of models or load.
"""

import os
import platform
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from linnaeus.kserve import grpc_service_pb2 as kserve

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-peers"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
START_SECONDS = 180.0
# No second protocol, no metrics and no log lines: they would take processor time that nobody uses here. The pool keeps
# the objects of as many calls as the bench has under way.
FLAGS = (
    "--allow-http=false",
    "--allow-metrics=false",
    "--log-info=false",
    "--grpc-address=127.0.0.1",
    "--grpc-infer-allocation-pool-size=128",
    "--disable-auto-complete-config",
)


class Unavailable(Exception):
    """tritonserver cannot run here; the message is one sentence that says why."""


class Triton:
    """An installation of tritonserver.

    Args:
        environment: the virtual environment that nvidia-pytriton was installed into.

    Raises:
        Unavailable: it is not there, or lacks something.
    """

    def __init__(self, environment: Path = ENVIRONMENT) -> None:
        if platform.machine() != "x86_64" or platform.system() != "Linux":
            raise Unavailable(f"tritonserver's wheel is for Linux on x86-64, this is {platform.platform()}")
        self.python = environment / "bin" / "python3"
        self.packages = environment / "lib" / f"python{PYTHON_VERSION}" / "site-packages"
        self.program = self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        self.backends = self.program.parent.parent / "backends"
        stubs = self.program.parent.parent / "python_backend_stubs"
        self.stub = stubs / PYTHON_VERSION / "triton_python_backend_stub"
        self._check_that_it_is_there()
        self._check_libraries()
        self._check_packages()

    def environment(self) -> dict[str, str]:
        """The variables that it is started with.

        Its backend's interpreter is isolated: it heeds no PYTHONPATH, but takes its packages from where the first
        python3 of the PATH has them.
        """
        libraries = [str(self.packages / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
        return {
            **os.environ,
            "PATH": _before(str(self.python.parent), "PATH"),
            "LD_LIBRARY_PATH": _before(os.pathsep.join(libraries), "LD_LIBRARY_PATH"),
        }

    def _check_that_it_is_there(self) -> None:
        if not self.program.exists():
            raise Unavailable(f"there is no tritonserver below {self.packages}: nvidia-pytriton could not be installed")
        if not self.stub.exists():
            raise Unavailable(f"this tritonserver has no Python backend for Python {PYTHON_VERSION}: {self.stub}")

    def _check_libraries(self) -> None:
        """Asks the loader, as a program that lacks a library would only say so once it is started."""
        for program in (self.program, self.stub):
            told = subprocess.run(["ldd", str(program)], env=self.environment(), capture_output=True, text=True)
            missing = sorted({line.split()[0] for line in told.stdout.splitlines() if "not found" in line})
            if missing:
                raise Unavailable(f"{program.name} lacks {', '.join(missing)}")

    def _check_packages(self) -> None:
        """With numpy 2, the backend would die of the first encoded picture."""
        look = "import importlib.metadata as m; print(*(m.version(name) for name in ('numpy', 'torch', 'pillow')))"
        told = subprocess.run([str(self.python), "-I", "-c", look], capture_output=True, text=True)
        if told.returncode or not told.stdout.startswith("1."):
            last = (told.stderr or told.stdout).strip().splitlines()[-1:]
            raise Unavailable(f"{self.python} must have numpy 1, torch and Pillow, but says: {' '.join(last)}")


def _before(first: str, variable: str) -> str:
    return os.pathsep.join([first, *filter(None, [os.environ.get(variable)])])


class TritonProcess:
    """Starts tritonserver on a free port, waits until it serves, and stops it at the end.

    Args:
        triton: which.
        repository, backends: its folders of models and backends; see `peers_repository`.
        variables: of the environment, besides the installation's.

    Attributes:
        target: where its gRPC listens.
        child: the process.

    Raises:
        RuntimeError: it ended, or took too long, before it served; the message has its last words.
    """

    def __init__(
        self, triton: Triton, repository: Path, backends: Path, variables: dict[str, str] | None = None
    ) -> None:
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        command = [str(triton.program), f"--model-repository={repository}", f"--backend-directory={backends}"]
        self._words: deque[str] = deque(maxlen=20)
        self.child = subprocess.Popen(
            [*command, f"--grpc-port={port}", *FLAGS],
            env={**triton.environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name="triton-logs", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except RuntimeError:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, patience_seconds: float = 40.0) -> None:
        """Ends it and, with it, its backend's processes."""
        self.child.terminate()
        try:
            self.child.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self._reader.join()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with grpc.insecure_channel(self.target) as channel:
            ready = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerReady",
                request_serializer=kserve.ServerReadyRequest.SerializeToString,
                response_deserializer=kserve.ServerReadyResponse.FromString,
            )
            while self.child.poll() is None and time.monotonic() < deadline:
                try:
                    if ready(kserve.ServerReadyRequest(), timeout=0.5, wait_for_ready=True).ready:
                        return
                except grpc.RpcError:
                    continue
        raise RuntimeError(f"tritonserver did not become ready; its last words: {' | '.join(self._words) or 'none'}")

    def _read(self) -> None:
        if self.child.stdout is not None:
            with self.child.stdout as lines:
                self._words.extend(line.rstrip("\n") for line in lines)


def _free_port() -> int:
    """A port that was free a moment ago: tritonserver takes a number only, and not 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
