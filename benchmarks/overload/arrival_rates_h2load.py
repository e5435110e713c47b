"""The arrival rates again, sent by h2load, to tell the cost of the callers from that of the server.

The load tester spends 0.25 ms of processor time on a refused call, h2load 0.08 ms. At five times the capacity of a
server of 180 images a second that is a fifth of a core, or less than a tenth. Arrivals are evenly spaced here.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks.common.h2load import open_loop
from benchmarks.common.report import Finding, at_least, only_told, print_table, tell
from benchmarks.overload.arrival_rates import DEADLINE_SECONDS, FACTORS, SECONDS, WARMUP_SECONDS, measure_capacity
from benchmarks.overload.arrival_rates_report import LEAST_OF_BEST
from benchmarks.overload.environment import Ground, classify_call, server_of, warm
from benchmarks.overload.rejecting_server import rejecting_server

# The server gets what it can serve, and the rejecting one what it would have to refuse.
SERVED_FACTOR, REJECTED_FACTOR = 1.2, 3.8


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: the rate in capacities, and calls a second that were sent, and answered before their deadline."""

    factor: float
    offered: float
    goodput: float


def rates_h2load(ground: Ground) -> list[Finding]:
    """Measures 0.8, 1.2, 2 and 5 C; and 1.2 C while a server that does nothing else refuses 3.8 C."""
    rounds: list[list[Measured]] = []
    beside: list[float] = []
    with server_of(ground.model, ground.repository) as server, rejecting_server() as rejecting:
        warm(server, ground.model, ground.photographs)
        for number in range(ground.rounds):
            capacity = measure_capacity(server, ground)
            start = number % len(FACTORS)
            turns = FACTORS[start:] + FACTORS[:start]
            measured = [_measure(server.target, ground, factor, capacity, number) for factor in turns]
            rounds.append(sorted(measured, key=lambda each: each.factor))
            with ThreadPoolExecutor(1) as pool:
                refused = pool.submit(_measure, rejecting, ground, REJECTED_FACTOR, capacity, number)
                beside.append(_measure(server.target, ground, SERVED_FACTOR, capacity, number).goodput)
                refused.result()
    print_table("Even arrivals by h2load, medians", ("offered", "a second", "goodput"), _rows(rounds))
    findings = _findings(rounds, beside)
    tell(f"Under overload by h2load ({ground.rounds} rounds in turns, medians of ratios within a round)", findings)
    return findings


def _measure(target: str, ground: Ground, factor: float, capacity: float, number: int) -> Measured:
    """Sends the warm-up and the measured calls by two runs of h2load, the second one when the first has sent all.

    The deadline is the server's to keep: h2load waits for every response.
    """
    call = classify_call(target, ground.model, ground.photographs, number, DEADLINE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        warmup = pool.submit(open_loop, call, factor * capacity, WARMUP_SECONDS)
        time.sleep(WARMUP_SECONDS)
        result = open_loop(call, factor * capacity, SECONDS)
        warmup.result()
    return Measured(factor, len(result.calls) / SECONDS, result.answered / SECONDS)


def _rows(rounds: Sequence[Sequence[Measured]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{each[0].factor:g} C",
            f"{median(spell.offered for spell in each):.1f}",
            f"{median(spell.goodput for spell in each):.1f}",
        )
        for each in zip(*rounds, strict=True)
    ]


def _findings(rounds: Sequence[Sequence[Measured]], beside: Sequence[float]) -> list[Finding]:
    best = [max(spell.goodput for spell in spells) for spells in rounds]
    findings = [only_told("best goodput by h2load, images/s", ", ".join(f"{each:.1f}" for each in best))]
    for factor, least in LEAST_OF_BEST.items():
        goodputs = [spell.goodput for spells in rounds for spell in spells if spell.factor == factor]
        promise = f"goodput at {factor:g} C by h2load : best of its round"
        findings.append(at_least(promise, least, _share(goodputs, best)))
    promise = (
        f"goodput at {SERVED_FACTOR:g} C while a bare gRPC server refuses {REJECTED_FACTOR:g} C : best of its round"
    )
    return [*findings, only_told(promise, f"{_share(beside, best):.3f}")]


def _share(goodputs: Sequence[float], best: Sequence[float]) -> float:
    return median(mine / most if most else 0.0 for mine, most in zip(goodputs, best, strict=True))
