"""What an attack did is computed from the good calls as it should be."""

import pytest

from benchmarks.attack.judgement import good_figures, missed_goals, recovery_seconds
from benchmarks.overload.grpc_callers import CallOutcome

DEADLINE_SECONDS = 0.5
RATE = 40


def calls(*bad: tuple[float, float], until: float = 10.0) -> list[CallOutcome]:
    """Forty calls a second, each answered within 20 ms but for those that were sent in a bad period."""
    moments = [number / RATE for number in range(round(until * RATE))]
    failed = [any(start <= moment < end for start, end in bad) for moment in moments]
    codes = ["DEADLINE_EXCEEDED" if each else "OK" for each in failed]
    return [CallOutcome(moment, moment + 0.02, code) for moment, code in zip(moments, codes, strict=True)]


def test_only_answers_within_the_deadline_of_calls_planned_in_the_period_count() -> None:
    ended = [
        CallOutcome(0.9, 1.0, "OK"),
        CallOutcome(1.0, 1.1, "OK"),
        CallOutcome(1.5, 2.2, "OK"),
        CallOutcome(1.6, 1.7, "RESOURCE_EXHAUSTED"),
        CallOutcome(1.9, 2.1, "OK"),
        CallOutcome(2.0, 2.1, "UNAVAILABLE"),
    ]
    figures = good_figures(ended, 1.0, 2.0, DEADLINE_SECONDS)
    assert figures.offered == 4 and figures.share == 0.5
    assert figures.p50 == pytest.approx(0.2) and figures.p99 == pytest.approx(0.7)


def test_without_calls_there_are_no_figures() -> None:
    figures = good_figures([], 0.0, 1.0, DEADLINE_SECONDS)
    assert (figures.offered, figures.share, figures.p50, figures.p99) == (0, None, None, None)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], 0.0),
        ([(2.0, 4.0)], 0.0),  # over before the last hostile request
        ([(2.0, 5.0)], 1.0),
        ([(5.0, 6.0)], 2.0),  # begins after the last hostile request
        ([(4.0, 4.2), (6.0, 6.5)], 2.5),  # ends twice
        ([(2.0, 10.0)], None),
        ([(9.9, 10.0)], None),  # not over yet
    ],
)
def test_recovery_is_the_end_of_the_last_bad_half_second(
    bad: list[tuple[float, float]], expected: float | None
) -> None:
    # A call of forty in a half second is within the 5 %, so that a window may begin one call early.
    found = recovery_seconds(calls(*bad), 4.0, 10.0, 1.0, DEADLINE_SECONDS)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.051))


def test_goodput_that_was_low_before_is_as_good_again_when_it_is_as_low() -> None:
    ended = calls(*((second / 2, second / 2 + 0.25) for second in range(20)))
    assert recovery_seconds(ended, 4.0, 10.0, 0.45, DEADLINE_SECONDS) == 0
    assert recovery_seconds(ended, 4.0, 10.0, 1.0, DEADLINE_SECONDS) is None


def test_nothing_is_recovered_that_was_not_observed() -> None:
    assert recovery_seconds(calls(), 4.0, 4.4, 1.0, DEADLINE_SECONDS) is None


@pytest.mark.parametrize(
    ("share", "control", "recovery", "cores", "missed"),
    [
        (0.90, 1.0, 2.0, 0.0, 0),
        (0.89, 1.0, 0.0, 0.5, 1),
        (0.54, 0.6, 0.0, 0.5, 0),  # an attack that burns the control's cores, too
        (0.54, 0.6, 0.0, 0.05, 1),
        (0.0, 1.0, None, 0.0, 3),
        (1.0, 1.0, 2.05, 0.0, 1),
    ],
)
def test_goals_follow_the_control_and_what_the_attack_costs(
    share: float, control: float, recovery: float | None, cores: float, missed: int
) -> None:
    assert len(missed_goals(share, control, recovery, cores)) == missed
