"""Capacity, and what is left of it under 0.8 to 5 times as much load with a deadline of half a second."""

import multiprocessing
import time
from dataclasses import replace

from benchmarks.common.load_tester import under_load
from benchmarks.common.report import Finding, milliseconds, print_table, tell
from benchmarks.overload.arrival_rates_report import Flood, Measured, capacity_finding, rate_findings, rate_table
from benchmarks.overload.environment import START_SECONDS, Ground, contents, server_of, warm, writes_traces
from benchmarks.overload.event_log import Trace
from benchmarks.overload.grpc_callers import Crowd, open_loop
from benchmarks.overload.health_checks import HealthWatch
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Silence
from linnaeus.client.load.running import run_single
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 64
CAPACITY_SECONDS = 4.0
FACTORS = (0.8, 1.2, 2.0, 5.0)
DEADLINE_SECONDS = 0.5
SECONDS, WARMUP_SECONDS = 5.0, 1.5
MOST_IN_FLIGHT = 8192
FLOOD_SECONDS = 2.0
# Cancelled work must be done with by then, or the server is not idle at all.
IDLE_SECONDS = 3.0


def capacity(ground: Ground) -> list[Finding]:
    """C: the throughput of 64 callers, each waiting for its answer."""
    with server_of(ground.model, ground.repository) as server:
        warm(server, ground.model, ground.photographs)
        rates = [measure_capacity(server, ground) for _ in range(ground.rounds)]
    findings = [capacity_finding(rates, ground.model)]
    tell("Capacity", findings)
    return findings


def measure_capacity(server: ServerProcess, ground: Ground) -> float:
    """Images a second."""
    return under_load(server, ground.model, ground.photographs, CALLERS, CAPACITY_SECONDS).goodput


def rates(ground: Ground) -> list[Finding]:
    """Poisson arrivals at 0.8, 1.2, 2 and 5 C, and a flood that is cut off."""
    path = ground.folder / "rates.trace"
    measured: list[Measured] = []
    with server_of(ground.model, ground.repository, path) as server, HealthWatch(server.target) as health:
        warm(server, ground.model, ground.photographs)
        for number in range(ground.rounds):
            measured += _round(server, ground, number)
        floods = [_flood(server, ground, measured[-1].capacity, number) for number in range(ground.rounds)]
    trace = Trace.read(path) if writes_traces() else None
    measured = [_with_witnesses(each, health, trace) for each in measured]
    floods = [replace(each, trace=trace and trace.between(each.began, each.ended)) for each in floods]
    print_table(f"Poisson arrivals, deadline {milliseconds(DEADLINE_SECONDS)}, medians", *rate_table(measured))
    findings = rate_findings(measured, floods, ground.model)
    tell(f"Under overload ({ground.rounds} rounds in turns, ratios within a round, medians)", findings)
    return findings


def _with_witnesses(measured: Measured, health: HealthWatch, trace: Trace | None) -> Measured:
    """With what the health checks and the trace say of it."""
    checks = health.between(measured.ended - SECONDS, measured.ended)
    return replace(measured, checks=checks, trace=trace and trace.between(measured.began, measured.ended))


def _round(server: ServerProcess, ground: Ground, number: int) -> list[Measured]:
    """All rates once; another one begins each round."""
    rate = measure_capacity(server, ground)
    start = number % len(FACTORS)
    turns = FACTORS[start:] + FACTORS[:start]
    return sorted((_measure(server, ground, factor, rate, number) for factor in turns), key=lambda each: each.factor)


def _measure(server: ServerProcess, ground: Ground, factor: float, capacity: float, number: int) -> Measured:
    plan = Plan(
        target=server.target,
        pictures=ground.photographs,
        model=ground.model,
        rate=factor * capacity,
        duration_seconds=SECONDS,
        warmup_seconds=WARMUP_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        processes=1,
        max_in_flight=MOST_IN_FLIGHT,
        metrics_url="",
        seed=number + 1,
    )
    began = time.monotonic()
    spell = run_single(plan, Silence()).spells[0]
    if spell.tester.was_the_limit:
        print(f"  at {factor} C, round {number + 1}: {spell.tester.reason}", flush=True)
    return Measured(factor, capacity, spell, began, time.monotonic())


def _flood(server: ServerProcess, ground: Ground, capacity: float, number: int) -> Flood:
    """A process of callers at 5 C that is killed outright in the middle."""
    crowd = Crowd(
        target=server.target,
        model=ground.model,
        pictures=contents(ground.photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=10 * FLOOD_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number + 1,
    )
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=open_loop, args=(crowd, FACTORS[-1] * capacity), daemon=True)
    began = time.monotonic()
    child.start()
    child.join(START_SECONDS + FLOOD_SECONDS)
    killed = time.monotonic()
    child.kill()
    child.join(IDLE_SECONDS)
    time.sleep(max(killed + IDLE_SECONDS - time.monotonic(), 0.0))
    return Flood(began, killed, time.monotonic())
