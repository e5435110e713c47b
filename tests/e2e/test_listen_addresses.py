"""A server is reached over socket files, over IPv6 and over IPv4: gRPC, the health-only port and the metrics."""

import urllib.request
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.client import Client
from linnaeus.server.config.settings import read_settings
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.rpc.healthcheck import check_health
from linnaeus.server.security.listen_address import bindable_host

PATIENCE_SECONDS = 60
LOOPBACKS = ["127.0.0.1", *(["[::1]"] if bindable_host("::") == "::" else [])]


@pytest.fixture(scope="module")
def digit(pictures: Path) -> Path:
    return pictures / "digits" / "0.png"


def serve(repository: Path, *options: str) -> ServerProcess:
    return ForkedServer("--repository", str(repository), "--models", "lenet", "--device", "cpu", *options)


def test_a_server_on_socket_files_answers_there(repository: Path, digit: Path, socket_folder: Path) -> None:
    hosts = {"host": f"unix:{socket_folder}/grpc.sock", "health_host": f"unix:{socket_folder}/health.sock"}
    options = [word for name, host in hosts.items() for word in (f"--{name.replace('_', '-')}", host)]
    with serve(repository, *options) as server:
        said = server.wait_for("listening")["message"]
        assert f"gRPC on {hosts['host']}, " in said and f"health alone on {hosts['health_host']}" in said
        with Client(hosts["host"], timeout_seconds=PATIENCE_SECONDS) as client:
            assert client.classify(digit, model="lenet").top.label == "0"
        for settings in (read_settings(**hosts), read_settings(host=hosts["host"])):
            assert "is SERVING" in check_health(settings, PATIENCE_SECONDS)
        second = serve(repository, *options)
        with pytest.raises(RuntimeError, match="another server listens there"):
            second.wait_for("listening")
        second.kill()
        with Client(hosts["host"], timeout_seconds=PATIENCE_SECONDS) as client:
            assert client.classify(digit, model="lenet").top.label == "0"
        server.child.kill()
        server.child.wait()
    assert (socket_folder / "grpc.sock").exists(), "what a killed server leaves"
    with serve(repository, *options), Client(hosts["host"], timeout_seconds=PATIENCE_SECONDS) as client:
        assert client.classify(digit, model="lenet").top.label == "0"


def test_a_server_on_all_addresses_answers_over_ipv6_and_ipv4(repository: Path, digit: Path) -> None:
    hosts = ("--host", "[::]", "--insecure", "--metrics-host", "::", "--health-host", "[::]", "--health-port", "0")
    with serve(repository, *hosts) as server:
        ports = server.wait_for("listening")
        for loopback in LOOPBACKS:
            with Client(f"{loopback}:{server.port}", timeout_seconds=PATIENCE_SECONDS) as client:
                assert client.classify(digit, model="lenet").top.label == "0"
            with urllib.request.urlopen(f"http://{loopback}:{server.metrics_port}/metrics", timeout=60) as answer:
                assert b"linnaeus_model_ready" in answer.read()
            there = read_settings(health_host=loopback, health_port=ports["health_port"])
            assert "is SERVING" in check_health(there, PATIENCE_SECONDS)
        assert "is SERVING" in check_health(read_settings(host="::", port=server.port), PATIENCE_SECONDS)
