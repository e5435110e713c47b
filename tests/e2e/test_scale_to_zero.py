"""What KEDA asks of Prometheus, asked of a real Envoy before no server, and of a real server.

KEDA is not run: it takes an empty result for 0, and starts the first pod as soon as one of its queries gives more.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.e2e.forked_server import ForkedServer
from tests.e2e.prometheus_process import Query, prometheus
from tests.e2e.several_processes import until
from tests.programs import ENVOY

from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
KEDA = Path(__file__).resolve().parents[2] / "docker" / "kubernetes" / "overlays" / "keda" / "scaled-object.yaml"
TRIGGERS = {each["name"]: each["metadata"] for each in yaml.safe_load(KEDA.read_text())["spec"]["triggers"]}
CALLS, QUEUE = (TRIGGERS[name]["query"] for name in ("calls", "queue"))

pytestmark = [pytest.mark.needs(program="envoy"), pytest.mark.needs(program="prometheus")]


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Runs Envoy as Envoy Gateway sets it up for a Service without endpoints; yields its admin address."""
    filters = "envoy.extensions.filters"
    router = {"@type": f"type.googleapis.com/{filters}.http.router.v3.Router"}
    refusal = {"match": {"prefix": "/"}, "direct_response": {"status": 503}}
    manager = {
        "@type": f"type.googleapis.com/{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http-8001",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [refusal]}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"address": {"pipe": {"path": f"{folder}/socket"}}, "filter_chains": [chain]}
    configuration = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": [listener]},
    }
    (folder / "envoy.json").write_text(json.dumps(configuration))
    address = folder / "address"
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--admin-address-path", address]
    with subprocess.Popen([str(ENVOY), "--config-path", str(folder / "envoy.json"), *map(str, options)]) as envoy:
        try:
            until(lambda: envoy.poll() is not None or (address.exists() and address.read_text() != ""))
            yield address.read_text()
        finally:
            envoy.terminate()


def scrapes(folder: Path, envoy: str, server: str) -> None:
    """Writes a configuration of Prometheus with the labels that prometheus-scrape.yml gives."""
    jobs = [("linnaeus-gateway", envoy, "/stats/prometheus", {"gateway": "linnaeus"})]
    jobs.append(("linnaeus", server, "/metrics", {"namespace": "linnaeus", "pod": "linnaeus-1"}))
    configuration = {
        "global": {"scrape_interval": "200ms"},
        "scrape_configs": [
            {"job_name": job, "metrics_path": path, "static_configs": [{"targets": [target], "labels": labels}]}
            for job, target, path, labels in jobs
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))


def value(query: Query, expression: str) -> float:
    """Returns what KEDA makes of a query's result."""
    found = query(expression)
    assert len(found) <= 1
    return float(found[0]["value"][1]) if found else 0.0


def call(target: str, pictures: Path) -> None:
    image = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    with grpc.insecure_channel(target, [("grpc.enable_retries", 0)]) as channel:
        ClassifierServiceStub(channel).Classify(v1.ClassifyRequest(image=image, model="lenet"), timeout=60)


def test_a_refused_call_wakes_the_first_pod_and_waiting_pictures_ask_for_more(
    repository: Path, pictures: Path, socket_folder: Path, tmp_path: Path
) -> None:
    with (
        gateway(socket_folder) as envoy,
        ForkedServer("--repository", str(repository), "--models", "lenet", "--max-batch-size", "1") as server,
    ):
        scrapes(tmp_path, envoy, f"127.0.0.1:{server.metrics_port}")
        with prometheus(tmp_path) as query:
            both = 'min(count_over_time(up{job=~"linnaeus.*"}[1m])) > 3 and count(up == 1) == 2'
            until(lambda: query(both) != [])
            assert (value(query, CALLS), value(query, QUEUE)) == (0, 0)  # scrapes are no calls
            with pytest.raises(grpc.RpcError) as refused:
                call(f"unix:{socket_folder}/socket", pictures)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            until(lambda: value(query, CALLS) > float(TRIGGERS["calls"]["activationThreshold"]))
            assert value(query, CALLS) < float(TRIGGERS["calls"]["threshold"]) and value(query, QUEUE) == 0
            while value(query, QUEUE) == 0:
                call(server.target, pictures)
