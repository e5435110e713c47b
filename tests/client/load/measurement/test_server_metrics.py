"""Reads metrics that the Prometheus client library writes."""

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from linnaeus.client.load.measurement.server_metrics import (
    MetricsUnreadable,
    metrics_url,
    parse_sample,
    read_sample,
    server_view,
)
from linnaeus.client.load.plan import Plan

PLAN = Plan(target="localhost:8001", pictures=(Path("cat.jpg"),), rate=1.0)


class Server:
    """Metrics with the names that the server documents."""

    def __init__(self):
        self.registry = CollectorRegistry()
        labels = ["model", "version"]
        self.stages = Histogram("linnaeus_stage_seconds", "x", [*labels, "stage"], registry=self.registry)
        self.sizes = Histogram("linnaeus_batch_size", "x", labels, buckets=(1, 2, 4, 8), registry=self.registry)

    def batch(self, size, seconds, model="lenet", version="1"):
        self.sizes.labels(model, version).observe(size)
        for _ in range(size):
            self.stages.labels(model, version, "inference").observe(seconds)
            self.stages.labels(model, version, "queue").observe(seconds / 2)

    def sample(self, model="", version="", processor=0.0):
        text = generate_latest(self.registry).decode()
        return parse_sample(f"{text}process_cpu_seconds_total {processor}\n", model, version)


def test_the_difference_of_two_samples_is_computed():
    server = Server()
    server.batch(8, 5.0)
    before = server.sample(processor=10.0)
    for size in (1, 3, 4, 20):
        server.batch(size, 0.010)
    view = server_view(before, server.sample(processor=12.5))
    assert view.mean_batch_size == pytest.approx(7.0)
    assert view.batch_sizes == {"1.0": 1, "2.0": 0, "4.0": 2, "8.0": 0, "+Inf": 1}
    assert view.stage_seconds == pytest.approx({"inference": 0.010, "queue": 0.005})
    assert view.processor_seconds == pytest.approx(2.5)


def test_only_the_named_model_counts():
    server = Server()
    before = server.sample("lenet", "2")
    server.batch(4, 0.010, version="2")
    server.batch(8, 0.500, model="resnet18", version="2")
    server.batch(8, 0.500, version="1")
    view = server_view(before, server.sample("lenet", "2"))
    assert view.mean_batch_size == 4.0
    assert view.stage_seconds["inference"] == pytest.approx(0.010)


def test_nothing_between_two_samples_is_no_batch_and_no_stage():
    server = Server()
    server.batch(2, 0.1)
    view = server_view(server.sample(), server.sample())
    assert view.mean_batch_size is None
    assert view.stage_seconds == {}


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("localhost:8001", "http://localhost:8002/metrics"),
        ("dns:///linnaeus.example:443", "http://linnaeus.example:8002/metrics"),
        ("ipv4:10.0.0.1:8001,10.0.0.2:8001", "http://10.0.0.1:8002/metrics"),
        ("[::1]:8001", "http://[::1]:8002/metrics"),
        ("ipv6:[::1]:8001", "http://[::1]:8002/metrics"),
    ],
)
def test_the_address_follows_from_the_target(target, url):
    assert metrics_url(replace(PLAN, target=target)) == url
    assert metrics_url(replace(PLAN, target=target, metrics_url="")) == ""


def test_a_target_without_a_derived_address_is_an_error():
    with pytest.raises(MetricsUnreadable, match="--metrics-url"):
        metrics_url(replace(PLAN, target="unix:/run/linnaeus.sock"))


def served(text):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize(("text", "problem"), [(b"linnaeus_x 1\n", None), (b"{not metrics", "no Prometheus text")])
def test_metrics_are_read_over_http_and_anything_else_is_an_error(text, problem):
    with served(text) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        if problem is None:
            assert read_sample(url, "", "").batch_count == 0
        else:
            with pytest.raises(MetricsUnreadable, match=problem):
                read_sample(url, "", "")


def test_a_server_without_metrics_is_one_sentence():
    with served(b"") as gone:
        url = f"http://127.0.0.1:{gone.server_port}/metrics"
    with pytest.raises(MetricsUnreadable, match="cannot be read"):
        read_sample(url, "", "")
