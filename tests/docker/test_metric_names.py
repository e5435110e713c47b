"""Every metric and label in the dashboard, rules, manifests and operations page is exposed by the server."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.docker.dashboard import ROOT, expressions, groupings_of, metrics_of, rule_expressions

from linnaeus.server.app.scraped_metrics import ScrapedMetrics
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import DeadlineExceeded
from linnaeus.server.execution import device_pool
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.repository_counters import RepositoryCounters
from linnaeus.server.requests.event_log import NullEventLog
from linnaeus.server.requests.observer import rejection_reason
from linnaeus.server.requests.request import BatchReport, RequestTimings
from linnaeus.server.rpc.interceptor import Method
from linnaeus.server.runtime.device_memory import DeviceMemory

# The labels that Prometheus adds to every series.
PROMETHEUS_LABELS = {"instance", "job"}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def exposed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Returns the labels of every sample, by name, of a server in which every event has occurred once."""
    samples: dict[str, list[dict[str, str]]] = {}
    labelled = tmp_path_factory.mktemp("labelled")
    shutil.copytree(repository / "lenet", labelled / "lenet")
    (labelled / "lenet" / "config.toml").write_text("labels = { stable = 1 }\n")
    for family in text_string_to_metric_families(asyncio.run(_scrape(labelled))):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    return samples


async def _scrape(repository: Path) -> str:
    metrics = Metrics("0")
    engine = LocalEngine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1), metrics)
    metrics.add_engine(engine.core, lambda: engine.in_flight)
    metrics.add_event_log(NullEventLog())
    metrics.registry.register(RepositoryCounters(RepositoryStatistics()))  # of a repository in a bucket
    await engine.load()
    _record_every_event(metrics)
    with pytest.MonkeyPatch.context() as patch:  # works without a GPU
        patch.setattr(device_pool, "device_memory", lambda device: DeviceMemory(1, 2, 3))
        text = generate_latest(metrics.registry).decode()
    await engine.close()
    processes, registry = ScrapedMetrics({}), CollectorRegistry()
    processes.count_restart("engine")
    registry.register(processes)  # type: ignore[no-untyped-call]
    text += (await asyncio.to_thread(generate_latest, registry)).decode()
    return text


def _record_every_event(metrics: Metrics) -> None:
    method = Method("linnaeus.v1.ClassifierService", "Classify", "UNARY")
    metrics.call_started(method)
    metrics.call_handled(method, "DEADLINE_EXCEEDED", 0.1)
    metrics.batch(BatchReport("lenet", 1, 1, [RequestTimings(0, 0, 0, 0, 0, 0)], 1, "cpu", 0.1))
    metrics.rejected("lenet", rejection_reason(DeadlineExceeded("late", 0.1)))
    metrics.cancelled("lenet", "queue")
    metrics.thread_failed("decoder")
    metrics.load_failed("lenet")


def shipped_expressions() -> list[str]:
    return [expression for each in expressions().values() for expression in each] + rule_expressions()


@pytest.mark.parametrize("expression", shipped_expressions())
def test_each_expression_uses_only_exposed_metrics_and_labels(
    exposed: dict[str, list[dict[str, str]]], expression: str
) -> None:
    labels = set(PROMETHEUS_LABELS)
    for name, wanted in metrics_of(expression):
        assert name in exposed, f"there is no {name}"
        labels |= {label for sample in exposed[name] for label in sample}
        for label, pattern in wanted.items():
            values = [sample[label] for sample in exposed[name] if label in sample]
            fits = label in PROMETHEUS_LABELS or any(re.fullmatch(pattern, value) for value in values)
            assert fits, f'{name} has no {label} that is "{pattern}"'
    recorded = {"alertname"} if "ALERTS" in expression else set()
    assert groupings_of(expression) <= labels | recorded


def test_rules_and_dashboard_use_exactly_the_recorded_series() -> None:
    recorded = set(re.findall(r"record: (\S+)", (ROOT / "docker/prometheus/recording.yml").read_text()))
    named = {name for each in shipped_expressions() for name in re.findall(r"\b(?:job|model):\w+:\w+", each)}
    assert named == recorded


def test_the_operations_page_lists_exactly_the_exposed_metrics_and_labels(
    exposed: dict[str, list[dict[str, str]]],
) -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \| [^|]+ \|$", OPERATIONS.partition("## Metrics")[2], re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    families: dict[str, set[str]] = {}
    for name, samples in exposed.items():
        family = re.sub("_(bucket|sum|count)$", "", name)
        families.setdefault(family, set()).update(label for sample in samples for label in sample if label != "le")
    assert listed == {name: labels for name, labels in families.items() if not name.startswith("python_")}


def test_the_operations_page_has_advice_for_every_alert() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "docker/prometheus/alerts.yml").read_text())
    rows = dict(re.findall(r"^\| `(Linnaeus\w+)` \| (?:[^|]+ \| )+([^|]+) \|$", OPERATIONS, re.MULTILINE))
    assert list(rows) == alerts
    assert all(len(advice) > 40 for advice in rows.values())
