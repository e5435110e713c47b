"""Two runs side by side: what belongs together, how it relates, and what was not the same."""

import dataclasses

import pytest

from linnaeus.client.load.report.comparison import differing_options, pairs_of, speaking
from linnaeus.client.load.report.comparison_page import comparison_page
from linnaeus.client.load.results import Run

NAMES = ("before.json", "after.json")


def with_options(run, **options):
    return dataclasses.replace(run, options={**run.options, **options})


def test_the_ratio_is_b_by_a(make_spell, make_run):
    before, after = make_run(make_spell()), make_run(make_spell(milliseconds=tuple(range(2, 2002, 2)), late=1000))
    (pair,) = pairs_of(before, after)
    rows = {row.name: row for row in pair.rows}
    assert rows["latency p50"].ratio == pytest.approx(2, rel=2e-3)
    assert rows["sent"].ratio == 2
    assert rows["late"].ratio is None
    assert (rows["status DEADLINE_EXCEEDED"].a.text, rows["status DEADLINE_EXCEEDED"].b.text) == ("0", "1,000")
    assert "refused" not in rows


def test_figures_stand_in_reading_order_whoever_saw_them(make_spell, make_run):
    (pair,) = pairs_of(make_run(make_spell(failed=2)), make_run(make_spell(late=2)))
    names = [row.name for row in pair.rows]
    assert names.index("status DEADLINE_EXCEEDED") < names.index("goodput")
    assert names.index("status UNAVAILABLE") < names.index("goodput") < names.index("latency p50")


def test_steps_of_equal_rate_are_compared(make_spell, make_run):
    before = make_run(*(make_spell(rate=rate) for rate in (100.0, 200.0, 300.0)), knee=200.0)
    after = make_run(*(make_spell(rate=rate) for rate in (200.00001, 300.0, 400.0)), knee=300.0)
    pairs = pairs_of(before, after)
    assert [(pair.a.rate, pair.b.rate) for pair in pairs] == [(200.0, 200.00001), (300.0, 300.0)]
    assert speaking(pairs, before, after) is pairs[0]


def test_a_single_run_is_compared_with_the_step_of_its_rate(make_spell, make_run):
    ramp = make_run(make_spell(rate=100.0), make_spell(rate=200.0))
    (pair,) = pairs_of(ramp, make_run(make_spell(rate=200.0)))
    assert pair.a is ramp.spells[1]


@pytest.mark.parametrize("rate", [150.0, None])
def test_runs_with_nothing_in_common_are_refused(make_spell, make_run, rate):
    ramp = make_run(make_spell(rate=100.0), make_spell(rate=200.0))
    with pytest.raises(ValueError, match="no step of equal rate"):
        pairs_of(ramp, make_run(make_spell(rate=rate)))


def test_different_loads_are_both_named(make_spell, make_run):
    (pair,) = pairs_of(make_run(make_spell(rate=200.0)), make_run(make_spell(rate=None)))
    assert pair.load == "200 calls/s (A) and 16 callers (B)"


def test_only_options_that_differ_are_told(make_spell, make_run):
    before = make_run(make_spell())
    after = with_options(before, model="resnet18", priority="high", pictures=("cat.jpg",))
    told = [(each.name, each.a, each.b) for each in differing_options(before, after)]
    assert told == [("model", "lenet", "resnet18"), ("priority", None, "high")]


def test_a_run_read_back_from_json_is_the_same_run(make_spell, make_run):
    run = make_run(make_spell())
    again = Run.from_dict(run.to_dict())
    assert differing_options(run, again) == ()
    assert all(row.ratio == 1 for row in pairs_of(run, again)[0].rows)


def test_the_page_overlays_both_distributions(make_spell, make_run):
    before = make_run(make_spell())
    text = comparison_page(before, with_options(before, model="resnet18"), NAMES)
    drawing = text.split("<svg")[1].split("</svg>")[0]
    assert "Latency distribution, 200 calls/s" in drawing
    assert ">A</text>" in drawing and ">B</text>" in drawing
    assert "var(--median)" in drawing and "var(--worst)" in drawing
    assert "resnet18" in text and "before.json" in text


def test_two_ramps_are_drawn_over_each_other_with_both_knees(make_spell, make_run):
    steps = [make_spell(rate=rate) for rate in (100.0, 200.0, 300.0)]
    text = comparison_page(make_run(*steps, knee=200.0), make_run(*steps, knee=100.0), NAMES)
    assert text.count("<svg") == 3
    assert "knee A 200/s" in text and "knee B 100/s" in text
    assert "<h2>300 calls/s</h2>" in text
