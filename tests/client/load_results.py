"""Fixtures with made-up results of load tests: every value follows from the arguments."""

import dataclasses

import pytest
from hdrh.histogram import HdrHistogram

from linnaeus.client.load.results import Counts, Latency, Measurement, Run, Second, ServerView, TesterView


def histogram_of(milliseconds):
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for value in milliseconds:
        histogram.record_value(int(value * 1000))
    return histogram


def latency_of(milliseconds):
    histogram = histogram_of(milliseconds)
    percentiles = [histogram.get_value_at_percentile(each) / 1e6 for each in (50, 90, 95, 99, 99.9)]
    mean = sum(milliseconds) / len(milliseconds) / 1000 if milliseconds else 0.0
    longest = max(milliseconds, default=0.0) / 1000
    return Latency(mean, *percentiles, longest, histogram.encode().decode())


def measurement(rate=200.0, milliseconds=tuple(range(1, 1001)), seconds=10, limit="", server=True, **counts):
    """Returns a measurement with one ok call for each latency; all seconds have the same calls."""
    outcomes = {"late": 0, "refused": 0, "failed": 0, **counts}
    ok = len(milliseconds)
    each = latency_of(milliseconds)
    known = (each.p50, each.p99, each.max) if ok else (None, None, None)
    a_second = [sum(outcomes.values()) + ok, ok, outcomes["late"], outcomes["refused"], outcomes["failed"]]
    timeline = [Second(offset, *(count // seconds for count in a_second), *known) for offset in range(-2, seconds)]
    codes = {"OK": ok, "DEADLINE_EXCEEDED": outcomes["late"], "UNAVAILABLE": outcomes["failed"]}
    view = ServerView({"decode": 0.001, "queue": 0.002, "inference": 0.004}, 3.5, {"1": 5, "2": 9, "+Inf": 1}, 4.0)
    return Measurement(
        rate=rate,
        concurrency=None if rate is not None else 16,
        seconds=float(seconds),
        counts=Counts(sent=a_second[0], ok=ok, by_code=codes, **outcomes),
        latency=each,
        timeline=tuple(timeline),
        server=view if server else None,
        tester=TesterView(0.25, 0.003, bool(limit), limit),
    )


def run(*measurements, **fields):
    known = dict(
        kind="single" if len(measurements) == 1 else "ramp",
        started_at="2026-11-22T08:00:00+00:00",
        options={"target": "localhost:8001", "model": "lenet", "rate": 200.0, "pictures": ["cat.jpg"]},
        machine="Linux, 2 cores",
        measurements=measurements,
    )
    return Run(**(known | fields))


@pytest.fixture(scope="session")
def make_measurement():
    return measurement


@pytest.fixture(scope="session")
def make_run():
    return run


@pytest.fixture
def interrupted():
    return lambda measurement: dataclasses.replace(measurement, interrupted=True)


@pytest.fixture(scope="session")
def make_histogram():
    return lambda milliseconds: histogram_of(milliseconds).encode().decode()
