"""Measurements of several scenarios in turns, each of them valid."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from benchmarks.common.rounds import rotated
from benchmarks.peers.measurement import Scenario

T = TypeVar("T")
# Measures a scenario for so many seconds in a numbered round; raises RuntimeError if a call fails.
Measure: TypeAlias = Callable[[Scenario, float, int], T]
_TRIES = 3


def measure_in_turns(
    scenarios: Sequence[Scenario], seconds: float, rounds: int, measure: Measure[T]
) -> dict[Scenario, list[T]]:
    """Measures each scenario once a round, in an order that rotates; a first round is not counted."""
    for scenario in scenarios:
        _measure_valid(scenario, seconds, 0, measure)
    measured: dict[Scenario, list[T]] = {scenario: [] for scenario in scenarios}
    for number in range(rounds):
        for scenario in rotated(scenarios, number):
            measured[scenario].append(_measure_valid(scenario, seconds, number, measure))
    return measured


def _measure_valid(scenario: Scenario, seconds: float, number: int, measure: Measure[T]) -> T:
    """Measures until no call fails, at most three times; a failed call makes a measurement void.

    Raises:
        RuntimeError: if a call failed in each of them.
    """
    for _ in range(_TRIES - 1):
        try:
            return measure(scenario, seconds, number)
        except RuntimeError as reason:  # tritonserver fails one call in some thousands
            print(f"  void, measured again: {reason}", flush=True)
    return measure(scenario, seconds, number)
