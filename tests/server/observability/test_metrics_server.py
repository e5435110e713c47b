"""The HTTP port answers /metrics, /livez and /readyz truthfully, and nothing else."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from linnaeus.server.errors import StartupError
from linnaeus.server.observability import metrics_server as module
from linnaeus.server.observability.metrics_server import MetricsServer
from linnaeus.server.observability.probes import Probes
from linnaeus.server.process.supervisor import Supervisor


class Running:
    """A metrics server beside an event loop on a thread of its own."""

    def __init__(self) -> None:
        self.reason = ""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        registry = CollectorRegistry()
        Counter("things", "Things.", registry=registry).inc()
        self.server = MetricsServer(registry, Probes(self.loop, lambda: self.reason, 0.2), "127.0.0.1", 0, Supervisor())

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def close(self) -> None:
        self.server.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def running() -> Iterator[Running]:
    started = Running()
    yield started
    started.close()


def test_the_metrics_are_at_their_path_only(running: Running) -> None:
    status, body = running.ask("/metrics")
    assert status == 200 and "things_total 1.0" in body
    for path in ("/", "/healthz", "/v2/health/ready", "/ready", "/metrics/", "/metricsx", "/readyz/", "/favicon.ico"):
        assert running.ask(path)[0] == 404, path


def test_readyz_says_why_the_server_is_not_ready(running: Running) -> None:
    assert running.ask("/readyz") == (200, "ok\n")
    running.reason = "the server is stopping"
    assert running.ask("/readyz") == (503, "the server is stopping\n")
    assert running.ask("/livez") == (200, "ok\n")


def test_livez_fails_while_the_event_loop_does_not_respond(running: Running) -> None:
    blocked, may_go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        may_go_on.wait()

    running.loop.call_soon_threadsafe(block)
    blocked.wait()
    try:
        assert running.ask("/livez") == (503, "the event loop has not responded for 0.2 s\n")
    finally:
        may_go_on.set()
    assert running.ask("/livez")[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
def test_head_is_answered_without_a_body_and_other_methods_are_refused(running: Running, path: str) -> None:
    assert running.ask(path, "HEAD") == (200, "")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert running.ask(path, method)[0] == 405


def test_connections_that_send_nothing_are_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_CONNECTIONS", 2)
    monkeypatch.setattr(module._Handler, "timeout", 0.2)
    running = Running()
    try:
        idle = [socket.create_connection(("127.0.0.1", running.server.port), 60) for _ in range(8)]
        assert [connection.recv(1) for connection in idle] == [b""] * 8
        for connection in idle:
            connection.close()
    finally:
        running.close()


def test_a_port_in_use_is_one_sentence(running: Running) -> None:
    with pytest.raises(
        StartupError, match=rf"^the metrics cannot listen on 127.0.0.1:{running.server.port}: another program"
    ):
        MetricsServer(CollectorRegistry(), Probes(running.loop, str), "127.0.0.1", running.server.port, Supervisor())
