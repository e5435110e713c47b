"""`linnaeus-server healthcheck` reports the health of the server that the same settings describe."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.rpc.healthcheck import check_health


def healthcheck(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "linnaeus.server", *words]
    settings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_serving_server_gives_exit_code_0_and_one_line(server: ServerProcess, host: str) -> None:
    done = healthcheck("healthcheck", LINNAEUS_HOST=host, LINNAEUS_PORT=str(server.port))
    assert (done.returncode, done.stdout) == (0, f"the server at 127.0.0.1:{server.port} is SERVING\n")


def test_a_server_that_is_not_ready_is_not_healthy() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(StartupError, match=rf"^the server at 127.0.0.1:{port} is up but NOT_SERVING$"):
            check_health(Settings(port=port), timeout_seconds=30)
    finally:
        server.stop(None).wait()


def test_no_server_gives_exit_code_1_and_one_line() -> None:
    done = healthcheck("--port", "1", "healthcheck", "--timeout-seconds", "5")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("linnaeus-server: no health from 127.0.0.1:1: no server answers there")


def test_port_0_is_rejected_with_a_hint() -> None:
    done = healthcheck("--port", "0", "healthcheck")
    assert done.returncode == 1 and "set LINNAEUS_PORT" in done.stderr


def test_the_healthcheck_does_not_import_torch() -> None:
    program = "import sys, linnaeus.server.rpc.healthcheck; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
