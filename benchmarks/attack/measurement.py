"""One attack against one server: good callers before, during and after it, and the server's memory."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.attack.good_callers import GoodCallers, GoodLoad
from benchmarks.attack.hostile_load import HostileLoad, Target, send
from benchmarks.attack.judgement import RECOVERED_SHARE, GoodFigures, good_figures, recovery_seconds
from benchmarks.common.process_footprint import ProcessFootprint, forget_peak, peak_bytes
from benchmarks.common.process_usage import machine_processor_seconds, processor_seconds
from benchmarks.overload.grpc_callers import CallOutcome

SETTLING_SECONDS = 0.5
BEFORE_SECONDS = 1.5
# A server on a busy machine, or a new one, may need longer until an attack is all that disturbs it.
MOST_SETTLING_SECONDS = 5.0
ATTACK_SECONDS = 4.0
OBSERVED_SECONDS = 6.0
# So long goodput must be as before.
UNHURT_SECONDS = 1.0
# Between the end of the last call, hostile or good, and the look at the memory.
QUIET_SECONDS = 0.5
_STEP_SECONDS = 0.25
# A call ends at most so long after its deadline.
_LATE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one attack did.

    Attributes:
        before, during: the good calls before it and from its begin to its end.
        recovery: seconds from the last hostile request until goodput was as before; None if it did not become so.
        memory_before, memory_after, memory_peak: resident bytes of the server; after all calls have ended.
        ended: how the hostile calls ended.
        attacker_cores: processor seconds a second of the attacker.
        others_cores: processor seconds a second of programs that do not belong to this benchmark, during the attack.
    """

    before: GoodFigures
    during: GoodFigures
    recovery: float | None
    memory_before: int
    memory_after: int
    memory_peak: int
    ended: dict[str, int]
    attacker_cores: float
    others_cores: float


@dataclass(frozen=True, slots=True)
class Beside:
    """What an attack is measured beside.

    Attributes:
        good: the good callers.
        rate: their calls a second.
        pid: of the server.
    """

    good: GoodLoad
    rate: float
    pid: int


def measure(load: HostileLoad, attacker: Target, beside: Beside, pool: ProcessPoolExecutor) -> Measurement:
    """Attacks a server beside good callers.

    Args:
        load: the hostile load.
        attacker: the server as the attacker sees it.
        beside: the good callers and the server.
        pool: a process that has started, for the attacker.
    """
    memory_before = ProcessFootprint.of(beside.pid).resident_bytes
    forget_peak(beside.pid)
    with GoodCallers(beside.good, beside.rate) as callers:
        period = Period(_settle(callers, beside.good.deadline_seconds), time.monotonic(), beside.good.deadline_seconds)
        sending, others = pool.submit(send, load, attacker, ATTACK_SECONDS), _others_processor_seconds()
        callers.wait_until(period.attack + ATTACK_SECONDS)
        others = _others_processor_seconds() - others
        observed_until = _wait_for_recovery(callers, period)
    hostile = sending.result()
    time.sleep(QUIET_SECONDS)
    return Measurement(
        before=period.before(callers.ended),
        during=period.during(callers.ended),
        recovery=period.recovery(callers.ended, hostile.last_sent, observed_until),
        memory_before=memory_before,
        memory_after=ProcessFootprint.of(beside.pid).resident_bytes,
        memory_peak=peak_bytes(beside.pid),
        ended=dict(hostile.ended.most_common()),
        attacker_cores=hostile.processor_seconds / ATTACK_SECONDS,
        others_cores=max(others, 0.0) / ATTACK_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Period:
    """When good calls were sent: from `begin`, beside an attack from `attack` on, in seconds of `time.monotonic`."""

    begin: float
    attack: float
    deadline_seconds: float

    def before(self, calls: Sequence[CallOutcome]) -> GoodFigures:
        """Returns the figures before the attack."""
        return good_figures(calls, self.begin, self.attack, self.deadline_seconds)

    def during(self, calls: Sequence[CallOutcome]) -> GoodFigures:
        """Returns the figures during the attack."""
        return good_figures(calls, self.attack, self.attack + ATTACK_SECONDS, self.deadline_seconds)

    def recovery(self, calls: Sequence[CallOutcome], last_hostile: float, observed_until: float) -> float | None:
        """Returns the seconds until goodput was as before; see `recovery_seconds`."""
        share = self.before(calls).share or 0.0
        return recovery_seconds(calls, last_hostile, observed_until, share, self.deadline_seconds)


def _settle(callers: GoodCallers, deadline_seconds: float) -> float:
    """Waits for an undisturbed stretch of `BEFORE_SECONDS`, for at most `MOST_SETTLING_SECONDS`; returns its begin."""
    begin = time.monotonic() + SETTLING_SECONDS
    give_up = begin + MOST_SETTLING_SECONDS
    while True:
        callers.wait_until(begin + BEFORE_SECONDS)
        share = good_figures(callers.ended, begin, begin + BEFORE_SECONDS, deadline_seconds).share or 0.0
        if share >= RECOVERED_SHARE or time.monotonic() > give_up:
            return begin
        begin += _STEP_SECONDS


def _others_processor_seconds() -> float:
    return machine_processor_seconds() - processor_seconds(os.getpid())


def _wait_for_recovery(callers: GoodCallers, period: Period) -> float:
    """Waits for at most `OBSERVED_SECONDS`; returns until when all calls that were sent have ended."""
    last_hostile = period.attack + ATTACK_SECONDS
    while True:
        callers.wait_until(time.monotonic() + _STEP_SECONDS)
        ended_until = time.monotonic() - period.deadline_seconds - _LATE_SECONDS
        recovery = period.recovery(callers.ended, last_hostile, ended_until)
        last = last_hostile + (OBSERVED_SECONDS if recovery is None else recovery + UNHURT_SECONDS)
        if ended_until >= min(last, last_hostile + OBSERVED_SECONDS):
            return ended_until
