"""Runs whole load tests: one measurement, a ramp of rates, or a search for the highest rate that meets an objective.

The entry point of the load tester; does not know how a call is sent or how results are shown.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from linnaeus.client.load.analysis.knee import find_knee
from linnaeus.client.load.analysis.objective import Objective, parse_ramp
from linnaeus.client.load.analysis.rate_search import RateSearch
from linnaeus.client.load.generator.call_outcomes import same_answer
from linnaeus.client.load.generator.process_pool import LoadFailed
from linnaeus.client.load.generator.records import TopClass
from linnaeus.client.load.measurement.interrupts import Interrupts
from linnaeus.client.load.measurement.measurement import run_measurement
from linnaeus.client.load.plan import Plan, expand_pictures
from linnaeus.client.load.progress import NoProgress, Progress, Snapshot
from linnaeus.client.load.results import Measurement, Run

__all__ = [
    "LoadFailed",
    "NoProgress",
    "Objective",
    "Plan",
    "Progress",
    "Snapshot",
    "expand_pictures",
    "parse_ramp",
    "run_ramp",
    "run_search",
    "run_single",
]


def run_single(plan: Plan, progress: Progress) -> Run:
    """Runs one measurement.

    Ctrl-C (KeyboardInterrupt) ends it early: nothing more is sent, and calls in flight are waited for until their
    deadlines; a second Ctrl-C cancels them. The result so far is returned, with `interrupted` set on its last
    measurement.

    Raises:
        OSError: if an image cannot be read.
        LoadFailed: if a generator process failed or died.
    """
    with _LoadTest("single", plan, progress) as test:
        test.measure(plan, of=1)
    return test.run()


def run_ramp(plan: Plan, rates: Sequence[float], progress: Progress) -> Run:
    """Measures each rate in an open loop, lowest first, with the other options of the plan; finds the knee.

    Ctrl-C and errors are handled as by `run_single`; the remaining rates are skipped.
    """
    with _LoadTest("ramp", plan, progress) as test:
        for rate in sorted(rates):
            if not test.is_interrupted:
                test.measure(at_rate(plan, rate), of=len(rates))
    knee = find_knee(test.measurements)
    return test.run(knee=knee.served, knee_below=knee.not_served, knee_estimate=knee.estimate)


def run_search(plan: Plan, objective: Objective, lowest: float, highest: float, progress: Progress) -> Run:
    """Finds the highest rate from `lowest` to `highest` calls a second that meets the objective, within 2 %.

    A rate at which the queue grows does not.

    Ctrl-C and errors are handled as by `run_single`; the best rate so far is returned.

    Raises:
        ValueError: if `lowest` is not above 0 or exceeds `highest`.
    """
    search = RateSearch(lowest, highest)
    with _LoadTest("search", plan, progress) as test:
        while search.next_rate is not None and not test.is_interrupted:
            measurement = test.measure(at_rate(plan, search.next_rate), of=None)
            if not measurement.interrupted:
                search.report(met=objective.is_met_by(measurement) and not grows(measurement))
    return test.run(objective=objective.text, found_rate=search.found)


def grows(measurement: Measurement) -> bool:
    """Returns whether the queue grew: a latency that is met now would not be met for longer."""
    return measurement.queue is not None and measurement.queue.grows


def at_rate(plan: Plan, rate: float) -> Plan:
    """Returns the same plan as an open loop at this rate."""
    return replace(plan, rate=rate, concurrency=None)


class _LoadTest:
    """The measurements of one load test, one after another; counts Ctrl-C meanwhile."""

    def __init__(self, kind: str, plan: Plan, progress: Progress) -> None:
        for picture in plan.pictures:
            picture.open("rb").close()
        self._kind = kind
        self._plan = plan
        self._progress = progress
        self._interrupts = Interrupts()
        self._started_at = datetime.now().astimezone().isoformat(timespec="seconds")
        self._notes: list[str] = []
        self._answers: dict[int, TopClass] = {}
        self.measurements: list[Measurement] = []

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._interrupts.__exit__(kind, error, traceback)

    @property
    def is_interrupted(self) -> bool:
        """Whether no further measurement may begin."""
        return self._interrupts.count > 0

    def measure(self, plan: Plan, of: int | None) -> Measurement:
        """Runs the next measurement.

        Args:
            plan: its plan.
            of: the number of measurements; None if it is unknown.
        """
        self._progress.measurement_started(plan, len(self.measurements) + 1, of)
        result = run_measurement(plan, self._progress, self._interrupts)
        self.measurements.append(result.measurement)
        self._add_note(result.note)
        for answers in result.first_answers:
            self._compare(answers)
        self._progress.measurement_ended(result.measurement)
        return result.measurement

    def run(self, **findings: Any) -> Run:
        """Returns the result of the test."""
        return Run(
            kind=self._kind,
            started_at=self._started_at,
            options=self._plan.options(),
            machine=_machine(),
            measurements=tuple(self.measurements),
            notes=tuple(self._notes),
            **findings,
        )

    def _compare(self, answers: dict[int, TopClass]) -> None:
        """Compares first answers between processes and measurements; each process compares only its own."""
        for index, top in answers.items():
            if not same_answer(self._answers.setdefault(index, top), top):
                self._add_note(f"{self._plan.pictures[index].name} was answered differently at different times")

    def _add_note(self, note: str) -> None:
        if note and note not in self._notes:
            self._notes.append(note)


def _machine() -> str:
    cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
