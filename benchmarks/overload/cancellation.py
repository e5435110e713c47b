"""What callers who cancel their calls cost the others."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks.common.h2load import LoadResult, closed_loop
from benchmarks.common.report import Finding, at_least, at_most, only_told, tell
from benchmarks.overload.environment import HEAVY, Ground, classify_call, contents, processes, server_of, warm
from benchmarks.overload.grpc_callers import Crowd, cancelling
from linnaeus.server.rpc.child_server import ServerProcess

GOOD_CALLERS, CANCELLING_CALLERS = 16, 4
CANCELLED_WITHIN_SECONDS = 0.050
ROUNDS = 5
SECONDS, WARMUP_SECONDS = 4.0, 0.5
DEADLINE_SECONDS = 10.0
LEAST_SHARE = 0.90


@dataclass(frozen=True, slots=True)
class Good:
    """What the good callers got: answers a second, and calls that failed."""

    goodput: float
    failed: int


def cancellation(ground: Ground) -> list[Finding]:
    """Measures 16 good callers alone and beside 4 who cancel, in turns."""
    alone: list[Good] = []
    beside: list[Good] = []
    with server_of(HEAVY) as server, processes(1) as pool:
        warm(server, HEAVY, ground.photographs)
        for number in range(ROUNDS):
            for cancels in (False, True) if number % 2 else (True, False):
                (beside if cancels else alone).append(_measure(server, pool, ground, cancels, number))
    findings = _findings(alone, beside)
    tell(f"Cancellation is cheap ({ROUNDS} rounds in turns, median)", findings)
    return findings


def _measure(server: ServerProcess, pool: ProcessPoolExecutor, ground: Ground, cancels: bool, number: int) -> Good:
    crowd = Crowd(
        target=server.target,
        model=HEAVY,
        pictures=contents(ground.photographs),
        start=time.monotonic(),
        seconds=WARMUP_SECONDS + SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number,
    )
    cancelled = pool.submit(cancelling, crowd, CANCELLING_CALLERS, CANCELLED_WITHIN_SECONDS) if cancels else None
    call = classify_call(server.target, HEAVY, ground.photographs, number, DEADLINE_SECONDS)
    result = closed_loop(call, GOOD_CALLERS, crowd.seconds)
    if cancelled:
        cancelled.result()
    return _good(result)


def _good(result: LoadResult) -> Good:
    """The calls that ended after the warm-up; one that failed counts for all of the run."""
    failed = result.failures.total()
    end = result.calls[-1].ended
    measured = sum(each.ended >= end - SECONDS for each in result.calls)
    return Good((measured - failed) / SECONDS, failed)


def _findings(alone: Sequence[Good], beside: Sequence[Good]) -> list[Finding]:
    ratio = median(with_them.goodput / without.goodput for with_them, without in zip(beside, alone, strict=True))
    promise = f"good callers' throughput beside {CANCELLING_CALLERS} that cancel : alone"
    return [
        only_told(f"{GOOD_CALLERS} good callers alone", _rates(alone)),
        only_told(f"beside {CANCELLING_CALLERS} that cancel", _rates(beside)),
        at_least(promise, LEAST_SHARE, ratio),
        at_most("good calls that failed", 0, sum(each.failed for each in [*alone, *beside]), digits=0),
    ]


def _rates(measured: Sequence[Good]) -> str:
    rates = [each.goodput for each in measured]
    return f"{median(rates):.1f} images/s ({', '.join(f'{rate:.1f}' for rate in rates)})"
