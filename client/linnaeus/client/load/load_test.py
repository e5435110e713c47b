"""Whole load tests: one spell, a ramp of spells, or a search for the highest rate that meets an objective.

This is the load tester's door. It must not know how a call is sent, nor how results are shown.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from linnaeus.client.load.analysis.knee import knee_of
from linnaeus.client.load.analysis.objective import Objective, parse_ramp
from linnaeus.client.load.analysis.rate_search import Bisection
from linnaeus.client.load.generator.call_outcomes import alike
from linnaeus.client.load.generator.records import Top
from linnaeus.client.load.generator.worker_pool import LoadFailed
from linnaeus.client.load.measurement.interrupts import Interrupts
from linnaeus.client.load.measurement.measurement import run_spell
from linnaeus.client.load.plan import Plan, expand_pictures
from linnaeus.client.load.progress import Progress, Silence, Snapshot
from linnaeus.client.load.results import Run, Spell

__all__ = [
    "LoadFailed",
    "Objective",
    "Plan",
    "Progress",
    "Silence",
    "Snapshot",
    "expand_pictures",
    "parse_ramp",
    "run_ramp",
    "run_search",
    "run_single",
]


def run_single(plan: Plan, progress: Progress) -> Run:
    """One spell.

    Ctrl-C (KeyboardInterrupt) ends it early: nothing more is sent, calls in flight are waited for, at most until their
    deadlines (a second Ctrl-C drops them), and the run so far comes back with `interrupted` set on its last spell.

    Raises:
        OSError: a picture cannot be read.
        LoadFailed: a process of the tester died.
    """
    with _Course("single", plan, progress) as course:
        course.spell(plan, of=1)
    return course.run()


def run_ramp(plan: Plan, rates: Sequence[float], progress: Progress) -> Run:
    """One open-loop spell a rate, lowest first, as `plan` says but for rate and concurrency; marks the knee.

    Ctrl-C and errors: as `run_single`; the rates that were left are not tried.
    """
    with _Course("ramp", plan, progress) as course:
        for rate in sorted(rates):
            if not course.interrupted:
                course.spell(at_rate(plan, rate), of=len(rates))
    return course.run(knee=knee_of(course.spells))


def run_search(plan: Plan, objective: Objective, lowest: float, highest: float, progress: Progress) -> Run:
    """The highest rate from `lowest` to `highest` calls a second that meets the objective, within 2 %.

    Ctrl-C and errors: as `run_single`; what was found so far counts.

    Raises:
        ValueError: `lowest` is not above 0 or is above `highest`.
    """
    search = Bisection(lowest, highest)
    with _Course("search", plan, progress) as course:
        while search.next_rate is not None and not course.interrupted:
            spell = course.spell(at_rate(plan, search.next_rate), of=None)
            if not spell.interrupted:
                search.tell(met=objective.met_by(spell))
    return course.run(objective=objective.text, found_rate=search.found)


def at_rate(plan: Plan, rate: float) -> Plan:
    """The same plan as an open loop at this rate."""
    return replace(plan, rate=rate, concurrency=None)


class _Course:
    """The spells of one run, one after another, while Ctrl-C is counted."""

    def __init__(self, kind: str, plan: Plan, progress: Progress) -> None:
        for picture in plan.pictures:
            picture.open("rb").close()
        self._kind = kind
        self._plan = plan
        self._progress = progress
        self._interrupts = Interrupts()
        self._started_at = datetime.now().astimezone().isoformat(timespec="seconds")
        self._notes: list[str] = []
        self._answers: dict[int, Top] = {}
        self.spells: list[Spell] = []

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._interrupts.__exit__(kind, error, traceback)

    @property
    def interrupted(self) -> bool:
        """Whether no further spell is to begin."""
        return self._interrupts.count > 0

    def spell(self, plan: Plan, of: int | None) -> Spell:
        """Runs the next spell."""
        self._progress.spell_started(plan, len(self.spells) + 1, of)
        told = run_spell(plan, self._progress, self._interrupts)
        self.spells.append(told.spell)
        self._note(told.note)
        for answers in told.first_answers:
            self._compare(answers)
        self._progress.spell_ended(told.spell)
        return told.spell

    def run(self, **found: Any) -> Run:
        """All of it."""
        return Run(
            kind=self._kind,
            started_at=self._started_at,
            options=asdict(self._plan) | {"pictures": [str(picture) for picture in self._plan.pictures]},
            machine=_machine(),
            spells=tuple(self.spells),
            notes=tuple(self._notes),
            **found,
        )

    def _compare(self, answers: dict[int, Top]) -> None:
        """Each process judges by what it was answered first; here these are held against one another."""
        for place, top in answers.items():
            if not alike(self._answers.setdefault(place, top), top):
                self._note(f"{self._plan.pictures[place].name} was answered differently at different times")

    def _note(self, sentence: str) -> None:
        if sentence and sentence not in self._notes:
            self._notes.append(sentence)


def _machine() -> str:
    cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"
