"""Capacity, and goodput at 0.8 to 5 times as many calls with deadlines of half a second, by the load tester."""

import multiprocessing
import time
from dataclasses import replace

from benchmarks.common.load_tester import measure_closed_loop
from benchmarks.common.report import Finding, milliseconds, print_findings, print_table
from benchmarks.common.rounds import rotated
from benchmarks.overload.arrival_rates_report import (
    KilledLoad,
    RateMeasurement,
    capacity_finding,
    rate_findings,
    rate_table,
)
from benchmarks.overload.environment import (
    START_SECONDS,
    Environment,
    has_event_log,
    read_files,
    start_server,
    warm_up,
)
from benchmarks.overload.event_log import EventLog
from benchmarks.overload.grpc_callers import LoadSpec, open_loop
from benchmarks.overload.health_checks import HealthMonitor
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.scenarios import run_single
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 64
CAPACITY_SECONDS = 4.0
FACTORS = (0.8, 1.2, 2.0, 5.0)
DEADLINE_SECONDS = 0.5
SECONDS, WARMUP_SECONDS = 5.0, 1.5
MOST_IN_FLIGHT = 8192
KILLED_AFTER_SECONDS = 2.0
# Cancelled requests must no longer occupy the server by then.
IDLE_SECONDS = 3.0


def capacity(environment: Environment) -> list[Finding]:
    """Measures C: the throughput of 64 callers in a closed loop."""
    with start_server(environment.model, environment.repository) as server:
        warm_up(server, environment.model, environment.photographs)
        rates = [measure_capacity(server, environment) for _ in range(environment.rounds)]
    findings = [capacity_finding(rates, environment.model)]
    print_findings("Capacity", findings)
    return findings


def measure_capacity(server: ServerProcess, environment: Environment) -> float:
    """Returns images a second."""
    return measure_closed_loop(server, environment.model, environment.photographs, CALLERS, CAPACITY_SECONDS).goodput


def rates(environment: Environment) -> list[Finding]:
    """Measures Poisson arrivals at 0.8, 1.2, 2 and 5 C, and callers at 5 C who are killed."""
    path = environment.folder / "rates.event-log"
    server_started = start_server(environment.model, environment.repository, path)
    with server_started as server, HealthMonitor(server.target) as health:
        warm_up(server, environment.model, environment.photographs)
        rounds = range(environment.rounds)
        measured = [each for number in rounds for each in _measure_round(server, environment, number)]
        killed = [_measure_killed_load(server, environment, measured[-1].capacity, number) for number in rounds]
    event_log = EventLog.read(path) if has_event_log() else None
    measured = [_with_observations(each, health, event_log) for each in measured]
    killed = [replace(each, event_log=event_log and event_log.between(each.began, each.ended)) for each in killed]
    print_table(f"Poisson arrivals, deadline {milliseconds(DEADLINE_SECONDS)}, medians", *rate_table(measured))
    findings = rate_findings(measured, killed, environment.model)
    title = f"Under overload ({environment.rounds} rounds in turns, ratios within a round, medians)"
    print_findings(title, findings)
    return findings


def _with_observations(measured: RateMeasurement, health: HealthMonitor, event_log: EventLog | None) -> RateMeasurement:
    """Adds the health checks and events of the measured period."""
    checks = health.between(measured.ended - SECONDS, measured.ended)
    events = event_log and event_log.between(measured.began, measured.ended)
    return replace(measured, checks=checks, event_log=events)


def _measure_round(server: ServerProcess, environment: Environment, number: int) -> list[RateMeasurement]:
    """Measures each rate once, in an order that rotates; returns them by rising rate."""
    rate = measure_capacity(server, environment)
    measured = [_measure(server, environment, factor, rate, number) for factor in rotated(FACTORS, number)]
    return sorted(measured, key=lambda each: each.factor)


def _measure(
    server: ServerProcess, environment: Environment, factor: float, capacity: float, number: int
) -> RateMeasurement:
    plan = Plan(
        target=server.target,
        pictures=environment.photographs,
        model=environment.model,
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
    result = run_single(plan, NoProgress()).measurements[0]
    if result.tester.was_the_limit:
        print(f"  at {factor} C, round {number + 1}: {result.tester.reason}", flush=True)
    return RateMeasurement(factor, capacity, result, began, time.monotonic())


def _measure_killed_load(server: ServerProcess, environment: Environment, capacity: float, number: int) -> KilledLoad:
    """Runs callers at 5 C in a process that is killed after two seconds."""
    load = LoadSpec(
        target=server.target,
        model=environment.model,
        images=read_files(environment.photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=10 * KILLED_AFTER_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number + 1,
    )
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=open_loop, args=(load, FACTORS[-1] * capacity), daemon=True)
    began = time.monotonic()
    child.start()
    child.join(START_SECONDS + KILLED_AFTER_SECONDS)
    killed = time.monotonic()
    child.kill()
    child.join(IDLE_SECONDS)
    time.sleep(max(killed + IDLE_SECONDS - time.monotonic(), 0.0))
    return KilledLoad(began, killed, time.monotonic())
