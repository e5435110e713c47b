"""A scrape shows estimates, batches, models and devices."""

import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.repositories import add_version
from tests.server.engine.engine_fakes import model_of

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import RequestError, Unavailable
from linnaeus.server.execution import device_pool
from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.unserved_versions import KEEP_SECONDS, MAX_KEPT
from linnaeus.server.requests.event_log import NullEventLog
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import BatchReport, Request, RequestTimings

LENET = {"model": "lenet", "version": "1"}


def batch_report(error_seconds: float) -> BatchReport:
    request = RequestTimings(
        decode_seconds=0.01,
        queue_seconds=0.02,
        inference_seconds=0.03,
        respond_seconds=0.04,
        total_seconds=0.1,
        prediction_error_seconds=error_seconds,
    )
    return BatchReport("lenet", 1, 1, [request], 0, "cpu", 0.03)


def test_a_prediction_error_is_counted_with_its_sign() -> None:
    metrics = Metrics("0")
    for seconds in (-0.3, 0.03, 7.0):
        metrics.batch(batch_report(seconds))

    def at_most(bound: str) -> float | None:
        return metrics.registry.get_sample_value("linnaeus_prediction_error_seconds_bucket", {**LENET, "le": bound})

    assert [at_most(bound) for bound in ("-0.5", "-0.2", "0.0", "0.05", "0.5", "+Inf")] == [0, 1, 1, 2, 2, 3]


def test_each_stage_of_a_request_has_its_own_series() -> None:
    metrics = Metrics("0")
    metrics.batch(batch_report(0.0))
    stages = {
        stage: metrics.registry.get_sample_value("linnaeus_stage_seconds_sum", {**LENET, "stage": stage})
        for stage in ("decode", "queue", "inference", "respond")
    }
    assert stages == {"decode": 0.01, "queue": 0.02, "inference": 0.03, "respond": 0.04}
    assert metrics.registry.get_sample_value("linnaeus_request_seconds_sum", LENET) == 0.1


def test_a_batch_whose_requests_all_expired_has_no_size() -> None:
    metrics = Metrics("0")
    metrics.batch(BatchReport("lenet", 1, 0, [], 0, "cpu", 0.0))
    assert not metrics.registry.get_sample_value("linnaeus_batch_size_count", LENET)


@pytest.fixture
async def serving(repository: Path) -> AsyncIterator[tuple[LocalEngine, Metrics]]:
    metrics = Metrics("0")
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2)
    engine = LocalEngine(settings, metrics)
    metrics.add_engine(engine.core, lambda: engine.in_flight)
    await engine.load()
    yield engine, metrics
    await engine.close()


def digit_request(model: str = "lenet", version: str = "", deadline: float | None = None) -> Request:
    pixels = RawPixels(numpy.zeros(28 * 28, numpy.uint8).tobytes(), 28, 28, 1)
    return Request(pixels, model=model, version=version, deadline=deadline)


async def test_a_scrape_shows_expected_batch_times_and_the_prediction_margin(serving: Any) -> None:
    engine, metrics = serving
    await engine.classify(digit_request())
    await engine.classify(digit_request(deadline=time.monotonic() + 60.0))
    value = metrics.registry.get_sample_value
    for size in ("1", "2"):
        seconds = value("linnaeus_batch_expected_seconds", {**LENET, "device": "cpu", "size": size})
        assert seconds is not None and 0 < seconds < 30
    assert value("linnaeus_prediction_margin_seconds", LENET) is not None
    assert value("linnaeus_prediction_error_seconds_count", LENET) == 1
    assert value("linnaeus_queue_depth", LENET) == 0 and value("linnaeus_model_ready", LENET) == 1


