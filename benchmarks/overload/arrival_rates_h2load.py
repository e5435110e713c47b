"""The arrival rates again, sent by h2load, to separate the cost of the callers from that of the server.

The load tester spends 0.25 ms of processor time on a refused call, h2load 0.08 ms. At five times the capacity of a
server of 180 images a second that is a fifth of a core, or less than a tenth. Arrivals are evenly spaced here.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks.common.h2load import open_loop
from benchmarks.common.report import Finding, at_least, informational, print_findings, print_table
from benchmarks.common.rounds import rotated
from benchmarks.overload.arrival_rates import DEADLINE_SECONDS, FACTORS, SECONDS, WARMUP_SECONDS, measure_capacity
from benchmarks.overload.arrival_rates_report import LEAST_OF_BEST
from benchmarks.overload.environment import Environment, classify_call, start_server, warm_up
from benchmarks.overload.rejecting_server import rejecting_server

# The server gets what it can serve, and the rejecting server what it would have to refuse.
SERVED_FACTOR, REJECTED_FACTOR = 1.2, 3.8


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """One run: the rate in capacities, and calls a second that were sent, and answered before their deadline."""

    factor: float
    offered: float
    goodput: float


def rates_h2load(environment: Environment) -> list[Finding]:
    """Measures 0.8, 1.2, 2 and 5 C; and 1.2 C while a server that does nothing else refuses 3.8 C."""
    rounds: list[list[MeasuredRate]] = []
    beside: list[float] = []
    with start_server(environment.model, environment.repository) as server, rejecting_server() as rejecting:
        warm_up(server, environment.model, environment.photographs)
        for number in range(environment.rounds):
            capacity = measure_capacity(server, environment)
            turns = rotated(FACTORS, number)
            measured = [_measure(server.target, environment, factor, capacity, number) for factor in turns]
            rounds.append(sorted(measured, key=lambda each: each.factor))
            beside.append(_measure_beside(server.target, rejecting, environment, capacity, number))
    print_table("Even arrivals by h2load, medians", ("offered", "a second", "goodput"), _rows(rounds))
    findings = _findings(rounds, beside)
    title = f"Under overload by h2load ({environment.rounds} rounds in turns, medians of ratios within a round)"
    print_findings(title, findings)
    return findings


def _measure_beside(target: str, rejecting: str, environment: Environment, capacity: float, number: int) -> float:
    """Returns the server's goodput while the rejecting server refuses the excess."""
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(_measure, rejecting, environment, REJECTED_FACTOR, capacity, number)
        measured = _measure(target, environment, SERVED_FACTOR, capacity, number)
        refused.result()
    return measured.goodput


def _measure(target: str, environment: Environment, factor: float, capacity: float, number: int) -> MeasuredRate:
    """Sends warm-up and measured calls by two runs of h2load, the second when the first one has sent all its calls.

    The server enforces the deadline; h2load waits for every response.
    """
    call = classify_call(target, environment.model, environment.photographs, number, DEADLINE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        warmup = pool.submit(open_loop, call, factor * capacity, WARMUP_SECONDS)
        time.sleep(WARMUP_SECONDS)
        result = open_loop(call, factor * capacity, SECONDS)
        warmup.result()
    return MeasuredRate(factor, len(result.calls) / SECONDS, result.answered / SECONDS)


def _rows(rounds: Sequence[Sequence[MeasuredRate]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{each[0].factor:g} C",
            f"{median(measured.offered for measured in each):.1f}",
            f"{median(measured.goodput for measured in each):.1f}",
        )
        for each in zip(*rounds, strict=True)
    ]


def _findings(rounds: Sequence[Sequence[MeasuredRate]], beside: Sequence[float]) -> list[Finding]:
    best = [max(each.goodput for each in measured) for measured in rounds]
    findings = [informational("best goodput by h2load, images/s", ", ".join(f"{each:.1f}" for each in best))]
    for factor, least in LEAST_OF_BEST.items():
        goodputs = [each.goodput for measured in rounds for each in measured if each.factor == factor]
        promise = f"goodput at {factor:g} C by h2load : best of its round"
        findings.append(at_least(promise, least, _share(goodputs, best)))
    loads = f"{SERVED_FACTOR:g} C while a bare gRPC server refuses {REJECTED_FACTOR:g} C"
    return [*findings, informational(f"goodput at {loads} : best of its round", f"{_share(beside, best):.3f}")]


def _share(goodputs: Sequence[float], best: Sequence[float]) -> float:
    return median(mine / most if most else 0.0 for mine, most in zip(goodputs, best, strict=True))
