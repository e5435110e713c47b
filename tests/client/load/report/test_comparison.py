"""The comparison of two runs: corresponding measurements, ratios, options that differ."""

import dataclasses

import pytest

from linnaeus.client.load.report.comparison import differing_options, main_pair, matching_pairs
from linnaeus.client.load.report.comparison_page import comparison_page
from linnaeus.client.load.results import Run

NAMES = ("before.json", "after.json")


def with_options(run, **options):
    return dataclasses.replace(run, options={**run.options, **options})


def test_the_ratio_is_b_by_a(make_measurement, make_run):
    before, after = (
        make_run(make_measurement()),
        make_run(make_measurement(milliseconds=tuple(range(2, 2002, 2)), late=1000)),
    )
    (pair,) = matching_pairs(before, after)
    rows = {row.name: row for row in pair.rows}
    assert rows["latency p50"].ratio == pytest.approx(2, rel=2e-3)
    assert rows["sent"].ratio == 2
    assert rows["late"].ratio is None
    assert (rows["status DEADLINE_EXCEEDED"].a.text, rows["status DEADLINE_EXCEEDED"].b.text) == ("0", "1,000")
    assert "refused" not in rows


def test_metrics_are_in_the_usual_order_even_if_only_one_run_has_them(make_measurement, make_run):
    (pair,) = matching_pairs(make_run(make_measurement(failed=2)), make_run(make_measurement(late=2)))
    names = [row.name for row in pair.rows]
    assert names.index("status DEADLINE_EXCEEDED") < names.index("goodput")
    assert names.index("status UNAVAILABLE") < names.index("goodput") < names.index("latency p50")


def test_steps_of_equal_rate_are_compared(make_measurement, make_run):
    before = make_run(*(make_measurement(rate=rate) for rate in (100.0, 200.0, 300.0)), knee=200.0)
    after = make_run(*(make_measurement(rate=rate) for rate in (200.00001, 300.0, 400.0)), knee=300.0)
    pairs = matching_pairs(before, after)
    assert [(pair.a.rate, pair.b.rate) for pair in pairs] == [(200.0, 200.00001), (300.0, 300.0)]
    assert main_pair(pairs, before, after) is pairs[0]


def test_a_single_run_is_compared_with_the_step_of_its_rate(make_measurement, make_run):
    ramp = make_run(make_measurement(rate=100.0), make_measurement(rate=200.0))
    (pair,) = matching_pairs(ramp, make_run(make_measurement(rate=200.0)))
    assert pair.a is ramp.measurements[1]


@pytest.mark.parametrize("rate", [150.0, None])
def test_runs_with_nothing_in_common_are_refused(make_measurement, make_run, rate):
    ramp = make_run(make_measurement(rate=100.0), make_measurement(rate=200.0))
    with pytest.raises(ValueError, match="no step of equal rate"):
        matching_pairs(ramp, make_run(make_measurement(rate=rate)))


def test_different_loads_are_both_named(make_measurement, make_run):
    (pair,) = matching_pairs(make_run(make_measurement(rate=200.0)), make_run(make_measurement(rate=None)))
    assert pair.load == "200 calls/s (A) and 16 callers (B)"


def test_only_options_that_differ_are_listed(make_measurement, make_run):
    before = make_run(make_measurement())
    after = with_options(before, model="resnet18", priority="high", pictures=("cat.jpg",))
    options = [(each.name, each.a, each.b) for each in differing_options(before, after)]
    assert options == [("model", "lenet", "resnet18"), ("priority", None, "high")]


def test_a_run_read_back_from_json_is_the_same_run(make_measurement, make_run):
    run = make_run(make_measurement())
    again = Run.from_dict(run.to_dict())
    assert differing_options(run, again) == ()
    assert all(row.ratio == 1 for row in matching_pairs(run, again)[0].rows)


def test_the_page_overlays_both_distributions(make_measurement, make_run):
    before = make_run(make_measurement())
    text = comparison_page(before, with_options(before, model="resnet18"), NAMES)
    plot = text.split("<svg")[1].split("</svg>")[0]
    assert "Latency distribution, 200 calls/s" in plot
    assert ">A</text>" in plot and ">B</text>" in plot
    assert "var(--median)" in plot and "var(--worst)" in plot
    assert "resnet18" in text and "before.json" in text


def test_two_ramps_are_plotted_together_with_both_knees(make_measurement, make_run):
    steps = [make_measurement(rate=rate) for rate in (100.0, 200.0, 300.0)]
    text = comparison_page(make_run(*steps, knee=200.0), make_run(*steps, knee=100.0), NAMES)
    assert text.count("<svg") == 3
    assert "knee A 200/s" in text and "knee B 100/s" in text
    assert "<h2>300 calls/s</h2>" in text