async def test_a_lost_device_is_not_ready(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, metrics = serving

    def fail(*_: object) -> None:
        raise RuntimeError("lost")

    monkeypatch.setattr(device_pool, "is_responsive", lambda device: False)
    monkeypatch.setattr(model_of(engine), "run", fail)
    assert metrics.registry.get_sample_value("linnaeus_device_ready", {"device": "cpu"}) == 1
    with pytest.raises(Unavailable):
        await engine.classify(digit_request())
    assert metrics.registry.get_sample_value("linnaeus_device_ready", {"device": "cpu"}) == 0


async def test_a_scrape_before_the_load_shows_no_device_and_nothing_in_flight(repository: Path) -> None:
    metrics = Metrics("0")
    engine = LocalEngine(Settings(repository=repository, device="cpu"), metrics)
    metrics.add_engine(engine.core, lambda: engine.in_flight)
    assert metrics.registry.get_sample_value("linnaeus_device_ready", {"device": "cpu"}) is None
    assert metrics.registry.get_sample_value("linnaeus_in_flight") == 0
    await engine.close()


async def test_a_scrape_shows_failed_loads_ready_labels_and_no_unloaded_versions(
    repository: Path, tmp_path: Path
) -> None:
    for version in (1, 3):
        add_version(repository / "lenet" / "1", tmp_path, "m", version)
    add_version(repository / "lenet" / "1", tmp_path, "m", 2, spoilt="corrupt")
    (tmp_path / "m" / "config.toml").write_text("versions = [1, 2]\nlabels = { stable = 1, canary = 2 }\n")
    metrics = Metrics("0")
    engine = LocalEngine(Settings(repository=tmp_path, device="cpu", max_batch_size=1), metrics)
    metrics.add_engine(engine.core, lambda: engine.in_flight)
    await engine.load()
    value = metrics.registry.get_sample_value
    assert value("linnaeus_model_load_failures_total", {"model": "m"}) == 1
    ready = [value("linnaeus_version_label_ready", {"model": "m", "label": label}) for label in ("stable", "canary")]
    assert ready == [1, 0]
    assert [value("linnaeus_model_ready", {"model": "m", "version": version}) for version in "123"] == [1, 0, None]
    await engine.close()


def test_faults_are_counted_from_any_thread() -> None:
    metrics = Metrics("0")
    threads = [threading.Thread(target=metrics.thread_failed, args=("decoder",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert metrics.registry.get_sample_value("linnaeus_thread_failures_total", {"thread": "decoder"}) == 4


def test_the_busy_time_of_a_device_is_summed() -> None:
    metrics = Metrics("0")
    for seconds in (0.25, 0.5):
        metrics.batch(BatchReport("lenet", 1, 1, [], 0, "cpu", seconds))
    assert metrics.registry.get_sample_value("linnaeus_device_busy_seconds_total", {"device": "cpu"}) == 0.75


async def test_a_cpu_has_samples_for_workers_and_none_for_memory(serving: Any) -> None:
    engine, metrics = serving
    await engine.classify(digit_request())
    value = metrics.registry.get_sample_value
    assert value("linnaeus_device_streams", {"device": "cpu"}) == engine.core.device_workers["cpu"] > 0
    assert value("linnaeus_device_busy_seconds_total", {"device": "cpu"}) > 0
    assert {"linnaeus_device_memory_limit_bytes"} <= {family.name for family in metrics.registry.collect()}
    assert value("linnaeus_device_memory_limit_bytes", {"device": "cpu"}) is None


def test_the_lost_lines_of_the_event_log_are_counted() -> None:
    metrics, event_log = Metrics("0"), NullEventLog()
    metrics.add_event_log(event_log)
    event_log.lost_lines = 3
    assert metrics.registry.get_sample_value("linnaeus_trace_lost_lines_total") == 3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record_version(metrics: Metrics, model: str, version: int) -> None:
    metrics.batch(BatchReport(model, version, 1, batch_report(0.0).requests, 1, "cpu", 0.03))
    metrics.rejected(model, "deadline", version)
    metrics.cancelled(model, "queue")
    metrics.load_failed(model)


def series(metrics: Metrics) -> set[tuple[str, str]]:
    """Returns model and version of all samples that have a model; the version is empty if they have none."""
    labels = [sample.labels for family in metrics.registry.collect() for sample in family.samples]
    return {(each["model"], each.get("version", "")) for each in labels if "model" in each}


def test_series_of_unloaded_versions_are_dropped_after_a_while() -> None:
    clock = Clock()
    metrics = Metrics("0", clock)
    for version in (1, 2):
        record_version(metrics, "a", version)
    record_version(metrics, "gone", 1)
    metrics.rejected("", "not_found")
    entries = [Entry("a", 1, ModelState.UNLOADED), Entry("a", 2, ModelState.READY)]
    assert metrics.drop_unserved(entries) == KEEP_SECONDS
    before = series(metrics)
    clock.now = KEEP_SECONDS - 1
    assert metrics.drop_unserved(entries) == 1
    assert series(metrics) == before
    clock.now = KEEP_SECONDS
    assert metrics.drop_unserved(entries) is None
    assert series(metrics) == {("a", "2"), ("a", ""), ("_other", "")}


def test_a_version_that_is_served_again_keeps_its_series() -> None:
    clock = Clock()
    metrics = Metrics("0", clock)
    record_version(metrics, "a", 1)
    metrics.drop_unserved([Entry("a", 1, ModelState.UNLOADED)])
    metrics.drop_unserved([Entry("a", 1, ModelState.READY)])
    clock.now = KEEP_SECONDS
    assert metrics.drop_unserved([Entry("a", 1, ModelState.UNLOADED)]) == KEEP_SECONDS
    assert ("a", "1") in series(metrics)


def test_a_thousand_versions_leave_a_bounded_number_of_series() -> None:
    metrics = Metrics("0", Clock())
    for version in range(1, 1001):
        record_version(metrics, "a", version)
        metrics.drop_unserved([Entry("a", version, ModelState.READY)])
    versions = {version for model, version in series(metrics) if version}
    assert len(versions) == MAX_KEPT + 1 and "1000" in versions


async def test_names_that_callers_choose_make_no_series(serving: Any) -> None:
    engine, metrics = serving
    for number in range(20):
        with pytest.raises(RequestError):
            await engine.classify(digit_request(model=f"unknown-{number}"))
        with pytest.raises(RequestError):
            await engine.classify(digit_request(version=str(100 + number)))
    assert series(metrics) <= {("lenet", "1"), ("lenet", ""), ("_other", "")}
