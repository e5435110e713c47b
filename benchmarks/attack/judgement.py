"""What became of the good calls during and after an attack, from their planned send times and their ends.

Pure: knows no server and no clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common.report import percentile
from benchmarks.overload.grpc_callers import OK, CallOutcome

RECOVERED_SHARE = 0.95
WINDOW_SECONDS = 0.5
_STEP_SECONDS = 0.05
LEAST_OF_CONTROL = 0.90
LEAST_SHARE = 0.90
MOST_RECOVERY_SECONDS = 2.0
# An attacker that uses less of a core than this costs the machine little.
LITTLE_OF_A_CORE = 0.1


@dataclass(frozen=True, slots=True)
class GoodFigures:
    """Figures of the good calls that were planned for a period.

    Attributes:
        offered: how many.
        share: answers in time, by the calls that were offered; None without calls.
        p50, p99: seconds from the planned send time to the answer, of those answered; None without answers.
    """

    offered: int
    share: float | None
    p50: float | None
    p99: float | None


def good_figures(calls: Sequence[CallOutcome], start: float, end: float, deadline_seconds: float) -> GoodFigures:
    """Returns the figures of the calls that were planned from `start` to `end`."""
    offered = [each for each in calls if start <= each.intended < end]
    answered = [each.ended - each.intended for each in offered if each.code == OK]
    in_time = sum(seconds <= deadline_seconds for seconds in answered)
    share = in_time / len(offered) if offered else None
    return GoodFigures(len(offered), share, percentile(answered, 0.50), percentile(answered, 0.99))


def recovery_seconds(
    calls: Sequence[CallOutcome], last_hostile: float, observed_until: float, before: float, deadline_seconds: float
) -> float | None:
    """Returns how long after the last hostile request the last window begins whose goodput is below that of before.

    Args:
        calls: the good calls, all that were planned until `observed_until`.
        last_hostile: when the last hostile request was sent.
        observed_until: the end of the last window.
        before: share of the good calls that were answered in time before the attack.
        deadline_seconds: of the good calls.

    Returns:
        Seconds in steps of 0.05, 0 if no window is worse than before; None if the last one is, or there is none. Damage
        may begin after the last hostile request, so that the first good window proves nothing.
    """
    steps = math.floor((observed_until - last_hostile - WINDOW_SECONDS) / _STEP_SECONDS + 1e-6) + 1
    for step in reversed(range(steps)):
        start = last_hostile + step * _STEP_SECONDS
        share = good_figures(calls, start, start + WINDOW_SECONDS, deadline_seconds).share
        if share is None or share < RECOVERED_SHARE * before:
            return (step + 1) * _STEP_SECONDS if step + 1 < steps else None
    return 0.0 if steps > 0 else None


def missed_goals(share: float, control: float, recovery: float | None, attacker_cores: float) -> list[str]:
    """Returns the goals that a server missed in one attack.

    Args:
        share: of the good calls that it answered in time during the attack.
        control: the same of the control.
        recovery: seconds; None if it did not recover.
        attacker_cores: processor seconds a second that the attacker itself used.
    """
    missed = []
    if share < LEAST_OF_CONTROL * control:
        missed.append(f"{LEAST_OF_CONTROL:g} of the control")
    if attacker_cores < LITTLE_OF_A_CORE and share < LEAST_SHARE:
        missed.append(f"{LEAST_SHARE:g} outright")
    if recovery is None or recovery > MOST_RECOVERY_SECONDS:
        missed.append(f"recovery within {MOST_RECOVERY_SECONDS:g} s")
    return missed
