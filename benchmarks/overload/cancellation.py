"""What callers who cancel their calls cost the others."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks.common.h2load import LoadResult, closed_loop
from benchmarks.common.report import Finding, at_least, at_most, informational, print_findings
from benchmarks.overload.environment import (
    LARGE_MODEL,
    Environment,
    classify_call,
    process_pool,
    read_files,
    start_server,
    warm_up,
)
from benchmarks.overload.grpc_callers import LoadSpec, cancelling

GOOD_CALLERS, CANCELLING_CALLERS = 16, 4
CANCELLED_WITHIN_SECONDS = 0.050
ROUNDS = 5
SECONDS, WARMUP_SECONDS = 4.0, 0.5
DEADLINE_SECONDS = 10.0
LEAST_SHARE = 0.90


@dataclass(frozen=True, slots=True)
class GoodCalls:
    """Calls of the good callers in one run: answers a second, and calls that failed."""

    goodput: float
    failed: int


def cancellation(environment: Environment) -> list[Finding]:
    """Measures 16 good callers alone and beside 4 who cancel, in turns."""
    alone: list[GoodCalls] = []
    beside: list[GoodCalls] = []
    with start_server(LARGE_MODEL) as server, process_pool(1) as pool:
        warm_up(server, LARGE_MODEL, environment.photographs)
        for number in range(ROUNDS):
            for cancels in (False, True) if number % 2 else (True, False):
                (beside if cancels else alone).append(_measure(server.target, pool, environment, cancels, number))
    findings = _findings(alone, beside)
    print_findings(f"Cancellation is cheap ({ROUNDS} rounds in turns, median)", findings)
    return findings


def _measure(target: str, pool: ProcessPoolExecutor, environment: Environment, cancels: bool, number: int) -> GoodCalls:
    load = LoadSpec(
        target=target,
        model=LARGE_MODEL,
        images=read_files(environment.photographs),
        start=time.monotonic(),
        seconds=WARMUP_SECONDS + SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number,
    )
    with ExitStack() as running:
        if cancels:
            running.callback(pool.submit(cancelling, load, CANCELLING_CALLERS, CANCELLED_WITHIN_SECONDS).result)
        call = classify_call(target, LARGE_MODEL, environment.photographs, number, DEADLINE_SECONDS)
        return _good_calls(closed_loop(call, GOOD_CALLERS, load.seconds))


def _good_calls(result: LoadResult) -> GoodCalls:
    """Counts the calls that ended in the last seconds of the run, and the failures of all of it."""
    failed = result.failures.total()
    start = result.calls[-1].ended - SECONDS
    ended = sum(each.ended > start for each in result.calls)
    return GoodCalls((ended - failed) / SECONDS, failed)


def _findings(alone: Sequence[GoodCalls], beside: Sequence[GoodCalls]) -> list[Finding]:
    ratio = median(with_them.goodput / without.goodput for with_them, without in zip(beside, alone, strict=True))
    promise = f"good callers' throughput beside {CANCELLING_CALLERS} that cancel : alone"
    return [
        informational(f"{GOOD_CALLERS} good callers alone", _rates(alone)),
        informational(f"beside {CANCELLING_CALLERS} that cancel", _rates(beside)),
        at_least(promise, LEAST_SHARE, ratio),
        at_most("good calls that failed", 0, sum(each.failed for each in [*alone, *beside]), digits=0),
    ]


def _rates(measured: Sequence[GoodCalls]) -> str:
    rates = [each.goodput for each in measured]
    return f"{median(rates):.1f} images/s ({', '.join(f'{rate:.1f}' for rate in rates)})"
