"""A small model with tight deadlines beside a large one that is saturated by calls without deadlines."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.common.h2load import LoadResult, closed_loop
from benchmarks.common.report import Finding, at_least, informational, milliseconds, print_findings
from benchmarks.overload.environment import LARGE_MODEL, SMALL_MODEL, Environment, classify_call, start_server
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.results import Measurement
from linnaeus.client.load.scenarios import run_single

CALLERS = 64
RATE = 20.0
DEADLINE_SECONDS = 0.100
SECONDS, WARMUP_SECONDS = 30.0, 2.0
# The large model's callers must run for longer than the load tester, start and end included.
MARGIN_SECONDS = 8.0
LEAST_SHARE = 0.99


def mixed(environment: Environment) -> list[Finding]:
    """Sends 20 digits a second with deadlines of 100 ms beside 64 callers in a closed loop.

    Raises:
        RuntimeError: if the callers of the large model ended too early.
    """
    with start_server(f"{SMALL_MODEL},{LARGE_MODEL}") as server, ThreadPoolExecutor(1) as pool:
        call = classify_call(server.target, LARGE_MODEL, environment.photographs, 0)
        saturating = pool.submit(closed_loop, call, CALLERS, WARMUP_SECONDS + SECONDS + MARGIN_SECONDS)
        small = _measure_small(server.target, environment)
        ended = time.monotonic()
        large = saturating.result()
    if ended > large.calls[-1].ended:
        raise RuntimeError(f"the calls of {LARGE_MODEL} ended before those of {SMALL_MODEL}: increase the margin")
    findings = [*_small_findings(small), _large_finding(large, ended)]
    print_findings(f"Mixed load ({SECONDS:g} s)", findings)
    return findings


def _measure_small(target: str, environment: Environment) -> Measurement:
    plan = Plan(
        target=target,
        pictures=environment.digits,
        model=SMALL_MODEL,
        rate=RATE,
        duration_seconds=SECONDS,
        warmup_seconds=WARMUP_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        processes=1,
        metrics_url="",
    )
    return run_single(plan, NoProgress()).measurements[0]


def _small_findings(measured: Measurement) -> list[Finding]:
    counts, latency = measured.counts, measured.latency
    promise = f"{SMALL_MODEL} calls answered within {milliseconds(DEADLINE_SECONDS)}"
    figures = f"p50 {milliseconds(latency.p50)}, p99 {milliseconds(latency.p99)}; {counts.late} late"
    lag = milliseconds(measured.tester.send_lag_p99)
    return [
        at_least(promise, LEAST_SHARE, counts.ok / counts.sent),
        informational(f"{counts.sent} {SMALL_MODEL} calls, 1 % sent later than {lag}", figures),
    ]


def _large_finding(large: LoadResult, ended: float) -> Finding:
    rate = sum(ended - SECONDS <= each.ended < ended for each in large.calls) / SECONDS
    return informational(f"{LARGE_MODEL} besides", f"{rate:.1f} images/s, {large.failures.total()} failed")
