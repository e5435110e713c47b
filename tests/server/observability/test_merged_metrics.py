"""The merged exposition of several processes equals that of one registry that counted everything."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as open_metrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from linnaeus.server.observability.merged_metrics import MergedMetrics, snapshot
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.series import CounterFamily
from linnaeus.server.requests.request import BatchReport, RequestTimings
from linnaeus.server.rpc.interceptor import Method

NAMES = ("engine", "front-end 1", "front-end 2")
CLASSIFY, WATCH = Method("Classifier", "Classify", "UNARY"), Method("Health", "Watch", "SERVER_STREAMING")
# Multiples of a power of two: sums of a few are exact, in any order.
SECONDS = st.integers(0, 1000).map(lambda number: number / 64)


def report(version: int, size: int, seconds: float) -> BatchReport:
    timings = RequestTimings(seconds, seconds, seconds, seconds, 4 * seconds, 1.0 - seconds)
    return BatchReport("lenet", version, size, [timings] * size, 1, "cpu", seconds)


METHODS, CODES = st.sampled_from([CLASSIFY, WATCH]), st.sampled_from(["OK", "CANCELLED"])
# The name of a method of `Metrics`, and its arguments.
RECORDS = st.one_of(
    st.tuples(st.just("call_started"), METHODS),
    st.tuples(st.just("call_handled"), METHODS, CODES, SECONDS),
    st.tuples(st.just("batch"), st.builds(report, st.integers(1, 3), st.integers(0, 3), SECONDS)),
    st.tuples(st.just("rejected"), st.sampled_from(["", "lenet"]), st.sampled_from(["deadline", "not_found"])),
    st.tuples(st.just("thread_failed"), st.sampled_from(["decoder", 'of "quotes"\n'])),
)
# The name of a method of `Processes`, and its arguments but the process.
STEPS = RECORDS.map(lambda record: ("record", *record)) | st.sampled_from([("send",), ("restart",)])


class Processes:
    """Processes whose metrics are merged, beside one registry that counts everything."""

    def __init__(self) -> None:
        self.merged, self.single = MergedMetrics(), Metrics("1")
        self.running = {name: Metrics("1") for name in NAMES}

    def record(self, name: str, method: str, *arguments: Any) -> None:
        for metrics in (self.single, self.running[name]):
            getattr(metrics, method)(*arguments)

    def send(self, name: str) -> None:
        self.merged.update(name, snapshot(self.running[name].registry))

    def restart(self, name: str) -> None:
        self.send(name)
        self.merged.ended(name)
        self.running[name] = Metrics("1")


def registry_of(source: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(source)
    return registry


def text_of(source: Collector) -> str:
    return generate_latest(registry_of(source)).decode()


def families_of(source: Collector) -> list[Metric]:
    """Returns the parsed exposition with sorted samples, less what the operating system and the interpreter count."""
    families = list(text_string_to_metric_families(text_of(source)))
    for family in families:
        family.samples.sort(key=str)
    return [family for family in families if not family.name.startswith(("process_", "python_"))]


def value(source: Collector, name: str, **labels: str) -> float | None:
    return registry_of(source).get_sample_value(name, labels)


def counter_snapshot(count: float, **labels: str) -> bytes:
    registry = CollectorRegistry()
    CounterFamily("things", "Things.", list(labels), registry).labels(*labels.values()).inc(count)
    return snapshot(registry)


def gauge_snapshot(name: str, count: float) -> bytes:
    registry = CollectorRegistry()
    Gauge(name, "A gauge.", registry=registry).set(count)
    return snapshot(registry)


@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), STEPS)))
@settings(deadline=None, max_examples=60)
def test_the_exposition_is_that_of_one_registry_that_counted_all(steps: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    processes = Processes()
    for name, (step, *arguments) in steps:
        getattr(processes, step)(name, *arguments)
    for name in NAMES:
        processes.send(name)
    assert families_of(processes.merged) == families_of(processes.single.registry)


@given(counts=st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=3), min_size=1, max_size=4))
@example(counts=[[0.1, 0.2], [0.3], [0.7]])
@settings(deadline=None)
def test_no_counter_falls_when_a_process_ends_and_starts_again(counts: list[list[float]]) -> None:
    merged, total = MergedMetrics(), 0.0
    for life in range(3):
        for name, of_process in enumerate(counts):
            if life < len(of_process):
                merged.update(str(name), counter_snapshot(of_process[life]))
                now = value(merged, "things_total")
                assert now is not None and now >= total
                total = now
        for name in range(len(counts)):  # some have ended already
            merged.ended(str(name))
            assert value(merged, "things_total") == total
    assert total == pytest.approx(sum(map(sum, counts)))


def test_gauges_of_an_ended_process_vanish() -> None:
    merged = MergedMetrics()
    for name, count in zip(NAMES, (1, 2, 4), strict=True):
        merged.update(name, gauge_snapshot("linnaeus_in_flight", count))
    merged.update("front-end 0", snapshot(Metrics("0").registry))
    for ended, left in (("front-end 0", 7), ("nobody", 7), ("front-end 1", 5), ("engine", 4), ("front-end 2", None)):
        merged.ended(ended)
        assert value(merged, "linnaeus_in_flight") == left
        assert value(merged, "linnaeus_build_info", version="0") is None


def test_a_histogram_is_the_sum_of_all_processes_and_stays_cumulative() -> None:
    processes = Processes()
    for name, seconds in (("front-end 1", 0.5), ("engine", 0.03125), ("front-end 1", 60.0), ("front-end 2", 0.03125)):
        processes.record(name, "call_handled", CLASSIFY, "OK", seconds)
        restart_or_send = processes.restart if name == "front-end 1" else processes.send
        restart_or_send(name)

    def lines(source: Collector) -> list[str]:
        return [line for line in text_of(source).splitlines() if line.startswith("grpc_server_handling_seconds_")]

    assert lines(processes.merged) == lines(processes.single.registry)
    values = [float(line.split()[1]) for line in lines(processes.merged)]
    assert values == [0] * 7 + [2] * 3 + [3] * 5 + [4] * 2 + [60.5625]


def test_each_family_has_one_help_line_and_one_type_line() -> None:
    processes = Processes()
    for name in NAMES:
        processes.restart(name)
        processes.send(name)
    comments = [line.split()[1:3] for line in text_of(processes.merged).splitlines() if line.startswith("#")]
    names = [line.split()[2] for line in text_of(processes.single.registry).splitlines() if line.startswith("# HELP")]
    assert comments == [[kind, name] for name in names for kind in ("HELP", "TYPE")]


def test_the_exposition_in_open_metrics_can_be_parsed() -> None:
    processes = Processes()
    for name in NAMES:
        processes.record(name, "call_handled", CLASSIFY, "OK", 1.0)
        processes.restart(name)
        processes.send(name)
    text = open_metrics.generate_latest(registry_of(processes.merged)).decode()
    names = [family.name for family in open_metrics_families(text)]
    assert names == [family.name for family in processes.single.registry.collect()]


@pytest.mark.parametrize("name", ["process_start_time_seconds", "process_max_fds"])
def test_the_start_time_is_the_earliest_and_the_limit_of_files_the_lowest(name: str) -> None:
    merged = MergedMetrics()
    for process, count in (("engine", 20.0), ("front-end 1", 10.0), ("front-end 2", 30.0)):
        merged.update(process, gauge_snapshot(name, count))
    assert value(merged, name) == 10


def test_label_values_of_different_processes_are_all_there() -> None:
    merged = MergedMetrics()
    merged.update("engine", counter_snapshot(1, model="a", reason="deadline"))
    merged.update("front-end 1", counter_snapshot(2, model="b", reason="deadline"))
    merged.update("front-end 2", counter_snapshot(4, reason="deadline", model="b"))
    assert value(merged, "things_total", model="a", reason="deadline") == 1
    assert value(merged, "things_total", model="b", reason="deadline") == 6


@pytest.mark.parametrize("spoilt", [b"", counter_snapshot(9)[:-1], b"\x91\x01", snapshot(CollectorRegistry()) + b"\0"])
def test_a_snapshot_that_cannot_be_decoded_is_refused_and_the_last_one_kept(spoilt: bytes) -> None:
    merged = MergedMetrics()
    merged.update("engine", counter_snapshot(1))
    with pytest.raises(ValueError):
        merged.update("engine", spoilt)
    assert value(merged, "things_total") == 1
