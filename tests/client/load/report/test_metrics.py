"""What is told of a spell: the right values under the right names, and nothing made up."""

import pytest
from hypothesis import given, settings, strategies

from linnaeus.client.load.report.latency_plots import size_classes
from linnaeus.client.load.report.metrics import featured, figures_of, limited_by_tester, shortened, verdict
from linnaeus.client.load.report.options import told_options
from linnaeus.client.load.report.percentile_curve import percentile_curve
from linnaeus.client.load.report.step_rows import HEADINGS, steps_of


def texts(spell):
    return {figure.name: figure.text for figure in figures_of(spell) if figure.worth_a_row}


def test_every_figure_has_its_value_in_its_unit(make_spell):
    told = texts(make_spell(late=30, failed=2))
    assert (told["sent"], told["ok"], told["late"], told["failed"]) == ("1,032", "1,000", "30", "2")
    assert (told["status DEADLINE_EXCEEDED"], told["status UNAVAILABLE"]) == ("30", "2")
    assert (told["goodput"], told["sent a second"]) == ("100", "103")
    assert (told["latency p50"], told["latency p99"], told["latency max"]) == ("500", "990", "1,000")
    assert (told["server: queue, mean"], told["server: batch size, mean"]) == ("2.00", "3.50")
    assert (told["server: processor"], told["tester: busy"], told["tester: send lag p99"]) == ("0.40", "25.0", "3.00")


def test_what_is_not_known_is_not_told(make_spell):
    told = texts(make_spell(rate=None, milliseconds=(), server=False, failed=3))
    assert not [name for name in told if name.startswith(("latency", "server"))]
    assert "tester: send lag p99" not in told
    assert told["goodput"] == "0.00"


@pytest.mark.parametrize(
    ("value", "text"), [(9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1234.6, "1,235"), (0, "0.00")]
)
def test_values_have_three_digits(value, text):
    assert shortened(value) == text


def test_the_step_that_speaks_is_the_knee_and_is_marked(make_spell, make_run):
    ramp = make_run(make_spell(rate=100.0), make_spell(rate=200.0), make_spell(rate=300.0, refused=500), knee=200.0)
    assert featured(ramp) is ramp.spells[1]
    assert [step.marked for step in steps_of(ramp)] == [False, True, False]
    assert "200 calls/s is the highest rate" in verdict(ramp)
    assert all(len(step.cells) == len(HEADINGS) for step in steps_of(ramp))
    assert dict(zip(HEADINGS, steps_of(ramp)[2].cells, strict=True))["refused"] == "500"


def test_a_ramp_that_never_bent_claims_no_knee(make_spell, make_run):
    ramp = make_run(make_spell(rate=100.0), make_spell(rate=200.0), knee=200.0)
    assert verdict(ramp) == "Every rate was served in full: the knee lies above 200 calls/s."


def test_without_a_knee_nothing_is_marked(make_spell, make_run):
    ramp = make_run(make_spell(rate=100.0, failed=500), make_spell(rate=200.0, failed=900))
    assert not any(step.marked for step in steps_of(ramp))
    assert "no knee" in verdict(ramp)


def test_a_search_marks_the_last_spell_at_the_found_rate(make_spell, make_run):
    spells = (make_spell(rate=100.0, failed=9), make_spell(rate=100.0), make_spell(rate=200.0))
    search = make_run(*spells, kind="search", objective="p99<1s", found_rate=100.0)
    assert [step.cells[1] for step in steps_of(search)] == ["", "found", ""]
    assert verdict(search) == "100 calls/s is the highest rate found that met p99<1s."


def test_the_tester_is_named_where_it_was_the_limit(make_spell, make_run):
    ramp = make_run(make_spell(rate=100.0), make_spell(rate=200.0, limit="it was busy 99 % of the time"))
    assert limited_by_tester(ramp) == ("The tester was the limit at 200 calls/s: it was busy 99 % of the time",)


def test_a_ramp_tells_the_rates_it_tried_not_the_one_it_was_made_with(make_spell, make_run):
    told = told_options(make_run(make_spell(rate=100.0), make_spell(rate=300.0)))
    assert "rate" not in told
    assert told["steps"] == ["100 calls/s", "300 calls/s"]


@settings(deadline=None, max_examples=20)
@given(strategies.lists(strategies.floats(0.01, 60_000), min_size=1, max_size=200))
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


def test_the_curve_goes_as_far_as_there_are_calls(make_histogram):
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
