"""The table of all attacks compares each server with the control and names the goals that it missed."""

import json
from dataclasses import replace

from benchmarks.attack.judgement import GoodFigures
from benchmarks.attack.measurement import Measurement
from benchmarks.attack.report import Row, as_json, markdown_head, markdown_line

MIB = 1 << 20
UNHURT = Measurement(
    before=GoodFigures(60, 1.0, 0.02, 0.04),
    during=GoodFigures(160, 0.8, 0.0214, 0.25),
    recovery=0.0,
    memory_before=600 * MIB,
    memory_after=700 * MIB,
    memory_peak=900 * MIB,
    ended={"OK": 3, "unanswered": 1},
    attacker_cores=0.25,
    others_cores=0.5,
)
HURT = replace(UNHURT, during=GoodFigures(160, 0.4, None, None), recovery=None)


def cells(row: Row) -> list[str]:
    return [cell.strip() for cell in markdown_line(row).strip("|").split("|")]


def test_a_server_is_compared_with_the_control_and_its_missed_goals_are_named() -> None:
    row = Row("bombs", "linnaeus", HURT, UNHURT)
    assert row.of_control == 0.5
    found = dict(
        zip([cell.strip() for cell in markdown_head().split("\n")[0].strip("|").split("|")], cells(row), strict=True)
    )
    assert found["good in time (before)"] == "0.40 (1.00)" and found[": control"] == "0.50"
    assert found["p50"] == "-" and found["recovery"] == "none"
    assert found["memory after (growth, peak)"] == "700 MiB (+100, 900)"
    assert found["how hostile calls ended"] == "3 OK, 1 unanswered"
    assert found["goals"] == "missed: 0.9 of the control, recovery within 2 s"


def test_as_good_as_the_control_is_kept_even_if_the_control_is_hurt() -> None:
    assert cells(Row("bombs", "linnaeus", UNHURT, UNHURT))[-1] == "kept"


def test_the_control_has_no_goals() -> None:
    row = Row("bombs", "control", HURT, None)
    assert row.of_control is None and row.missed == [] and cells(row)[-1] == ""


def test_a_control_without_a_single_answer_compares_with_nothing() -> None:
    dead = replace(UNHURT, during=GoodFigures(160, 0.0, None, None))
    row = Row("bombs", "linnaeus", UNHURT, dead)
    assert row.of_control is None and row.missed == []


def test_all_figures_are_written_as_json() -> None:
    written = json.loads(json.dumps(as_json([Row("bombs", "linnaeus", HURT, UNHURT)], 30.0)))
    assert written["good_calls_a_second"] == 30.0
    row = written["rows"][0]
    assert row["ended"] == {"OK": 3, "unanswered": 1} and row["during"]["share"] == 0.4
    assert row["of_control"] == 0.5 and len(row["missed"]) == 2
