"""The metrics of a measurement and the result of a run: right values, right names, nothing invented."""

import pytest
from hypothesis import given, settings, strategies

from linnaeus.client.load.report.latency_plots import size_classes
from linnaeus.client.load.report.metrics import (
    bottleneck_warnings,
    format_number,
    main_measurement,
    metrics_of,
    result_sentence,
)
from linnaeus.client.load.report.options import displayed_options
from linnaeus.client.load.report.percentile_curve import percentile_curve
from linnaeus.client.load.report.step_rows import HEADINGS, step_rows


def texts(measurement):
    return {metric.name: metric.text for metric in metrics_of(measurement) if metric.is_shown}


def test_every_metric_has_its_value_in_its_unit(make_measurement):
    shown = texts(make_measurement(late=30, failed=2))
    assert (shown["sent"], shown["ok"], shown["late"], shown["failed"]) == ("1,032", "1,000", "30", "2")
    assert (shown["status DEADLINE_EXCEEDED"], shown["status UNAVAILABLE"]) == ("30", "2")
    assert (shown["goodput"], shown["sent a second"]) == ("100", "103")
    assert (shown["latency p50"], shown["latency p99"], shown["latency max"]) == ("500", "990", "1,000")
    assert (shown["server: queue, mean"], shown["server: batch size, mean"]) == ("2.00", "3.50")
    assert (shown["server: processor"], shown["tester: busy"], shown["tester: send lag p99"]) == (
        "0.40",
        "25.0",
        "3.00",
    )


def test_an_unknown_metric_is_not_shown(make_measurement):
    shown = texts(make_measurement(rate=None, milliseconds=(), server=False, failed=3))
    assert not [name for name in shown if name.startswith(("latency", "server"))]
    assert "tester: send lag p99" not in shown
    assert shown["goodput"] == "0.00"


@pytest.mark.parametrize(
    ("value", "text"), [(9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1234.6, "1,235"), (0, "0.00")]
)
def test_values_have_three_digits(value, text):
    assert format_number(value) == text


def test_the_main_step_is_the_knee_and_is_marked(make_measurement, make_run):
    ramp = make_run(
        make_measurement(rate=100.0),
        make_measurement(rate=200.0),
        make_measurement(rate=300.0, refused=500),
        knee=200.0,
    )
    assert main_measurement(ramp) is ramp.measurements[1]
    assert [step.marked for step in step_rows(ramp)] == [False, True, False]
    assert "200 calls/s is the highest rate" in result_sentence(ramp)
    assert all(len(step.cells) == len(HEADINGS) for step in step_rows(ramp))
    assert dict(zip(HEADINGS, step_rows(ramp)[2].cells, strict=True))["refused"] == "500"


def test_a_ramp_without_overload_claims_no_knee(make_measurement, make_run):
    ramp = make_run(make_measurement(rate=100.0), make_measurement(rate=200.0), knee=200.0)
    assert result_sentence(ramp) == "Every rate was served in full: the knee lies above 200 calls/s."


def test_without_a_knee_nothing_is_marked(make_measurement, make_run):
    ramp = make_run(make_measurement(rate=100.0, failed=500), make_measurement(rate=200.0, failed=900))
    assert not any(step.marked for step in step_rows(ramp))
    assert "no knee" in result_sentence(ramp)


def test_a_search_marks_the_last_measurement_at_the_found_rate(make_measurement, make_run):
    measurements = (make_measurement(rate=100.0, failed=9), make_measurement(rate=100.0), make_measurement(rate=200.0))
    search = make_run(*measurements, kind="search", objective="p99<1s", found_rate=100.0)
    assert [step.cells[1] for step in step_rows(search)] == ["", "found", ""]
    assert result_sentence(search) == "100 calls/s is the highest rate found that met p99<1s."


def test_the_load_tester_is_named_if_it_was_the_bottleneck(make_measurement, make_run):
    ramp = make_run(make_measurement(rate=100.0), make_measurement(rate=200.0, limit="it was busy 99 % of the time"))
    assert bottleneck_warnings(ramp) == ("The tester was the limit at 200 calls/s: it was busy 99 % of the time",)


def test_the_options_of_a_ramp_list_the_rates_that_were_tried(make_measurement, make_run):
    shown = displayed_options(make_run(make_measurement(rate=100.0), make_measurement(rate=300.0)))
    assert "rate" not in shown
    assert shown["steps"] == ["100 calls/s", "300 calls/s"]


@settings(deadline=None, max_examples=20)
@given(strategies.lists(strategies.floats(0.01, 60_000), min_size=1, max_size=200))
@pytest.mark.slow
def test_the_curve_is_the_distribution(make_histogram, milliseconds):
    curve = percentile_curve(make_histogram(milliseconds))
    ordered = sorted(milliseconds)
    assert curve.inverse[0] == 2 and curve.inverse[-1] == 1000
    assert list(curve.milliseconds) == sorted(curve.milliseconds)
    assert curve.milliseconds[0] == pytest.approx(ordered[(len(ordered) - 1) // 2], rel=2e-3, abs=2e-3)
    assert curve.milliseconds[-1] == pytest.approx(ordered[-1], rel=2e-3, abs=2e-3)


def test_the_curve_passes_through_the_percentiles(make_histogram):
    curve = percentile_curve(make_histogram(range(1, 1001)))
    for inverse, value in zip(curve.inverse, curve.milliseconds, strict=True):
        assert value == pytest.approx(1000 * (1 - 1 / inverse), rel=3e-3, abs=1.5)


def test_the_curve_ends_where_calls_are_few(make_histogram):
    assert percentile_curve(make_histogram([5.0] * 100_000)).inverse[-1] == 10_000


@pytest.mark.parametrize(
    ("bounds", "names"),
    [
        (["1", "2", "4", "8", "+Inf"], ["1", "2", "3–4", "5–8", ">8"]),
        (["1.0", "16.0"], ["1", "2–16"]),
    ],
)
def test_batch_sizes_are_named_by_what_they_hold(bounds, names):
    assert size_classes(bounds) == names
