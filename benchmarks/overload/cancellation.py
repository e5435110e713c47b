"""What callers that give up cost the ones that wait."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from benchmarks.common.report import Finding, at_least, at_most, only_told, tell
from benchmarks.overload.environment import HEAVY, START_SECONDS, Ground, contents, processes, server_of, warm
from benchmarks.overload.grpc_callers import OK, Call, Crowd
from benchmarks.overload.light_callers import cancelling, closed_loop

GOOD_CALLERS, LEAVERS = 16, 4
WITHIN_SECONDS = 0.050
ROUNDS = 5
SECONDS, WARMUP_SECONDS = 4.0, 0.5
DEADLINE_SECONDS = 10.0
LEAST_SHARE = 0.90


def cancellation(ground: Ground) -> list[Finding]:
    """16 good callers alone and beside 4 that cancel, in turns."""
    alone: list[float] = []
    beside: list[float] = []
    failed = 0
    with server_of(HEAVY) as server, processes(2) as pool:
        warm(server, HEAVY, ground.photographs)
        for number in range(ROUNDS):
            for leavers in (0, LEAVERS) if number % 2 else (LEAVERS, 0):
                calls = _spell(pool, server.target, ground, leavers, number)
                (beside if leavers else alone).append(_goodput(calls))
                failed += sum(each.code != OK for each in calls)
    ratio = median(with_them / without for with_them, without in zip(beside, alone, strict=True))
    findings = [
        only_told(f"{GOOD_CALLERS} good callers alone", _told(alone)),
        only_told(f"beside {LEAVERS} that cancel", _told(beside)),
        at_least(f"good callers' throughput beside {LEAVERS} that cancel : alone", LEAST_SHARE, ratio),
        at_most("good calls that failed", 0, failed, digits=0),
    ]
    tell(f"Cancellation is cheap ({ROUNDS} rounds in turns, median)", findings)
    return findings


def _spell(pool: ProcessPoolExecutor, target: str, ground: Ground, leavers: int, number: int) -> list[Call]:
    """The good callers' calls that ended while they were measured."""
    crowd = Crowd(
        target=target,
        model=HEAVY,
        pictures=contents(ground.photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=WARMUP_SECONDS + SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number,
    )
    others = [pool.submit(cancelling, crowd, leavers, WITHIN_SECONDS)] if leavers else []
    calls = pool.submit(closed_loop, crowd, GOOD_CALLERS).result()
    for other in others:
        other.result()
    measured = crowd.start + WARMUP_SECONDS
    return [each for each in calls if measured <= each.ended < measured + SECONDS]


def _goodput(calls: Sequence[Call]) -> float:
    return sum(each.code == OK for each in calls) / SECONDS


def _told(rates: Sequence[float]) -> str:
    return f"{median(rates):.1f} images/s ({', '.join(f'{rate:.1f}' for rate in rates)})"
