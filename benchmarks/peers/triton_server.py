"""NVIDIA's tritonserver as a child process.

Nothing here knows models or load.
"""

import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from benchmarks.common.ports import free_port
from benchmarks.peers.triton_installation import TritonInstallation
from linnaeus.kserve import grpc_service_pb2 as kserve

START_SECONDS = 180.0
# HTTP, metrics and log lines would take processor time for nothing. The pool keeps the objects of all calls in flight.
FLAGS = (
    "--allow-http=false",
    "--allow-metrics=false",
    "--log-info=false",
    "--grpc-address=127.0.0.1",
    "--grpc-infer-allocation-pool-size=128",
    "--disable-auto-complete-config",
)


class TritonServer:
    """Starts tritonserver on a free port, waits until it serves, and stops it at the end.

    Args:
        installation: of tritonserver.
        repository, backends: folders of its models and backends; see `triton_repository`.
        variables: of the environment, in addition to the installation's.

    Attributes:
        target: the address of its gRPC port.
        child: the process.

    Raises:
        RuntimeError: if it ends, or takes too long, before it serves; the message has its last lines of output.
    """

    def __init__(
        self,
        installation: TritonInstallation,
        repository: Path,
        backends: Path,
        variables: dict[str, str] | None = None,
    ) -> None:
        port = free_port()  # tritonserver does not accept port 0
        self.target = f"127.0.0.1:{port}"
        command = [str(installation.program), f"--model-repository={repository}", f"--backend-directory={backends}"]
        self._last_lines: deque[str] = deque(maxlen=20)
        self.child = subprocess.Popen(
            [*command, f"--grpc-port={port}", *FLAGS],
            env={**installation.environment(), **(variables or {})},
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
        """Ends the server and its backend's processes."""
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
        last_lines = " | ".join(self._last_lines) or "none"
        raise RuntimeError(f"tritonserver did not become ready; its last lines: {last_lines}")

    def _read(self) -> None:
        if self.child.stdout is not None:
            with self.child.stdout as lines:
                self._last_lines.extend(line.rstrip("\n") for line in lines)
