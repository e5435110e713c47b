"""Histograms and counters produce the same scrape as those of the Prometheus client."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, enable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from linnaeus.server.observability.histograms import HistogramFamily
from linnaeus.server.observability.series import CounterFamily

NAME, HELP, LABELS = "linnaeus_some_seconds", "Some time.", ("model", "stage")


@pytest.fixture(scope="module", autouse=True)
def without_created_series() -> Iterator[None]:
    disable_created_metrics()
    yield
    enable_created_metrics()


@pytest.mark.parametrize("bounds", [(0.001, 0.5, 1.0, 10.0), (-0.5, 0.0, 0.5), (1, 2, 4)], ids=str)
@given(
    values=st.lists(
        st.tuples(
            st.sampled_from([("lenet", "decode"), ('qu"ote', "back\\slash\n")]),
            st.one_of(st.sampled_from([-0.5, 0.0, 0.001, 0.5, 1.0, 10.0]), st.floats(-20, 20)),
        )
    )
)
def test_the_text_of_a_scrape_equals_that_of_the_prometheus_client(
    bounds: tuple[float, ...], values: list[tuple[tuple[str, str], float]]
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    our_family = HistogramFamily(NAME, HELP, bounds, LABELS, ours)
    their_family = Histogram(NAME, HELP, LABELS, buckets=bounds, registry=theirs)
    for labels, value in values:
        our_family.labels(*labels).observe(value)
        their_family.labels(*labels).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
    assert generate_openmetrics(ours) == generate_openmetrics(theirs)


def test_a_series_is_collected_from_its_first_use() -> None:
    registry = CollectorRegistry()
    family = HistogramFamily(NAME, HELP, (1.0,), LABELS, registry)
    labels = {"model": "lenet", "stage": "decode"}
    assert registry.get_sample_value(f"{NAME}_count", labels) is None
    family.labels("lenet", "decode")
    assert registry.get_sample_value(f"{NAME}_count", labels) == 0


@given(
    amounts=st.lists(
        st.tuples(st.sampled_from([("lenet", "decode"), ('qu"ote', "back\\slash\n")]), st.floats(0, 20, width=32))
    )
)
def test_the_text_of_a_scrape_of_counters_equals_that_of_the_prometheus_client(
    amounts: list[tuple[tuple[str, str], float]],
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    our_family = CounterFamily(NAME, HELP, LABELS, ours)
    their_family = Counter(NAME, HELP, LABELS, registry=theirs)
    for labels, amount in amounts:
        our_family.labels(*labels).inc(amount)
        their_family.labels(*labels).inc(amount)
    assert generate_latest(ours) == generate_latest(theirs)
    assert generate_openmetrics(ours) == generate_openmetrics(theirs)


def test_a_series_that_was_removed_is_collected_no_more() -> None:
    registry = CollectorRegistry()
    family = CounterFamily(NAME, HELP, LABELS, registry)
    family.labels("lenet", "decode").inc()
    family.remove("lenet", "decode")
    assert registry.get_sample_value(f"{NAME}_total", {"model": "lenet", "stage": "decode"}) is None
