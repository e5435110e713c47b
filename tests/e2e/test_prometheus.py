"""A real Prometheus scrapes a real server with the shipped rules and dashboard."""

import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.docker import dashboard
from tests.e2e.forked_server import ForkedServer
from tests.e2e.prometheus_process import Query, prometheus

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.needs(program="prometheus")
# Metrics without samples on a healthy server without a GPU.
MAY_BE_EMPTY = ("linnaeus_device_memory", "linnaeus_cancelled", "linnaeus_failed", "ALERTS")
# There is no DNS here that knows the servers.
DISCOVERY = re.compile(r"dns_sd_configs:\n.*?port: 8002", re.DOTALL)


@pytest.fixture(scope="module")
def watched(repository: Path) -> Iterator[ServerProcess]:
    """A server of its own, because the last test stops it."""
    with ForkedServer("--repository", str(repository), "--models", "lenet", "--max-batch-size", "4") as process:
        yield process


@pytest.fixture(scope="module")
def query(watched: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """Returns a function that queries a Prometheus with the shipped configuration, at short intervals."""
    folder = tmp_path_factory.mktemp("prometheus")
    for path in (dashboard.ROOT / "docker/prometheus").glob("*.yml"):
        text = DISCOVERY.sub(f'static_configs: [{{targets: ["127.0.0.1:{watched.metrics_port}"]}}]', path.read_text())
        (folder / path.name).write_text(text.replace("interval: 15s", "interval: 500ms").replace(": 30s", ": 500ms"))
    with prometheus(folder) as query:
        yield query


def _traffic(target: str, pictures: Path) -> None:
    """Makes answered, expired and invalid calls."""
    image = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    with grpc.insecure_channel(target) as channel:
        stub = ClassifierServiceStub(channel)
        for _ in range(8):
            stub.Classify(v1.ClassifyRequest(image=image, model="lenet"), timeout=30)
        for request, seconds in (
            (v1.ClassifyRequest(image=image, model="lenet"), 0.001),
            (v1.ClassifyRequest(image=v1.Image(encoded=b"no picture"), model="lenet"), 30),
        ):
            with suppress(grpc.RpcError):
                stub.Classify(request, timeout=seconds)


def _query_until_found(
    query: Query, expression: str, between_queries: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Queries until there is a result; the test's timeout bounds the wait."""
    while not (result := query(expression)):
        between_queries()
    return result


def test_promtool_finds_no_fault_in_a_scrape(watched: ServerProcess, pictures: Path) -> None:
    _traffic(watched.target, pictures)
    with urllib.request.urlopen(watched.metrics_url, timeout=60) as answer:
        scrape = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_server_is_scraped_and_its_calls_are_counted(watched: ServerProcess, query: Query, pictures: Path) -> None:
    assert _query_until_found(query, 'up{job="linnaeus"} == 1')
    _traffic(watched.target, pictures)
    answered = 'sum(grpc_server_handled_total{grpc_method="Classify", grpc_code="OK"}) >= 8'
    assert _query_until_found(query, answered)
    assert query('linnaeus_model_ready{model="lenet", version="1"} == 1')


@pytest.mark.parametrize("panel", [panel["title"] for panel in dashboard.panels()])
def test_every_panel_of_the_dashboard_shows_data(
    watched: ServerProcess, query: Query, pictures: Path, panel: str
) -> None:
    for expression in dashboard.expressions()[panel]:
        if any(name in expression for name in MAY_BE_EMPTY):
            query(expression)
        else:
            assert _query_until_found(query, expression, lambda: _traffic(watched.target, pictures))


def test_no_alert_fires_for_a_healthy_server_and_linnaeus_down_for_a_stopped_one(
    watched: ServerProcess, query: Query
) -> None:
    well = query('ALERTS{alertname=~"LinnaeusDown|LinnaeusModelNotReady|LinnaeusDeviceLost"}')
    watched.stop()
    noticed = _query_until_found(query, 'ALERTS{alertname="LinnaeusDown", alertstate="pending"}')
    assert not well
    assert noticed[0]["metric"]["instance"] == f"127.0.0.1:{watched.metrics_port}"
