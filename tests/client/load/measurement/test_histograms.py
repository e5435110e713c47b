"""Compares the histogram with a sorted list of the same latencies."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.measurement.histograms import Histogram

seconds = st.lists(st.floats(1e-5, 3000), min_size=1, max_size=200)


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@settings(deadline=None, max_examples=40)
@given(seconds, st.floats(0.1, 100))
def test_a_percentile_is_within_one_percent_or_a_microsecond_of_the_truth(values, percentile):
    truth = sorted(values)[math.ceil(percentile / 100 * len(values) - 1e-9) - 1]
    assert filled(values).at_percentile(percentile) == pytest.approx(truth, rel=0.01, abs=1.1e-6)


@settings(deadline=None, max_examples=40)
@given(seconds)
def test_the_text_holds_the_whole_histogram(values):
    before = filled(values)
    after = Histogram.from_text(before.text())
    assert len(after) == len(values)
    for percentile in (1, 50, 99, 99.9, 100):
        assert after.at_percentile(percentile) == before.at_percentile(percentile)
    assert after.summary().mean == pytest.approx(before.summary().mean, rel=0.01, abs=1e-6)


def test_an_empty_histogram_has_zeros():
    summary = Histogram().summary()
    assert (summary.mean, summary.p50, summary.p99_9, summary.max) == (0.0, 0.0, 0.0, 0.0)
    assert len(Histogram.from_text(summary.histogram)) == 0


def test_a_value_out_of_range_counts_at_the_end_of_the_range():
    histogram = filled([0.0, 7200.0])
    assert histogram.at_rank(1) == pytest.approx(1e-6)
    assert histogram.at_rank(2) == pytest.approx(3600, rel=0.01)


def test_a_text_that_is_no_histogram_is_refused():
    with pytest.raises(ValueError, match="no HdrHistogram text"):
        Histogram.from_text("nonsense")
